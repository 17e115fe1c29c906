"""Makes images without an engine: archives that containerd and Docker import.

    deploy_images.py FOLDER NAME...

`fantail=PROGRAM` holds what deploy/image-root makes, as the last stage of the Dockerfile does. The others stand in for images that the
examples name: programs of this machine with their libraries. `pause` keeps the namespaces of a pod.
"""

import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

PAUSE = "#include <unistd.h>\nint main(void) { for (;;) pause(); }\n"


def copy_programs(root, *programs):
    for program in programs:
        place = shutil.which(program)
        libraries = re.findall(r"/\S+", subprocess.run(["ldd", place], capture_output=True, text=True, check=True).stdout)
        for file in [place, *libraries]:
            copy = root / file.lstrip("/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(file).resolve(), copy)
            copy.chmod(0o755)


def owned_by_root(entry):
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def add(archive, name, data):
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))


def pack(root, names, config, file):
    """One layer, in the form of `docker save`."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        archive.add(root, arcname=".", filter=owned_by_root)
    layer = layer.getvalue()
    layers = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]}
    config = {"architecture": "amd64", "os": "linux", "config": config, "rootfs": layers, "history": [{}]}
    with tarfile.open(file, "w") as archive:
        add(archive, "layer.tar", layer)
        add(archive, "config.json", json.dumps(config).encode())
        add(archive, "manifest.json", json.dumps([{"Config": "config.json", "RepoTags": names, "Layers": ["layer.tar"]}]).encode())


def dockerfile():
    """What the Dockerfile says of its last stage, but for the health check, which Kubernetes does not know."""
    text = Path("deploy/Dockerfile").read_text().split("FROM scratch")[1].replace("\\\n", " ")
    value = {word: re.search(rf"^{word} (.*)$", text, re.M).group(1) for word in ["USER", "ENV", "ENTRYPOINT", "CMD", "STOPSIGNAL"]}
    return {
        "User": value["USER"],
        "Env": value["ENV"].split(),
        "Entrypoint": json.loads(value["ENTRYPOINT"]),
        "Cmd": json.loads(value["CMD"]),
        "StopSignal": value["STOPSIGNAL"],
    }


def make_pause(root):
    source = root.parent / "pause.c"
    source.write_text(PAUSE)
    subprocess.run(["cc", "-static", "-O", "-o", root / "pause", source], check=True)


def make_fantail(root):
    subprocess.run(["deploy/image-root", program, root], check=True)


def make_redis(root):
    copy_programs(root, "redis-server", "redis-cli", "sh", "date", "sleep")
    (root / "etc").mkdir()
    (root / "etc/nsswitch.conf").write_text("hosts: files dns\n")


def make_nginx(root):
    copy_programs(root, "nginx", "sleep")
    for folder in ["tmp", "run", "var/log/nginx", "var/lib/nginx", "etc/nginx"]:
        (root / folder).mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0::/:\n")
    (root / "etc/group").write_text("root:x:0:\n")
    (root / "etc/nginx/nginx.conf").write_text("user root root; events {} http { include /etc/nginx/conf.d/*.conf; }\n")


def make_prometheus(root):
    copy_programs(root, "prometheus", "promtool")
    (root / "tmp").mkdir()


path = {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]}
images = {
    "pause": lambda: (make_pause, ["localhost/pause:1"], {"Entrypoint": ["/pause"]}),
    "fantail": lambda: (make_fantail, [f"docker.io/library/fantail:{version()}", "docker.io/library/fantail:latest"], dockerfile()),
    "redis": lambda: (make_redis, ["docker.io/library/redis:7.4-bookworm"], path),
    "nginx": lambda: (make_nginx, ["docker.io/library/nginx:1.28-bookworm"], path),
    "nginx-unprivileged": lambda: (make_nginx, ["docker.io/nginxinc/nginx-unprivileged:1.28"], {**path, "User": "101"}),
    "prometheus": lambda: (make_prometheus, ["docker.io/prom/prometheus:v2.55.1"], {**path, "Entrypoint": ["prometheus"]}),
}


def version():
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]


folder = Path(sys.argv[1])
for argument in sys.argv[2:]:
    name, _, program = argument.partition("=")
    make, names, config = images[name]()
    root = folder / name / "root"
    root.mkdir(parents=True)
    make(root)
    pack(root, names, config, folder / f"{name}.tar")
