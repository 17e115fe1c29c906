"""Holds the alert rules, the dashboard and docs/metrics.md against what Prometheus scrapes from running nodes.

    deploy_metrics.py PROGRAM

Three nodes run: one fed by Redis that also speaks TLS, one fed by a stream of NATS, and one without a feed. Streams are open, events
come, and some streams end. Then each node must show the metrics of the page and no others. Each selector of a rule or of a panel must
find series of every node, each panel must have data, and no alert may be raised.
"""

import json
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from contextlib import ExitStack
from pathlib import Path

from deploy_expressions import OF_PROMETHEUS, alert_rules, documented, panels, selectors, variables

PATIENCE = 60
# Longer than a few scrapes.
RANGE = "15s"
STREAM = {"name": "EVENTS", "subjects": ["fantail.>"], "retention": "limits", "storage": "memory", "max_age": 3_600_000_000_000}


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


def until(told, condition):
    end = time.monotonic() + PATIENCE
    while True:
        try:
            if result := condition():
                return result
        except OSError:
            pass
        assert time.monotonic() < end, f"this did not come true: {told}"
        time.sleep(0.2)


def read(url, **options):
    with urllib.request.urlopen(url, timeout=10, **options) as answer:
        return answer.read().decode()


class World:
    """Redis, NATS, Prometheus and the nodes, all on the loopback of this machine."""

    def __init__(self, program, directory):
        self.program, self.directory = program, Path(directory)
        self.processes = []
        self.nodes = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.kill()
            process.wait()

    def run(self, name, *command):
        with (self.directory / f"{name}.log").open("w") as log:
            self.processes.append(subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.directory))

    def start_feeds(self):
        self.redis, self.nats = free_ports(2)
        self.run("redis", "redis-server", "--port", str(self.redis), "--save", "", "--bind", "127.0.0.1")
        self.run("nats", "nats-server", "--addr", "127.0.0.1", "--port", str(self.nats), "--jetstream", "--store_dir", str(self.directory / "nats"))
        until("NATS makes the stream", self.make_stream)

    def make_stream(self):
        body = json.dumps(STREAM).encode()
        with socket.create_connection(("127.0.0.1", self.nats), timeout=10) as nats:
            lines = nats.makefile("rwb")
            lines.readline()
            head = b'CONNECT {"verbose":false}\r\nSUB made 1\r\nPUB $JS.API.STREAM.CREATE.EVENTS made %d\r\n' % len(body)
            lines.write(head + body + b"\r\n")
            lines.flush()
            assert lines.readline().startswith(b"MSG made 1 ")
            return b'"error"' not in lines.readline()

    def start_nodes(self):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "90",
             "-keyout", self.directory / "tls.key", "-out", self.directory / "tls.crt"],
            check=True, capture_output=True,
        )
        tls = ["--access=open", "--tls-listen=127.0.0.1:0", f"--tls-cert={self.directory}/tls.crt", f"--tls-key={self.directory}/tls.key"]
        feeds = {
            "redis": [f"--redis-url=redis://127.0.0.1:{self.redis}", "--redis-log", *tls],
            "nats": [f"--nats-url=nats://127.0.0.1:{self.nats}", "--nats-stream=EVENTS"],
            "memory": [],
        }
        for name, flags in feeds.items():
            public, internal = free_ports(2)
            self.nodes[name] = (public, internal)
            self.run(f"node-{name}", self.program, "serve", f"--listen=127.0.0.1:{public}", f"--internal-listen=127.0.0.1:{internal}", *flags)
        for name, (_, internal) in self.nodes.items():
            until(f"the node with {name} is ready", lambda: read(f"http://127.0.0.1:{internal}/readyz"))

    def start_prometheus(self, rules="alerts.yml"):
        (self.directory / "alerts.yml").write_text(Path("deploy/prometheus/alerts.yml").read_text())
        [self.prometheus] = free_ports(1)
        targets = [f"127.0.0.1:{internal}" for _, internal in self.nodes.values()]
        (self.directory / "prometheus.yml").write_text(json.dumps({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [rules],
            "scrape_configs": [{"job_name": "fantail", "static_configs": [{"targets": targets}]}],
        }))
        self.run("prometheus", "prometheus", "--config.file=prometheus.yml", f"--web.listen-address=127.0.0.1:{self.prometheus}",
                 "--storage.tsdb.path=data")
        until("Prometheus is ready", lambda: self.asked("/-/ready"))

    def asked(self, path):
        return read(f"http://127.0.0.1:{self.prometheus}{path}")

    def query(self, expression):
        answer = json.loads(self.asked("/api/v1/query?" + urllib.parse.urlencode({"query": expression})))
        return answer["data"]["result"]

    def publish(self, name, channel, data):
        read(f"http://127.0.0.1:{self.nodes[name][1]}/publish/{channel}", data=data.encode())

    def subscribe(self, name, target):
        return urllib.request.urlopen(f"http://127.0.0.1:{self.nodes[name][0]}{target}", timeout=PATIENCE)


