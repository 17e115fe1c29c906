"""Checks of objects of Kubernetes, for the chart and for the manifests of kustomize."""

import atexit
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml

KUBERNETES = ["1.27.0", "1.37.0"]


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


def operator_schemas(operator):
    schemas = {}
    for kind in ["ServiceMonitor", "PrometheusRule"]:
        file = operator / f"example/prometheus-operator-crd/monitoring.coreos.com_{kind.lower()}s.yaml"
        resource = yaml.safe_load(file.read_text())
        version = next(version for version in resource["spec"]["versions"] if version["name"] == "v1")
        schema = closed(version["schema"]["openAPIV3Schema"])
        schema["properties"]["metadata"] = {"type": "object"}
        schemas[kind] = schema
    return schemas


@cache
def schemas_of(kubernetes):
    """The schemas of kubernetes-validate, in a form that kubeconform reads: their references lead to files, and not to a site."""
    given = Path(kubernetes_validate.__file__).parent / f"kubernetes-json-schema/v{kubernetes}-local-strict"
    made = Path(tempfile.mkdtemp(prefix="schemas-"))
    atexit.register(shutil.rmtree, made)
    for file in given.glob("*.json"):
        schema = json.loads(file.read_text().replace('"/api/_definitions.json', '"_definitions.json'))
        schema.pop("$id", None)
        (made / file.name).write_text(json.dumps(schema))
    return made


def validate(objects, kubernetes, operator=None):
    """Two validators must agree: one is written in Python and one in Go, and both have the schemas of the first."""
    for object in objects:
        if object["kind"] in (operator or {}):
            jsonschema.validate(object, operator[object["kind"]])
        else:
            kubernetes_validate.validate(object, kubernetes.rsplit(".", 1)[0], strict=True)
    own = [object for object in objects if object["kind"] not in (operator or {})]
    location = f"{schemas_of(kubernetes)}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json"
    run = subprocess.run(
        ["kubeconform", "-strict", "-schema-location", location, "-"], input=yaml.safe_dump_all(own), capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr


# Findings of kube-score that are choices, with the reason for each.
CHOSEN = [
    # The tag names one version. A pod should start while the registry is away.
    "container-image-pull-policy",
    # Nothing is written but the log, and an eviction for a long log would end all streams.
    "container-ephemeral-storage-request-and-limit",
    # Pods are spread by topologySpreadConstraints.
    "deployment-has-host-podantiaffinity",
]


def score(objects, chosen=()):
    """Nothing in the objects is critical for kube-score, beyond what was chosen. A limit of CPU would hold deliveries up."""
    command = ["kube-score", "score", "--kubernetes-version", "v1.34", "--output-format", "ci", "--ignore-container-cpu-limit"]
    for test in [*CHOSEN, *chosen]:
        command += ["--ignore-test", test]
    run = subprocess.run([*command, "-"], input=yaml.safe_dump_all(objects), capture_output=True, text=True)
    faults = [line for line in run.stdout.splitlines() if line.startswith("[CRITICAL]")]
    assert run.returncode == 0 and "[OK]" in run.stdout, run.stderr + "\n".join(faults)


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
        assert all("hostPort" not in port for port in container.get("ports", []))


def make_secrets(directory):
    """What the Secrets of the shapes hold."""
    for feed in ["redis", "nats"]:
        (directory / feed).mkdir()
        (directory / feed / "password").write_text("secret\n")
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
    for secret in ["nats-tls", "tls/events.example.com", "tls/events.example.org", "tls-client-ca", "internal-tls", "tls-ticket-keys"]:
        (directory / secret).mkdir(parents=True)
        for name in ["tls.crt", "tls.key", "ca.crt"]:
            if not secret.startswith("tls/") or name != "ca.crt":
                (directory / secret / name).write_bytes((pair / name).read_bytes())
    for name in ["today", "yesterday"]:
        (directory / "tls-ticket-keys" / name).write_bytes(os.urandom(80))


def check_program(program, container, file, directory):
    """The program starts with the arguments and the file of the pod, but for addresses and places."""
    config = directory / "fantail.toml"
    config.write_text(file)
    arguments = []
    for argument in container["args"]:
        argument = re.sub(r"^(--(?:internal-|health-|tls-)?listen)=.*", r"\1=127.0.0.1:0", argument)
        argument = argument.replace("/etc/fantail/", f"{directory}/")
        # Nobody listens there; the program starts all the same, and is not ready.
        arguments.append(re.sub(r"^(--(?:redis|nats)-url=\w+://(?:\w+@)?).*", r"\g<1>127.0.0.1:1", argument))
    environment = {variable["name"]: variable.get("value", "redis://127.0.0.1:1") for variable in container.get("env", [])}
    for name, value in environment.items():
        if name.endswith("LISTEN"):
            environment[name] = f"unix:{directory}/socket" if value.startswith("unix:") else "127.0.0.1:0"
        environment[name] = re.sub(r"^(redis://(?:\w+@)?).*", r"\g<1>127.0.0.1:1", environment[name]).replace("/etc/fantail/", f"{directory}/")
    environment.setdefault("FANTAIL_INTERNAL_LISTEN", "127.0.0.1:0")
    make_secrets(directory)
    if any(argument.startswith("--token-keys=HS") for argument in arguments):
        # The Secret of such a shape holds a secret, and no public key.
        (directory / "token-keys" / "main.pem").unlink()
        (directory / "token-keys" / "jwt-secret").write_text("a-secret-of-thirty-two-bytes-abc")
    make_tls_secrets(directory, directory / "redis-tls")
    process = subprocess.Popen(
        [program, *arguments], env=os.environ | environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
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
