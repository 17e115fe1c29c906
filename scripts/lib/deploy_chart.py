"""Renders every shape of the chart and checks what comes out.

    deploy_chart.py PROGRAM OPERATOR

Each of deploy/helm/fantail/ci/*.yaml is linted, rendered and validated strictly against the schemas of Kubernetes, and
of the Prometheus operator, whose sources stand in OPERATOR. PROGRAM must start with the settings of each. Then come
values that the chart must refuse.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml

PROGRAM, OPERATOR = sys.argv[1], Path(sys.argv[2])
CHART = "deploy/helm/fantail"
KUBERNETES = ["1.27.0", "1.37.0"]
# The shapes that use the node's network or a port of it.
PRIVILEGED = {"daemonset-hostnetwork", "daemonset-hostport"}
# terminationGracePeriodSeconds where it is not 5 s + 20 s + 5 s: 90 s + 150.5 s, rounded up, and 5 s.
GRACE = {"daemonset-hostnetwork": 246}
# What must be refused, and a word of the reason.
REFUSED = {
    "kind=StatefulSet": "kind",
    "replicass=3": "replicass",
    "replicas=2": "several pods need Redis",
    "redis.url=redis://:secret@redis:6379": "url",
    "redis.url=http://redis": "url",
    "redis.url=redis://a,redis.existingSecret=b,redis.urlKey=c": "both name the server",
    "redis.url=redis://a,redis.passwordKey=c": "existingSecret, which is empty",
    "redis.url=redis://a,redis.tls.certKey=c": "go together",
    "redis.url=redis://a,settings.listen=0.0.0.0:80": "listen",
    "redis.url=redis://a,settings.redis_password=secret": "redis_password",
    "redis.url=redis://a,settings.drain_delay=5": "drain_delay",
    "redis.url=redis://a,settings.drain_deadline=null": "drain_deadline",
    "redis.url=redis://a,settings.retry.base=2s": "settings",
    "redis.url=redis://a,internal.exposed=true": "internal.from",
    "redis.url=redis://a,internal.exposed=true,networkPolicy.enabled=false": "needs tokens",
    "redis.url=redis://a,internalTokens.rights.shop=publish": "go together",
    "redis.url=redis://a,internalTokens.existingSecret=b,internalTokens.rights.shop=write": "shop",
    "redis.url=redis://a": "access says who may read",
    "redis.url=redis://a,access=closed": "access",
    "redis.url=redis://a,access=token,tokenKeys.existingSecret=b": "go together",
    "redis.url=redis://a,access=open,tokenKeys.existingSecret=b,tokenKeys.algorithm=HS256": "of no use",
    "redis.url=redis://a,access=token,tokenKeys.existingSecret=b,tokenKeys.algorithm=none": "algorithm",
    "redis.url=redis://a,access=open,settings.access=token": "access",
    "redis.url=redis://a,access=token,settings.token_secret=secret": "token_secret",
    "redis.url=redis://a,access=open,tls.clientCa.existingSecret=b": "without tls.existingSecrets",
    "redis.url=redis://a,access=open,tls.existingSecrets={b},tls.ticketKeys.existingSecret=c": "go together",
    "redis.url=redis://a,access=open,tls.existingSecrets={B/c}": "existingSecrets",
    "redis.url=redis://a,access=certificate,tls.existingSecrets={b}": "tls.clientCa",
    "redis.url=redis://a,access=open,settings.tls_cert=c": "tls_cert",
    "redis.url=redis://a,access=open,internal.tls.clientCaKey=ca.crt": "which is empty",
    "replicas=1,access=open,autoscaling.enabled=true": "autoscaling needs",
    "redis.url=redis://a,access=open,kind=DaemonSet,autoscaling.enabled=true": "autoscaling needs",
    "redis.url=redis://a,access=open,autoscaling.enabled=true,autoscaling.minReplicas=20": "minReplicas",
    "redis.url=redis://a,internal.exposed=true,hostNetwork=true": "hostNetwork",
    "redis.url=redis://a,hostNetwork=true,sysctls[0].name=a,sysctls[0].value=b": "sysctls",
}


def helm(*arguments):
    return subprocess.run(["helm", *arguments], capture_output=True, text=True)


def render(kubernetes, *arguments):
    run = helm("template", "web", CHART, "--namespace", "edge", "--kube-version", kubernetes, *arguments)
    assert run.returncode == 0, f"{arguments}: {run.stderr}"
    return [object for object in yaml.safe_load_all(run.stdout) if object]


def closed(schema):
    """The schema of a custom resource, with every field refused that it does not name."""
    if isinstance(schema, dict):
        schema = {key: closed(value) for key, value in schema.items()}
        if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
            if not schema.get("x-kubernetes-preserve-unknown-fields"):
                schema.setdefault("additionalProperties", False)
        if schema.get("x-kubernetes-int-or-string"):
            schema["type"] = ["integer", "string"]
        # Go's way to ignore case in the middle of a pattern; Python has none.
        if isinstance(schema.get("pattern"), str):
            schema["pattern"] = schema["pattern"].replace("(?i)", "")
    elif isinstance(schema, list):
        schema = [closed(value) for value in schema]
    return schema


def operator_schemas():
    schemas = {}
    for kind in ["ServiceMonitor", "PrometheusRule"]:
        file = OPERATOR / f"example/prometheus-operator-crd/monitoring.coreos.com_{kind.lower()}s.yaml"
        resource = yaml.safe_load(file.read_text())
        version = next(version for version in resource["spec"]["versions"] if version["name"] == "v1")
        schema = closed(version["schema"]["openAPIV3Schema"])
        schema["properties"]["metadata"] = {"type": "object"}
        schemas[kind] = schema
    return schemas


def validate(object, kubernetes, operator):
    kind = object["kind"]
    if kind in operator:
        jsonschema.validate(object, operator[kind])
    else:
        kubernetes_validate.validate(object, kubernetes.rsplit(".", 1)[0], strict=True)


def check_restricted(pod):
    """The parts of the Pod Security level "restricted" that concern what the chart renders."""
    assert not pod.get("hostNetwork") and not pod.get("hostPID") and not pod.get("hostIPC")
    assert pod["securityContext"]["runAsNonRoot"] is True and pod["securityContext"]["runAsUser"] != 0
    assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    safe = {"net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ip_unprivileged_port_start"}
    assert {sysctl["name"] for sysctl in pod["securityContext"].get("sysctls", [])} <= safe
    for volume in pod["volumes"]:
        assert set(volume) - {"name"} <= {"configMap", "secret", "emptyDir", "projected"}, volume
    for container in pod["containers"]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False, container["name"]
        assert context["capabilities"]["drop"] == ["ALL"] and not context["capabilities"].get("add")
        assert all("hostPort" not in port for port in container["ports"])


def make_secrets(directory):
    """What the Secrets of the shapes hold."""
    (directory / "redis").mkdir()
    (directory / "redis/password").write_text("secret\n")
    tls = directory / "redis-tls"
    tls.mkdir()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=redis", "-days", "1",
         "-keyout", tls / "tls.key", "-out", tls / "tls.crt"],
        check=True, capture_output=True,
    )
    (tls / "ca.crt").write_bytes((tls / "tls.crt").read_bytes())
    (directory / "token-keys").mkdir()
    subprocess.run(
        f"openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 | openssl pkey -pubout -out '{directory}/token-keys/main.pem'",
        shell=True, check=True, capture_output=True,
    )
    (directory / "internal-tokens").mkdir()
    for name in ["shop", "ops"]:
        (directory / "internal-tokens" / name).write_text(name * 16 + "\n")


def make_tls_secrets(directory, pair):
    for secret in ["tls/events.example.com", "tls/events.example.org", "tls-client-ca", "internal-tls", "tls-ticket-keys"]:
        (directory / secret).mkdir(parents=True)
        for name in ["tls.crt", "tls.key", "ca.crt"]:
            if not secret.startswith("tls/") or name != "ca.crt":
                (directory / secret / name).write_bytes((pair / name).read_bytes())
    for name in ["today", "yesterday"]:
        (directory / "tls-ticket-keys" / name).write_bytes(os.urandom(80))


def check_program(container, file, directory):
    """The program starts with the arguments and the file of the pod, but for addresses and places."""
    config = directory / "fantail.toml"
    config.write_text(file)
    arguments = []
    for argument in container["args"]:
        argument = re.sub(r"^(--(?:internal-|health-|tls-)?listen)=.*", r"\1=127.0.0.1:0", argument)
        argument = argument.replace("/etc/fantail/", f"{directory}/")
        # Nobody listens there; the program starts all the same, and is not ready.
        arguments.append(re.sub(r"^(--redis-url=\w+://(?:\w+@)?).*", r"\g<1>127.0.0.1:1", argument))
    environment = {variable["name"]: "redis://127.0.0.1:1" for variable in container.get("env", [])}
    make_secrets(directory)
    make_tls_secrets(directory, directory / "redis-tls")
    process = subprocess.Popen(
        [PROGRAM, *arguments], env=os.environ | environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            if "serving" in line:
                return
        raise AssertionError(f"{arguments} is refused: {''.join(lines)}")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def check_shape(values, operator):
    shape = values.name.removesuffix("-values.yaml")
    lint = helm("lint", CHART, "--strict", "--kube-version", KUBERNETES[-1], "--values", str(values))
    assert lint.returncode == 0, lint.stdout + lint.stderr
    for kubernetes in KUBERNETES:
        objects = render(kubernetes, "--values", str(values))
        for object in objects:
            validate(object, kubernetes, operator)
    workload = next(object for object in objects if object["kind"] in ("Deployment", "DaemonSet"))
    pod = workload["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == GRACE.get(shape, 30), pod["terminationGracePeriodSeconds"]
    if shape not in PRIVILEGED:
        check_restricted(pod)
    file = next(object["data"]["fantail.toml"] for object in objects if "fantail.toml" in object.get("data", {}))
    with tempfile.TemporaryDirectory() as directory:
        check_program(pod["containers"][0], file, Path(directory))
    for object in objects:
        if object["kind"] == "PrometheusRule":
            assert object["spec"] == yaml.safe_load(Path("deploy/prometheus/alerts.yml").read_text())
        if object["metadata"]["name"].endswith("-dashboard"):
            assert json.loads(object["data"]["fantail.json"]) == json.loads(Path("deploy/grafana/fantail.json").read_text())
    kinds = ", ".join(sorted(object["kind"] for object in objects))
    print(f"{shape}: {kinds}")


def check_validators(operator):
    """The validators refuse a field that there is not."""
    objects = render(KUBERNETES[-1], "--values", f"{CHART}/ci/deployment-values.yaml")
    for object in objects:
        if "spec" not in object:
            continue
        object["spec"]["nonsense"] = 1
        try:
            validate(object, KUBERNETES[-1], operator)
        except Exception:
            continue
        raise AssertionError(f"a wrong field of {object['kind']} passes")


def check_refusals():
    for values, reason in REFUSED.items():
        run = helm("template", "web", CHART, "--kube-version", KUBERNETES[-1], "--set", values)
        assert run.returncode != 0, f"{values} is not refused"
        assert reason in run.stderr, f"{values}: {run.stderr}"
    print(f"{len(REFUSED)} faulty sets of values are refused")


def main():
    operator = operator_schemas()
    for values in sorted(Path(CHART, "ci").glob("*-values.yaml")):
        check_shape(values, operator)
    check_validators(operator)
    check_refusals()


main()
