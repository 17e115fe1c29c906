"""The expressions of the alert rules and of the dashboard, and the metrics that docs/metrics.md names."""

import json
import re
from pathlib import Path

ALERTS = Path("deploy/prometheus/alerts.yml")
DASHBOARD = Path("deploy/grafana/fantail.json")
# Prometheus makes these itself.
OF_PROMETHEUS = {"up"}


def documented():
    """Metrics of docs/metrics.md, each with its labels."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) \|", Path("docs/metrics.md").read_text(), re.M)
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, _, labels in rows}


def alert_rules():
    """Alerts with their expressions; the file is our own, so its form is known."""
    text = ALERTS.read_text()
    rules = re.findall(r"- alert: (\w+)\n\s+expr: (?:>-\n)?(.*?)\n\s+(?:for|labels):", text, re.S)
    assert len(rules) == text.count("- alert:"), f"{ALERTS}: a rule is not alert, expr, then for or labels"
    return rules


def panels():
    """The panels of the dashboard that show something, each with its queries."""
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def variables():
    return [variable for variable in json.loads(DASHBOARD.read_text())["templating"]["list"] if variable["type"] == "query"]


def selectors(expression):
    """The metrics that an expression asks for, each with the labels that it wants, as they stand there."""
    return re.findall(r"\b((?:fantail|process)_\w+|up)\b(\{.*?\})?", expression)
