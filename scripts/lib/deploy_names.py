"""Checks names that several files share: metrics, alerts, their tests and runbook, settings of the drain.

Every metric of the alert rules and the dashboard must stand in docs/metrics.md with the labels that are asked for. Every
alert must have a unit test and a section of the runbook. The unit file must wait for the whole drain.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from deploy_expressions import ALERTS, DASHBOARD, OF_PROMETHEUS, alert_rules, documented, panels, selectors, variables

OF_TARGETS = {"job", "instance"}
faults = []


def fault(text):
    faults.append(text)


def check_expression(place, expression, metrics):
    for name, selector in selectors(expression):
        if name in OF_PROMETHEUS:
            continue
        if name not in metrics:
            fault(f"{place}: docs/metrics.md has no metric {name}")
            continue
        for label in re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", selector):
            if label not in metrics[name] | OF_TARGETS:
                fault(f"{place}: {name} has no label {label}")
    known = OF_TARGETS.union(*metrics.values())
    for labels in re.findall(r"\b(?:by|without|on)\s*\((.*?)\)", expression):
        for label in re.findall(r"\w+", labels):
            if label not in known:
                fault(f"{place}: no metric has a label {label}")


def check_alerts(metrics):
    rules, text = alert_rules(), ALERTS.read_text()
    tests = Path("deploy/prometheus/alerts_test.yml").read_text()
    runbook = Path("docs/runbook.md").read_text()
    sections = re.findall(r"^## (\w+)$", runbook, re.M)
    for name, expression in rules:
        check_expression(name, expression, metrics)
        if not re.search(rf"alertname: {name}\n.*\n\s+exp_alerts: \[\{{", tests):
            fault(f"deploy/prometheus/alerts_test.yml: no test makes {name} fire")
        if sections.count(name) != 1:
            fault(f"docs/runbook.md: {name} has no section of its own")
        if f"runbook: docs/runbook.md#{name.lower()}\n" not in text:
            fault(f"deploy/prometheus/alerts.yml: {name} does not name its section of the runbook")
    for section in set(sections) - {name for name, _ in rules}:
        if section.startswith("Fantail"):
            fault(f"docs/runbook.md: there is no alert {section}")
    for name in re.findall(r"`((?:fantail|process)_\w+)", runbook + "".join(Path(f"docs/{page}.md").read_text() for page in ["deployment", "kubernetes"])):
        if name not in metrics:
            fault(f"docs: docs/metrics.md has no metric {name}")


def check_dashboard(metrics):
    expressions = [(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]
    ids = [panel["id"] for panel in json.loads(DASHBOARD.read_text())["panels"]]
    if len(set(ids)) != len(ids):
        fault("dashboard: two panels have one id")
    rules = []
    for title, expression in expressions:
        check_expression(f"dashboard, {title}", expression, metrics)
        rules.append({"record": "x", "expr": expression.replace("$__rate_interval", "5m")})
    for variable in variables():
        check_expression("dashboard, variables", variable["definition"], metrics)
    # promtool reads expressions in a file of rules only. JSON is YAML.
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        for number, rule in enumerate(rules):
            rule["record"] = f"panel{number}"
        json.dump({"groups": [{"name": "dashboard", "rules": rules}]}, file)
        file.flush()
        run = subprocess.run(["promtool", "check", "rules", file.name], capture_output=True, text=True)
        if run.returncode != 0:
            fault(f"dashboard: {run.stdout}{run.stderr}")
    return len(expressions)


def seconds(setting):
    page = Path("docs/configuration.md").read_text()
    default = re.search(rf"### `{setting}`.*?Default `(\d+)s`", page, re.S)
    return int(default.group(1))


def check_stop_timeout():
    unit = Path("deploy/systemd/fantail.service").read_text()
    patience = int(re.search(r"^TimeoutStopSec=(\d+)s$", unit, re.M).group(1))
    drain = seconds("drain_delay") + seconds("drain_deadline")
    if patience <= drain:
        fault(f"deploy/systemd/fantail.service: TimeoutStopSec={patience}s cuts the drain of {drain}s off")


def check_sysctls():
    tuning = Path("docs/tuning.md").read_text()
    for key in re.findall(r"^[-#]?(net\.[\w.]+) = ", Path("deploy/systemd/fantail.sysctl").read_text(), re.M):
        if key not in tuning and key.rsplit(".", 1)[-1] not in tuning:
            fault(f"deploy/systemd/fantail.sysctl: docs/tuning.md does not explain {key}")


metrics = documented()
check_alerts(metrics)
expressions = check_dashboard(metrics)
check_stop_timeout()
check_sysctls()
if faults:
    sys.exit("\n".join(faults))
print(f"{len(metrics)} metrics are documented; {len(alert_rules())} alerts and {expressions} queries of the dashboard fit")
