{{- define "fantail.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "fantail.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "fantail.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "fantail.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "fantail.selector" -}}
app.kubernetes.io/name: {{ include "fantail.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "fantail.labels" -}}
{{ include "fantail.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "fantail.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "fantail.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "fantail.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ default $.Chart.AppVersion .tag }}{{- end -}}
{{- end -}}
{{- end -}}

{{/* The port for clients: its name, and its number. */}}
{{- define "fantail.port" -}}
{{- if .Values.tls.existingSecrets }}tls{{ else }}public{{ end -}}
{{- end -}}
{{- define "fantail.portNumber" -}}
{{- if .Values.tls.existingSecrets }}{{ .Values.ports.tls }}{{ else }}{{ .Values.ports.public }}{{ end -}}
{{- end -}}

{{/* Milliseconds of a duration such as "1m 30s" or "500ms". */}}
{{- define "fantail.milliseconds" -}}
{{- $units := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 -}}
{{- $total := 0 -}}
{{- range regexFindAll "[0-9]+ *(ms|s|m|h)" .value -1 -}}
{{- $unit := regexFind "[a-z]+" . -}}
{{- $total = add $total (mul (int64 (regexFind "[0-9]+" .)) (int64 (get $units $unit))) -}}
{{- end -}}
{{- $total -}}
{{- end -}}

{{/* Seconds from SIGTERM to the moment at which Fantail has surely exited, and the margin. */}}
{{- define "fantail.gracePeriod" -}}
{{- $delay := include "fantail.milliseconds" (dict "value" .Values.settings.drain_delay) | int64 -}}
{{- $deadline := include "fantail.milliseconds" (dict "value" .Values.settings.drain_deadline) | int64 -}}
{{- add (div (add $delay $deadline 999) 1000) (int64 .Values.terminationMarginSeconds) -}}
{{- end -}}

{{/* One value as TOML. A whole number reaches templates as a float, which would be written as 1e+06. */}}
{{- define "fantail.toml" -}}
{{- if kindIs "string" . -}}{{ toJson . }}
{{- else if kindIs "bool" . -}}{{ . }}
{{- else if kindIs "slice" . -}}[{{- range $i, $item := . -}}{{- if $i }}, {{ end -}}{{ include "fantail.toml" $item }}{{- end -}}]
{{- else -}}{{ int64 . }}{{- end -}}
{{- end -}}

{{- define "fantail.file" -}}
{{- range $key, $value := .Values.settings }}
{{- if not (kindIs "invalid" $value) }}
{{ $key }} = {{ include "fantail.toml" $value }}
{{- end }}
{{- end }}
{{- range .Values.channels }}

[[channel]]
{{- range $key, $value := . }}
{{ $key }} = {{ include "fantail.toml" $value }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Faults that a schema cannot see. */}}
{{- define "fantail.check" -}}
{{- $redis := .Values.redis -}}
{{- $nats := .Values.nats -}}
{{- $hasRedis := or $redis.url $redis.urlKey -}}
{{- $single := and (eq .Values.kind "Deployment") (eq (int .Values.replicas) 1) -}}
{{- if and (not $single) (not $hasRedis) (not $nats.urls) -}}
{{- fail "several pods need Redis or NATS to have the same events: set redis.url, or redis.existingSecret and redis.urlKey, or nats.urls; or kind=Deployment and replicas=1" -}}
{{- end -}}
{{- if and $hasRedis $nats.urls -}}
{{- fail "redis and nats both name the feed: leave one empty" -}}
{{- end -}}
{{- if and $redis.url $redis.urlKey -}}
{{- fail "redis.url and redis.urlKey both name the server: leave one empty" -}}
{{- end -}}
{{- if and (not $redis.existingSecret) (or $redis.urlKey $redis.passwordKey $redis.sentinelPasswordKey) -}}
{{- fail "redis.urlKey, redis.passwordKey and redis.sentinelPasswordKey are keys of redis.existingSecret, which is empty" -}}
{{- end -}}
{{- if ne (empty $redis.tls.certKey) (empty $redis.tls.keyKey) -}}
{{- fail "redis.tls.certKey and redis.tls.keyKey go together" -}}
{{- end -}}
{{- if and (not $nats.urls) (or $nats.stream $nats.username $nats.existingSecret $nats.tls.existingSecret) -}}
{{- fail "the rest of nats is of no use without nats.urls" -}}
{{- end -}}
{{- $credentials := compact (list $nats.passwordKey $nats.tokenKey $nats.nkeyKey $nats.credentialsKey) -}}
{{- if ne (empty $nats.existingSecret) (empty $credentials) -}}
{{- fail "nats.existingSecret goes together with one of its keys: nats.passwordKey, nats.tokenKey, nats.nkeyKey or nats.credentialsKey" -}}
{{- end -}}
{{- if gt (len $credentials) 1 -}}
{{- fail "nats.passwordKey, nats.tokenKey, nats.nkeyKey and nats.credentialsKey are four ways to say who connects: choose one" -}}
{{- end -}}
{{- if ne (empty $nats.username) (empty $nats.passwordKey) -}}
{{- fail "nats.username and nats.passwordKey go together" -}}
{{- end -}}
{{- if ne (empty $nats.tls.certKey) (empty $nats.tls.keyKey) -}}
{{- fail "nats.tls.certKey and nats.tls.keyKey go together" -}}
{{- end -}}
{{- if and .Values.internal.exposed .Values.hostNetwork -}}
{{- fail "internal.exposed with hostNetwork would let everybody publish who reaches the node: leave one out" -}}
{{- end -}}
{{- if and .Values.internal.exposed .Values.networkPolicy.enabled (not .Values.internal.from) -}}
{{- fail "internal.exposed opens the port to other pods: name the peers in internal.from" -}}
{{- end -}}
{{- if and .Values.internal.exposed (or (not .Values.internalTokens.existingSecret) (not .Values.internalTokens.rights)) -}}
{{- fail "internal.exposed needs tokens: name a Secret in internalTokens.existingSecret, and the rights of its keys in internalTokens.rights" -}}
{{- end -}}
{{- if ne (empty .Values.internalTokens.existingSecret) (empty .Values.internalTokens.rights) -}}
{{- fail "internalTokens.existingSecret and internalTokens.rights go together" -}}
{{- end -}}
{{- if ne (empty .Values.tokenKeys.existingSecret) (empty .Values.tokenKeys.algorithm) -}}
{{- fail "tokenKeys.existingSecret and tokenKeys.algorithm go together" -}}
{{- end -}}
{{- if and .Values.tokenKeys.existingSecret (not (contains "token" .Values.access)) -}}
{{- fail "tokenKeys is of no use without a token in access" -}}
{{- end -}}
{{- if and .Values.hostNetwork .Values.sysctls -}}
{{- fail "sysctls are those of the node with hostNetwork: set them there" -}}
{{- end -}}
{{- if not .Values.access -}}
{{- fail "access says who may read, and others than the pod reach its port: set it to open, token, origin, token+origin, proxy or certificate (docs/access.md)" -}}
{{- end -}}
{{- $tls := .Values.tls -}}
{{- if and (not $tls.existingSecrets) (or $tls.clientCa.existingSecret $tls.ticketKeys.existingSecret) -}}
{{- fail "tls.clientCa and tls.ticketKeys are of no use without tls.existingSecrets" -}}
{{- end -}}
{{- if ne (empty $tls.ticketKeys.existingSecret) (empty $tls.ticketKeys.keys) -}}
{{- fail "tls.ticketKeys.existingSecret and tls.ticketKeys.keys go together" -}}
{{- end -}}
{{- if and (eq .Values.access "certificate") (not $tls.clientCa.existingSecret) -}}
{{- fail "access certificate needs tls.clientCa.existingSecret: the authorities that sign certificates of clients" -}}
{{- end -}}
{{- if and .Values.internal.tls.clientCaKey (not .Values.internal.tls.existingSecret) -}}
{{- fail "internal.tls.clientCaKey is a key of internal.tls.existingSecret, which is empty" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (or (ne .Values.kind "Deployment") (not (or $hasRedis $nats.urls))) -}}
{{- fail "autoscaling needs kind=Deployment, and Redis or NATS" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling.minReplicas is more than autoscaling.maxReplicas" -}}
{{- end -}}
{{- end -}}