def metrics_of(text):
    """The names in a scrape, as the page writes them."""
    return set(re.findall(r"^# TYPE (\w+) ", text, re.M))


def filled(expression):
    return expression.replace("$job", ".*").replace("$instance", ".*").replace("$__rate_interval", RANGE)


def make_life(world, streams):
    """Events for open streams, and a stream that ends, on each node."""
    for name in world.nodes:
        streams.enter_context(world.subscribe(name, "/sse/a"))
    for name in world.nodes:
        for _ in range(3):
            world.publish(name, "a", "hello")
        assert world.subscribe(name, "/sse/a?replay=1&limit=1").read().count(b"\ndata: hello\n") == 1


def has_data_of_all(world, expression):
    return len(world.query(f"count by (instance) ({expression})")) == len(world.nodes)


def check_page(world, names):
    for name, (_, internal) in world.nodes.items():
        shown = metrics_of(read(f"http://127.0.0.1:{internal}/metrics"))
        assert shown == names, f"the node with {name} and docs/metrics.md differ by {sorted(shown ^ names)}"


def check_expressions(world):
    asked = {(name, filled(labels)) for _, expression in alert_rules() for name, labels in selectors(expression)}
    asked |= {(name, filled(labels)) for panel in panels() for target in panel["targets"] for name, labels in selectors(target["expr"])}
    for name, labels in sorted(asked):
        if name not in OF_PROMETHEUS:
            until(f"each node has series of {name}{labels}", lambda: has_data_of_all(world, f"{name}{labels}"))
    for alert, expression in alert_rules():
        world.query(expression)
    for panel in panels():
        for target in panel["targets"]:
            until(f"{panel['title']}: {target['expr']} has data", lambda: world.query(filled(target["expr"])))
    for variable in variables():
        selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"]).groups()
        values = {entry["metric"][label] for entry in world.query(filled(selector))}
        assert len(values) == {"job": 1, "instance": len(world.nodes)}[label], values
    return len(asked)


def check_states(world):
    """What the three nodes are must show."""
    state = {entry["metric"]["instance"]: entry["metric"]["state"] for entry in world.query("fantail_feed_state == 1")}
    expected = {"redis": "connected", "nats": "connected", "memory": "memory"}
    assert state == {f"127.0.0.1:{world.nodes[name][1]}": state for name, state in expected.items()}, state
    encrypted = [entry["metric"]["instance"] for entry in world.query("fantail_tls_certificate_expiry_timestamp_seconds > time()")]
    assert encrypted == [f"127.0.0.1:{world.nodes['redis'][1]}"], encrypted
    raised = json.loads(world.asked("/api/v1/alerts"))["data"]["alerts"]
    assert not raised, raised


def main(program):
    names = set(documented())
    with tempfile.TemporaryDirectory() as directory, World(program, directory) as world, ExitStack() as streams:
        world.start_feeds()
        world.start_nodes()
        world.start_prometheus()
        until("Prometheus scrapes all nodes", lambda: len(world.query("up == 1")) == len(world.nodes))
        make_life(world, streams)
        check_page(world, names)
        count = check_expressions(world)
        check_states(world)
    print(f"{len(names)} metrics of the page and {count} selectors of rules and panels have series at each node: Redis, NATS, none; no alert is raised")


if __name__ == "__main__":
    main(sys.argv[1])
