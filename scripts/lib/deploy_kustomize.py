"""Renders every overlay of deploy/kustomize and checks what comes out.

    deploy_kustomize.py PROGRAM

The objects are validated as those of the chart are, and the pod must be the chart's, but for settings. PROGRAM must start with
the settings of each overlay. In the overlay with nginx an event must come through nginx and the unix socket.
"""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from deploy_kubernetes import KUBERNETES, check_program, check_restricted, score, validate

PROGRAM = sys.argv[1]
OVERLAYS = Path("deploy/kustomize/overlays")
PRIVILEGED = {"daemonset-hostnetwork", "daemonset-hostport"}
# Findings of kube-score that the overlay is there for. The demo's Redis keeps nothing, and nobody depends on it.
CHOSEN = {
    "daemonset-hostnetwork": ["pod-networkpolicy"],
    "demo": ["pod-networkpolicy", "deployment-has-poddisruptionbudget", "deployment-replicas", "deployment-strategy"],
}
# The values of the chart that make the same pod as the base.
LIKE_THE_BASE = ["--set", "access=open,redis.url=redis://redis:6379"]
PARTS_OF_POD = ["securityContext", "automountServiceAccountToken", "enableServiceLinks", "terminationGracePeriodSeconds"]
PARTS_OF_CONTAINER = ["ports", "startupProbe", "readinessProbe", "livenessProbe", "resources", "securityContext", "imagePullPolicy"]


def output(*command):
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, f"{command}: {run.stderr}"
    return run.stdout


def objects_of(text):
    return [object for object in yaml.safe_load_all(text) if object]


def pod_of(objects, name="fantail"):
    workload = next(object for object in objects if object["kind"] in ("Deployment", "DaemonSet") and object["metadata"]["name"].endswith(name))
    return workload["spec"]["template"]["spec"]


def check_selectors(objects):
    """Services and policies choose the pods of the workload, and no others."""
    labels = {"app.kubernetes.io/name": "fantail"}
    for object in objects:
        if object["metadata"]["name"].startswith("fantail"):
            spec = object.get("spec", {})
            selector = spec.get("selector", spec.get("podSelector", {"matchLabels": labels}))
            assert selector.get("matchLabels", selector) == labels, object["metadata"]


def check_base(chart):
    pod = pod_of(objects_of(output("kustomize", "build", "deploy/kustomize/base")))
    for part in PARTS_OF_POD:
        assert pod.get(part) == chart.get(part), f"{part} differs from the chart's"
    for part in PARTS_OF_CONTAINER:
        assert pod["containers"][0].get(part) == chart["containers"][0].get(part), f"{part} differs from the chart's"


def check_overlay(folder):
    objects = objects_of(output("kustomize", "build", str(folder)))
    for kubernetes in KUBERNETES:
        validate(objects, kubernetes)
    score(objects, CHOSEN.get(folder.name, []))
    check_selectors(objects)
    for name in ["fantail", "redis", "publisher"]:
        if folder.name not in PRIVILEGED and any(object["metadata"]["name"] == name and object["kind"] == "Deployment" for object in objects):
            check_restricted({"volumes": [], **pod_of(objects, name)})
    pod = pod_of(objects)
    settings = next(object["data"]["fantail.toml"] for object in objects if "fantail.toml" in object.get("data", {}))
    with tempfile.TemporaryDirectory() as directory:
        check_program(PROGRAM, pod["containers"][0], settings, Path(directory))
    print(f"{folder.name}: {', '.join(sorted(object['kind'] for object in objects))}")


def check_sidecar():
    """nginx with the file of the overlay, but for places, in front of the program's unix socket."""
    with tempfile.TemporaryDirectory() as directory:
        directory = Path(directory)
        directory.chmod(0o755)
        file = (OVERLAYS / "nginx-sidecar/nginx.conf").read_text()
        file = file.replace("/tmp/", f"{directory}/").replace("/run/fantail/", f"{directory}/")
        file = re.sub(r"listen 8000;", f"listen unix:{directory}/nginx.sock;", file)
        (directory / "nginx.conf").write_text(f"user root;\n{file}")
        node = [PROGRAM, "serve", f"--listen=unix:{directory}/public.sock", f"--internal-listen=unix:{directory}/internal.sock"]
        node += ["--access=proxy", "--trusted-proxies=127.0.0.1"]
        processes = []
        try:
            for command in [node, ["nginx", "-c", str(directory / "nginx.conf")]]:
                processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            end = time.monotonic() + 30
            while not all((directory / f"{name}.sock").exists() for name in ["public", "internal", "nginx"]):
                assert time.monotonic() < end, "nginx or the program does not start"
                time.sleep(0.1)
            curl = ["curl", "--silent", "--max-time", "30", "--unix-socket"]
            output(*curl, f"{directory}/internal.sock", "--data", "hello", "http://localhost/publish/demo")
            stream = output(*curl, f"{directory}/nginx.sock", "http://localhost/sse/demo?replay=all&limit=1")
            assert "\ndata: hello\n" in stream, stream
            refused = output(*curl, f"{directory}/nginx.sock", "--write-out", "%{http_code}", "http://localhost/sse/secret")
            assert refused.endswith("403"), refused
        finally:
            for process in reversed(processes):
                process.kill()
                process.wait()
    print("nginx-sidecar: an event comes through nginx and the unix socket, and a channel that nginx does not grant is refused")


check_base(pod_of(objects_of(output("helm", "template", "web", "deploy/helm/fantail", "--kube-version", KUBERNETES[-1], *LIKE_THE_BASE))))
for folder in sorted(OVERLAYS.iterdir()):
    check_overlay(folder)
check_sidecar()
