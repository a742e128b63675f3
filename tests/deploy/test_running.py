"""The composition at work: healthy on a real Kafka, and every query of its dashboards and alerts returns data from a real Prometheus."""

import json
import math
import re
from typing import Any
from urllib.parse import urlencode

import pytest

from deploy.watch import written
from deploy.watch.metrics import by_process
from deploy.watch.written import DASHBOARDS
from tests.deploy.composition import ROOT, Composition
from tests.deploy.conftest import SERVICES

UPLIFT = "sml_experiment_uplift_ratio"  # has no value before each arm has more units than come in a test
QUERIES = [
    (f"{board.title}: {panel.title}", query)
    for board in DASHBOARDS
    for panels in board.rows.values()
    for panel in panels
    for query in panel.queries.values()
    if query != UPLIFT
]
ALERTS = (ROOT / "deploy/prometheus/alerts.yml").read_text()


def ask(prometheus: Composition, path: str, **parameters: str) -> Any:
    answer = json.loads(prometheus.get(f"prometheus:9090/api/v1/{path}?{urlencode(parameters)}"))
    assert answer["status"] == "success"
    return answer["data"]


def values(prometheus: Composition, query: str) -> list[float]:
    """Ask for a query's value now, with the window that Grafana would choose at a scrape each second."""
    result = ask(prometheus, "query", query=query.replace("$__rate_interval", "10s"))["result"]
    return [float(series["value"][1]) for series in result]


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_is_healthy_on_a_real_kafka_by_its_own_check(composition: Composition, service: str) -> None:
    assert composition.healthy(service)


@pytest.mark.parametrize("service", ["joiner", "server"])
def test_a_service_without_a_volume_keeps_no_files(composition: Composition, service: str) -> None:
    assert [path.name for path in (composition.folder / service).iterdir()] == ["sml.toml"]


@pytest.mark.parametrize("job", SERVICES)
def test_every_process_is_scraped(prometheus: Composition, job: str) -> None:
    prometheus.until(lambda: values(prometheus, f'up{{job="{job}"}}') == [1], f"{job} is up")


@pytest.mark.parametrize(("title", "query"), QUERIES)
def test_every_query_of_the_dashboards_returns_data(prometheus: Composition, title: str, query: str) -> None:
    def has_data() -> bool:
        found = values(prometheus, query)
        return bool(found) and not all(math.isnan(value) for value in found)

    prometheus.until(has_data, f"{title} has data: {query}")


def test_every_alert_is_evaluated(prometheus: Composition) -> None:
    def rules() -> list[dict[str, Any]]:
        return [rule for group in ask(prometheus, "rules")["groups"] for rule in group["rules"]]

    prometheus.until(lambda: all(rule["health"] != "unknown" for rule in rules()), "every rule was evaluated")

    assert [(rule["name"], rule.get("lastError")) for rule in rules() if rule["health"] != "ok"] == []
    assert len(rules()) == len(written.rules())


def test_every_metric_of_dashboards_and_alerts_is_one_that_a_process_tells(prometheus: Composition) -> None:
    named = set(re.findall(r"\bsml_[a-z]\w+", ALERTS + json.dumps(QUERIES)))

    assert named - set(ask(prometheus, "label/__name__/values")) == set()


def test_every_metric_that_a_process_tells_is_described(prometheus: Composition) -> None:
    told = {
        re.sub(r"_(bucket|sum|count|created)$", "", name) for name in ask(prometheus, "label/__name__/values") if name.startswith("sml_")
    }
    described = {metric.name for metrics in by_process().values() for metric in metrics}

    assert {name for name in told if name not in described and f"{name}_total" not in described} == set()


def test_the_broken_records_fire_their_alert_and_no_other_is_firing(prometheus: Composition) -> None:
    prometheus.until(lambda: bool(values(prometheus, 'ALERTS{alertname="DeadLetters"}')), "the alert fires")

    firing = {series["metric"]["alertname"] for series in ask(prometheus, "query", query='ALERTS{alertstate="firing"}')["result"]}
    assert "DeadLetters" in firing
    assert firing <= {"DeadLetters", "LateEventsRising"}  # where the machine has much else to do, the simulated clicks come late
