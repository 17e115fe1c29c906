"""Renders every shape of the chart and checks what comes out.

    deploy_chart.py PROGRAM OPERATOR

Each of deploy/helm/fantail/ci/*.yaml is linted, rendered and validated strictly against the schemas of Kubernetes, and
of the Prometheus operator, whose sources stand in OPERATOR. PROGRAM must start with the settings of each. Then come
values that the chart must refuse.
"""

import json
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from deploy_kubernetes import KUBERNETES, check_program, check_restricted, operator_schemas, score, validate

PROGRAM, OPERATOR = sys.argv[1], Path(sys.argv[2])
CHART = "deploy/helm/fantail"
# The shapes that use the node's network or a port of it.
PRIVILEGED = {"daemonset-hostnetwork", "daemonset-hostport"}
# terminationGracePeriodSeconds where it is not 5 s + 20 s + 5 s: 90 s + 150.5 s, rounded up, and 5 s.
GRACE = {"daemonset-hostnetwork": 246, "nginx": 35}
# Findings of kube-score that the shape is there for.
CHOSEN = {"daemonset-hostnetwork": ["pod-networkpolicy"], "single": ["deployment-replicas"]}
# What must be refused, and a word of the reason.
REFUSED = {
    "kind=StatefulSet": "kind",
    "replicass=3": "replicass",
    "replicas=2": "several pods need Redis or NATS",
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
    "redis.url=redis://a,nats.urls={nats://b}": "both name the feed",
    "redis.url=redis://a,nats.stream=EVENTS": "without nats.urls",
    "nats.urls={nats://user:secret@a}": "urls",
    "nats.urls={nats://a},nats.existingSecret=b": "goes together with one of its keys",
    "nats.urls={nats://a},nats.tokenKey=c": "goes together with one of its keys",
    "nats.urls={nats://a},nats.existingSecret=b,nats.tokenKey=c,nats.nkeyKey=d": "choose one",
    "nats.urls={nats://a},nats.existingSecret=b,nats.passwordKey=c": "go together",
    "nats.urls={nats://a},nats.tls.existingSecret=b,nats.tls.keyKey=d": "go together",
    "nats.urls={nats://a},settings.nats_nkey_file=b": "nats_nkey_file",
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


def check_shape(values, operator):
    shape = values.name.removesuffix("-values.yaml")
    lint = helm("lint", CHART, "--strict", "--kube-version", KUBERNETES[-1], "--values", str(values))
    assert lint.returncode == 0, lint.stdout + lint.stderr
    for kubernetes in KUBERNETES:
        objects = render(kubernetes, "--values", str(values))
        validate(objects, kubernetes, operator)
    score(objects, CHOSEN.get(shape, []))
    workload = next(object for object in objects if object["kind"] in ("Deployment", "DaemonSet"))
    pod = workload["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == GRACE.get(shape, 30), pod["terminationGracePeriodSeconds"]
    if shape not in PRIVILEGED:
        check_restricted(pod)
    file = next(object["data"]["fantail.toml"] for object in objects if "fantail.toml" in object.get("data", {}))
    with tempfile.TemporaryDirectory() as directory:
        check_program(PROGRAM, pod["containers"][0], file, Path(directory))
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
            validate([object], KUBERNETES[-1], operator)
        except Exception:
            continue
        raise AssertionError(f"a wrong field of {object['kind']} passes")


def check_page():
    """The command of docs/kubernetes.md, but for the cluster that it needs."""
    command = re.search(r"^    helm install (web deploy[^\\\n]*(?:\\\n[^\\\n]*)*)", Path("docs/kubernetes.md").read_text(), re.M).group(1)
    run = helm("template", "--kube-version", KUBERNETES[-1], *shlex.split(command.replace("\\\n", " ")))
    assert run.returncode == 0 and "kind: Deployment" in run.stdout, run.stderr


def check_refusals():
    for values, reason in REFUSED.items():
        run = helm("template", "web", CHART, "--kube-version", KUBERNETES[-1], "--set", values)
        assert run.returncode != 0, f"{values} is not refused"
        assert reason in run.stderr, f"{values}: {run.stderr}"
    print(f"{len(REFUSED)} faulty sets of values are refused")


def main():
    operator = operator_schemas(OPERATOR)
    for values in sorted(Path(CHART, "ci").glob("*-values.yaml")):
        check_shape(values, operator)
    check_validators(operator)
    check_page()
    check_refusals()


main()
