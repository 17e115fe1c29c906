{{/* The pod, the same for both kinds. */}}
{{- define "fantail.pod" -}}
{{- include "fantail.check" . -}}
{{- $v := .Values -}}
metadata:
  labels:
    {{- include "fantail.labels" . | nindent 4 }}
    {{- with $v.podLabels }}{{ toYaml . | nindent 4 }}{{ end }}
  annotations:
    checksum/settings: {{ include "fantail.file" . | sha256sum }}
    {{- with $v.podAnnotations }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  serviceAccountName: {{ include "fantail.serviceAccount" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ include "fantail.gracePeriod" . }}
  {{- if $v.hostNetwork }}
  hostNetwork: true
  dnsPolicy: ClusterFirstWithHostNet
  {{- end }}
  {{- with $v.imagePullSecrets }}
  imagePullSecrets: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- with $v.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    {{- toYaml $v.podSecurityContext | nindent 4 }}
    {{- with $v.sysctls }}
    sysctls: {{ toYaml . | nindent 6 }}
    {{- end }}
  containers:
    - name: fantail
      image: {{ include "fantail.image" . | quote }}
      imagePullPolicy: {{ $v.image.pullPolicy }}
      # Flags win over variables, of which the image has some.
      args:
        - serve
        - --config=/etc/fantail/fantail.toml
        {{- if $v.tls.existingSecrets }}
        - --listen=127.0.0.1:{{ $v.ports.public }}
        - --tls-listen={{ $v.bindAddress }}:{{ $v.ports.tls }}
        - --tls-directory=/etc/fantail/tls
        {{- with $v.tls.clientCa }}{{ if .existingSecret }}
        - --tls-client-ca=/etc/fantail/tls-client-ca/{{ .key }}
        {{- end }}{{ end }}
        {{- range $v.tls.ticketKeys.keys }}
        - --tls-ticket-keys=/etc/fantail/tls-ticket-keys/{{ . }}
        {{- end }}
        {{- else }}
        - --listen={{ $v.bindAddress }}:{{ $v.ports.public }}
        {{- end }}
        - --health-listen={{ $v.bindAddress }}:{{ $v.ports.health }}
        - --access={{ $v.access }}
        {{- if $v.tokenKeys.existingSecret }}
        - --token-keys={{ $v.tokenKeys.algorithm }}:/etc/fantail/token-keys
        {{- end }}
        {{- range $key, $rights := $v.internalTokens.rights }}
        - {{ printf "--internal-tokens=/etc/fantail/internal-tokens/%s=%s" $key $rights | quote }}
        {{- end }}
        {{- if $v.internal.exposed }}
        - --internal-listen={{ $v.bindAddress }}:{{ $v.ports.internal }}
        {{- range concat (list (printf "%s-internal" (include "fantail.fullname" .)) (printf "%s-internal.%s" (include "fantail.fullname" .) .Release.Namespace) (printf "%s-internal.%s.svc" (include "fantail.fullname" .) .Release.Namespace) (printf "%s-internal.%s.svc.cluster.local" (include "fantail.fullname" .) .Release.Namespace)) $v.internal.hosts }}
        - --internal-hosts={{ . }}
        {{- end }}
        {{- else }}
        - --internal-listen=127.0.0.1:{{ $v.ports.internal }}
        {{- end }}
        {{- with $v.internal.tls }}
        {{- if .existingSecret }}
        - --internal-tls-cert=/etc/fantail/internal-tls/tls.crt
        - --internal-tls-key=/etc/fantail/internal-tls/tls.key
        {{- end }}
        {{- with .clientCaKey }}
        - --internal-tls-client-ca=/etc/fantail/internal-tls/{{ . }}
        {{- end }}
        {{- end }}
        {{- with $v.redis.url }}
        - --redis-url={{ . }}
        {{- end }}
        {{- with $v.redis.passwordKey }}
        - --redis-password-file=/etc/fantail/redis/{{ . }}
        {{- end }}
        {{- with $v.redis.sentinelPasswordKey }}
        - --redis-sentinel-password-file=/etc/fantail/redis/{{ . }}
        {{- end }}
        {{- with $v.redis.tls }}
        {{- if .existingSecret }}
        {{- with .caKey }}
        - --redis-tls-ca=/etc/fantail/redis-tls/{{ . }}
        {{- end }}
        {{- if .certKey }}
        - --redis-tls-cert=/etc/fantail/redis-tls/{{ .certKey }}
        - --redis-tls-key=/etc/fantail/redis-tls/{{ .keyKey }}
        {{- end }}
        {{- end }}
        {{- end }}
        {{- range $v.nats.urls }}
        - --nats-url={{ . }}
        {{- end }}
        {{- with $v.nats }}
        {{- with .stream }}
        - --nats-stream={{ . }}
        {{- end }}
        {{- with .username }}
        - --nats-username={{ . }}
        {{- end }}
        {{- range $flag, $key := dict "password" .passwordKey "token" .tokenKey "nkey" .nkeyKey "credentials" .credentialsKey }}
        {{- with $key }}
        - --nats-{{ $flag }}-file=/etc/fantail/nats/{{ . }}
        {{- end }}
        {{- end }}
        {{- with .tls }}
        {{- if .existingSecret }}
        {{- with .caKey }}
        - --nats-tls-ca=/etc/fantail/nats-tls/{{ . }}
        {{- end }}
        {{- if .certKey }}
        - --nats-tls-cert=/etc/fantail/nats-tls/{{ .certKey }}
        - --nats-tls-key=/etc/fantail/nats-tls/{{ .keyKey }}
        {{- end }}
        {{- end }}
        {{- end }}
        {{- end }}
      {{- if or $v.redis.urlKey $v.extraEnv }}
      env:
        {{- if $v.redis.urlKey }}
        - name: FANTAIL_REDIS_URL
          valueFrom:
            secretKeyRef:
              name: {{ $v.redis.existingSecret }}
              key: {{ $v.redis.urlKey }}
        {{- end }}
        {{- with $v.extraEnv }}{{ toYaml . | nindent 8 }}{{ end }}
      {{- end }}
      ports:
        - name: {{ include "fantail.port" . }}
          containerPort: {{ include "fantail.portNumber" . }}
          {{- if $v.hostNetwork }}
          hostPort: {{ include "fantail.portNumber" . }}
          {{- else if $v.hostPort }}
          hostPort: {{ $v.hostPort }}
          {{- end }}
        - name: health
          containerPort: {{ $v.ports.health }}
          {{- if $v.hostNetwork }}
          hostPort: {{ $v.ports.health }}
          {{- end }}
        {{- if $v.internal.exposed }}
        - name: internal
          containerPort: {{ $v.ports.internal }}
        {{- end }}
      startupProbe:
        httpGet: { path: /livez, port: health }
        {{- toYaml $v.probes.startup | nindent 8 }}
      readinessProbe:
        httpGet: { path: /readyz, port: health }
        {{- toYaml $v.probes.readiness | nindent 8 }}
      livenessProbe:
        httpGet: { path: /livez, port: health }
        {{- toYaml $v.probes.liveness | nindent 8 }}
      resources: {{- toYaml $v.resources | nindent 8 }}
      securityContext: {{- toYaml $v.securityContext | nindent 8 }}
      volumeMounts:
        - { name: settings, mountPath: /etc/fantail/fantail.toml, subPath: fantail.toml, readOnly: true }
        {{- range $number, $secret := $v.tls.existingSecrets }}
        - { name: tls-{{ $number }}, mountPath: {{ printf "/etc/fantail/tls/%s" $secret | quote }}, readOnly: true }
        {{- end }}
        {{- if $v.tls.clientCa.existingSecret }}
        - { name: tls-client-ca, mountPath: /etc/fantail/tls-client-ca, readOnly: true }
        {{- end }}
        {{- if $v.tls.ticketKeys.existingSecret }}
        - { name: tls-ticket-keys, mountPath: /etc/fantail/tls-ticket-keys, readOnly: true }
        {{- end }}
        {{- if $v.internal.tls.existingSecret }}
        - { name: internal-tls, mountPath: /etc/fantail/internal-tls, readOnly: true }
        {{- end }}
        {{- if $v.tokenKeys.existingSecret }}
        - { name: token-keys, mountPath: /etc/fantail/token-keys, readOnly: true }
        {{- end }}
        {{- if $v.internalTokens.existingSecret }}
        - { name: internal-tokens, mountPath: /etc/fantail/internal-tokens, readOnly: true }
        {{- end }}
        {{- if or $v.redis.passwordKey $v.redis.sentinelPasswordKey }}
        - { name: redis, mountPath: /etc/fantail/redis, readOnly: true }
        {{- end }}
        {{- if $v.redis.tls.existingSecret }}
        - { name: redis-tls, mountPath: /etc/fantail/redis-tls, readOnly: true }
        {{- end }}
        {{- if $v.nats.existingSecret }}
        - { name: nats, mountPath: /etc/fantail/nats, readOnly: true }
        {{- end }}
        {{- if $v.nats.tls.existingSecret }}
        - { name: nats-tls, mountPath: /etc/fantail/nats-tls, readOnly: true }
        {{- end }}
        {{- with $v.extraVolumeMounts }}{{ toYaml . | nindent 8 }}{{ end }}
    {{- with $v.extraContainers }}{{ toYaml . | nindent 4 }}{{ end }}
  volumes:
    - name: settings
      configMap:
        name: {{ include "fantail.fullname" . }}
    {{- range $number, $secret := $v.tls.existingSecrets }}
    - name: tls-{{ $number }}
      secret:
        secretName: {{ $secret }}
        defaultMode: 0440
    {{- end }}
    {{- range $name, $secret := dict "tls-client-ca" $v.tls.clientCa.existingSecret "tls-ticket-keys" $v.tls.ticketKeys.existingSecret "internal-tls" $v.internal.tls.existingSecret "nats" $v.nats.existingSecret "nats-tls" $v.nats.tls.existingSecret }}
    {{- with $secret }}
    - name: {{ $name }}
      secret:
        secretName: {{ . }}
        defaultMode: 0440
    {{- end }}
    {{- end }}
    {{- with $v.tokenKeys.existingSecret }}
    - name: token-keys
      secret:
        secretName: {{ . }}
        defaultMode: 0440
    {{- end }}
    {{- with $v.internalTokens.existingSecret }}
    - name: internal-tokens
      secret:
        secretName: {{ . }}
        defaultMode: 0440
    {{- end }}
    {{- if or $v.redis.passwordKey $v.redis.sentinelPasswordKey }}
    - name: redis
      secret:
        secretName: {{ $v.redis.existingSecret }}
        defaultMode: 0440
        items:
          {{- range compact (list $v.redis.passwordKey $v.redis.sentinelPasswordKey) | uniq }}
          - { key: {{ . | quote }}, path: {{ . | quote }} }
          {{- end }}
    {{- end }}
    {{- with $v.redis.tls.existingSecret }}
    - name: redis-tls
      secret:
        secretName: {{ . }}
        defaultMode: 0440
    {{- end }}
    {{- with $v.extraVolumes }}{{ toYaml . | nindent 4 }}{{ end }}
  {{- $spreadOverNodes := and $v.spreadOverNodes (eq $v.kind "Deployment") }}
  {{- $selector := dict "labelSelector" (dict "matchLabels" (include "fantail.selector" . | fromYaml)) }}
  {{- if or $spreadOverNodes $v.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- range $v.topologySpreadConstraints }}
    - {{- toYaml (merge . $selector) | nindent 6 }}
    {{- end }}
    {{- if $spreadOverNodes }}
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels: {{- include "fantail.selector" . | nindent 10 }}
    {{- end }}
  {{- end }}
  {{- with $v.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $v.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $v.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
