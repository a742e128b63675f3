"""All that is made from the code, by its path."""

from pathlib import Path
from typing import Any

import yaml

from deploy.watch.learning import INSIDE, QUALITY
from deploy.watch.metrics import page
from deploy.watch.overview import OVERVIEW
from deploy.watch.panels import runbook
from deploy.watch.pipeline import PIPELINE
from deploy.watch.serving import EMBEDDED, EXPERIMENTS, SERVING

ROOT = Path(__file__).parents[2]
DASHBOARDS = (OVERVIEW, QUALITY, INSIDE, PIPELINE, SERVING, EXPERIMENTS, EMBEDDED)


def pages() -> dict[str, str]:
    """Return the pages of the runbook, by alert."""
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "deploy/runbook").glob("*.md"))}


def rules() -> list[dict[str, Any]]:
    """Return Prometheus's rules."""
    groups = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def prometheus_rule() -> str:
    """Return the same rules as a resource for the Prometheus operator."""
    groups = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text(encoding="utf-8"))["groups"]
    resource = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "sml"},
        "spec": {"groups": groups},
    }
    return f"# Made from deploy/prometheus/alerts.yml by `make watch`.\n{yaml.safe_dump(resource, sort_keys=False, width=1000)}"


def shown() -> dict[str, str]:
    """Return every query that shows a metric to somebody, by where it stands: in a panel, an alert, or a rule that those use."""
    panels = {
        f"{board.title}: {panel.title}": " ; ".join(panel.queries.values())
        for board in DASHBOARDS
        for panels in board.rows.values()
        for panel in panels
    }
    return panels | {f"alert {rule['alert']}" if "alert" in rule else f"rule {rule['record']}": rule["expr"] for rule in rules()}


def written() -> dict[str, str]:
    """Return the content of each file, by its path in the repository."""
    numbers = {alert: number for number, alert in enumerate(pages(), 1)}
    files = {f"deploy/grafana/dashboards/{board.uid}.json": board.json(numbers) for board in DASHBOARDS}
    return {
        **files,
        "deploy/grafana/dashboards/sml-runbook.json": runbook(pages()),
        "deploy/metrics.md": page(shown()),
        "deploy/kubernetes/prometheus-rule.yaml": prometheus_rule(),
    }
