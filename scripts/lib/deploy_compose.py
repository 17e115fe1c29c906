"""Runs the services of deploy/compose on this machine, without an engine for containers.

    deploy_compose.py PROGRAM

Each service gets a network namespace with an address on a bridge, its names in /etc/hosts, and its volumes where the file puts
them. Its command is the one of compose.yaml, with the program of Debian's packages, or PROGRAM for a node. Then an event must come
through nginx from both nodes, and Prometheus must know them. Grafana is not in Debian, so it is not run. Needs root.
"""

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

PROGRAM = os.path.abspath(sys.argv[1])
FOLDER = Path("deploy/compose").resolve()
# The programs that the images start, and the folders that they hold beside the volumes.
ENTRY = {"node-1": [PROGRAM], "node-2": [PROGRAM], "prometheus": ["prometheus"]}
OVERLAID = ["/etc", "/srv"]
# The variables of deploy/Dockerfile.
IMAGE = {"FANTAIL_LISTEN": "0.0.0.0:8080", "FANTAIL_HEALTH_LISTEN": "0.0.0.0:8082"}
NGINX = "user www-data; pid /run/nginx-demo.pid; events {} http { access_log off; include /etc/nginx/conf.d/*.conf; }"
NOT_RUN = {"grafana"}
# Namespaces with these names are made and removed here.
PREFIX = f"fantail{os.getpid()}"

services = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
addresses = {name: f"10.254.7.{number}" for number, name in enumerate(services, start=2)}
started = {}


def run(*command, check=True):
    return subprocess.run(command, check=check, capture_output=True, text=True)


def inside(name, *command):
    return run("ip", "netns", "exec", f"{PREFIX}-{name}", *command, check=False)


def connect_networks():
    run("ip", "netns", "add", f"{PREFIX}-bridge")
    inside("bridge", "ip", "link", "add", "demo", "type", "bridge")
    inside("bridge", "ip", "link", "set", "demo", "up")
    for number, (name, address) in enumerate(addresses.items()):
        run("ip", "netns", "add", f"{PREFIX}-{name}")
        peer = ["peer", "name", f"port{number}", "netns", f"{PREFIX}-bridge"]
        made = inside(name, "ip", "link", "add", "eth0", "type", "veth", *peer)
        assert made.returncode == 0, made.stderr
        inside("bridge", "ip", "link", "set", f"port{number}", "master", "demo", "up")
        for link in ["lo", "eth0"]:
            inside(name, "ip", "link", "set", link, "up")
        inside(name, "ip", "address", "add", f"{address}/24", "dev", "eth0")


def environment(name):
    return {**(IMAGE if name.startswith("node") else {}), **services[name].get("environment", {})}


def start(name, work):
    """Starts a service in namespaces of its own. /etc and /srv are those of this machine with the volumes laid over them."""
    service = services[name]
    layer = work / name
    (layer / "etc").mkdir(parents=True)
    (layer / "etc/hosts").write_text("127.0.0.1 localhost\n" + "".join(f"{at} {who}\n" for who, at in addresses.items()))
    if name == "nginx":
        (layer / "etc/nginx").mkdir()
        (layer / "etc/nginx/nginx.conf").write_text(NGINX)
    for volume in service.get("volumes", []):
        source, target, mode = volume.split(":")
        assert mode == "ro" and (FOLDER / source).is_file(), volume
        place = layer / target.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes((FOLDER / source).read_bytes())
        place.chmod(0o644)
    mounts = []
    for folder in OVERLAID:
        upper, scratch = layer / folder.lstrip("/"), work / f"{name}{folder.replace('/', '-')}"
        upper.mkdir(exist_ok=True)
        scratch.mkdir()
        # Conf files of this machine's own nginx do not count.
        mounts.append(f"mount -t overlay demo -o lowerdir={folder},upperdir={upper},workdir={scratch} {folder}")
    command = [*ENTRY.get(name, []), *(argument.replace("$$", "$") for argument in service["command"])]
    script = " && ".join([*mounts, f"cd {work}", f"exec {shlex.join(command)}"])
    with (work / f"{name}.log").open("w") as log:
        place = ["ip", "netns", "exec", f"{PREFIX}-{name}", "unshare", "--mount", "sh", "-c", script]
        started[name] = subprocess.Popen(place, env={**os.environ, **environment(name)}, stdout=log, stderr=log, stdin=subprocess.DEVNULL)


def until(told, condition, patience=60):
    end = time.monotonic() + patience
    while not condition():
        dead = [name for name, process in started.items() if process.poll() is not None]
        assert not dead, f"ended by themselves: {dead}"
        assert time.monotonic() < end, f"this did not come true: {told}"
        time.sleep(0.2)


def is_healthy(name):
    if name.startswith("node"):
        return inside(name, "env", *(f"{key}={value}" for key, value in environment(name).items()), PROGRAM, "health").returncode == 0
    test = services[name].get("healthcheck", {}).get("test", ["CMD", "true"])
    assert test[0] == "CMD"
    return inside(name, *test[1:]).returncode == 0


def streams(name):
    lines = inside(name, "curl", "--silent", "http://127.0.0.1:8082/metrics").stdout.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("fantail_streams_open{") or line.startswith("fantail_streams_open "))


def scraped():
    answer = inside("prometheus", "curl", "--silent", "http://127.0.0.1:9090/api/v1/query?query=fantail_connections_max").stdout
    return {entry["metric"]["instance"] for entry in json.loads(answer)["data"]["result"]} if answer else set()


def check():
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        work.chmod(0o755)
        try:
            connect_networks()
            for name in services:
                if name in NOT_RUN:
                    continue
                for needed in services[name].get("depends_on", []):
                    until(f"{needed} is healthy", lambda: is_healthy(needed))
                start(name, work)
            readers = [("ip", "netns", "exec", f"{PREFIX}-nginx", "curl", "--silent", "--no-buffer", "http://127.0.0.1/sse/demo") for _ in range(4)]
            files = [(work / f"reader{number}").open("w+") for number in range(4)]
            until("nginx answers", lambda: "EventSource" in inside("nginx", "curl", "--silent", "http://127.0.0.1/").stdout)
            for reader, file in zip(readers, files):
                started[file.name] = subprocess.Popen(reader, stdout=file)
            until("each reader has an event", lambda: all("\ndata: " in Path(file.name).read_text() for file in files))
            assert streams("node-1") == streams("node-2") == 2, "nginx gives each node two of the streams"
            until("Prometheus scrapes both nodes", lambda: scraped() == {"node-1:8082", "node-2:8082"})
            rules = inside("prometheus", "curl", "--silent", "http://127.0.0.1:9090/api/v1/rules").stdout
            assert json.loads(rules)["data"]["groups"], "the alert rules are loaded"
        except AssertionError:
            for log in work.glob("*.log"):
                print(f"-- {log.name}", log.read_text()[-1500:], sep="\n", file=sys.stderr)
            raise
        finally:
            for process in reversed(list(started.values())):
                process.terminate()
            for process in started.values():
                try:
                    process.wait(timeout=30)
                except subprocess.TimeoutExpired:
                    process.kill()
            for name in [*addresses, "bridge"]:
                run("ip", "netns", "delete", f"{PREFIX}-{name}", check=False)


check()
told = ", ".join(sorted(name for name in services if name not in NOT_RUN))
print(f"{told}: run by their commands, and events came through nginx from both nodes. Not run: {', '.join(NOT_RUN)}")
