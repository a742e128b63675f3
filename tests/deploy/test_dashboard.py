"""Every query of the dashboard and of the alerts returns data from a real Prometheus that watches the running system."""

import json
import math
import re
import subprocess
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from tests.deploy.composition import ROOT, Composition
from tests.system import need

DASHBOARD = json.loads((ROOT / "deploy/grafana/dashboards/sml.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]
ALERTS = (ROOT / "deploy/prometheus/alerts.yml").read_text()
RULES = [rule for group in yaml.safe_load(ALERTS)["groups"] for rule in group["rules"]]


def ask(prometheus: Composition, path: str, **parameters: str) -> Any:
    answer = json.loads(prometheus.get(f"prometheus:9090/api/v1/{path}?{urlencode(parameters)}"))
    assert answer["status"] == "success"
    return answer["data"]


def values(prometheus: Composition, query: str) -> list[float]:
    """Ask for a query's value now, with the window that Grafana would choose at a scrape each second."""
    result = ask(prometheus, "query", query=query.replace("$__rate_interval", "10s"))["result"]
    return [float(series["value"][1]) for series in result]


@pytest.mark.parametrize("job", ["joiner", "learner", "server"])
def test_every_process_is_scraped(prometheus: Composition, job: str) -> None:
    prometheus.until(lambda: values(prometheus, f'up{{job="{job}"}}') == [1], f"{job} is up")


@pytest.mark.parametrize(("title", "query"), QUERIES)
def test_every_query_of_the_dashboard_returns_data(prometheus: Composition, title: str, query: str) -> None:
    def has_data() -> bool:
        found = values(prometheus, query)
        return bool(found) and not all(math.isnan(value) for value in found)

    prometheus.until(has_data, f"{title} has data: {query}")


def test_every_alert_is_evaluated(prometheus: Composition) -> None:
    def rules() -> list[dict[str, Any]]:
        return [rule for group in ask(prometheus, "rules")["groups"] for rule in group["rules"]]

    prometheus.until(lambda: all(rule["health"] != "unknown" for rule in rules()), "every rule was evaluated")

    assert [(rule["name"], rule.get("lastError")) for rule in rules() if rule["health"] != "ok"] == []
    assert len(rules()) == len(RULES)


def test_every_metric_of_dashboard_and_alerts_is_one_that_a_process_tells(prometheus: Composition) -> None:
    named = set(re.findall(r"\bsml_[a-z]\w+", ALERTS + json.dumps(QUERIES)))

    assert named - set(ask(prometheus, "label/__name__/values")) == set()


def test_the_broken_records_fire_their_alert_and_no_other_is_firing(prometheus: Composition) -> None:
    prometheus.until(lambda: bool(values(prometheus, 'ALERTS{alertname="DeadLetters"}')), "the alert fires")

    firing = {series["metric"]["alertname"] for series in ask(prometheus, "query", query='ALERTS{alertstate="firing"}')["result"]}
    assert firing == {"DeadLetters"}


@pytest.mark.parametrize("rules", ["alerts_test.yml", "freshness_test.yml"])
def test_alerts_fire_on_what_they_are_for_and_not_in_good_health(rules: str) -> None:
    promtool = need("promtool", "prometheus")

    checked = subprocess.run([promtool, "check", "config", "deploy/prometheus/prometheus.yml"], cwd=ROOT, capture_output=True, check=False)
    tested = subprocess.run([promtool, "test", "rules", f"tests/deploy/{rules}"], cwd=ROOT, capture_output=True, check=False)

    assert checked.returncode == 0, checked.stderr
    assert tested.returncode == 0, tested.stderr


def test_the_page_that_an_alert_names_says_what_it_means_how_to_look_and_what_to_do() -> None:
    named = {rule["alert"]: rule["annotations"].get("runbook") for rule in RULES if "alert" in rule}
    pages = {f"deploy/runbook/{page.name}" for page in (ROOT / "deploy/runbook").iterdir()}

    assert {page for page in named.values() if page} == pages
    for alert, page in named.items():
        if page:
            text = (ROOT / page).read_text()
            assert text.startswith(f"# {alert}\n")
            assert [part for part in ("**What it means.**", "**How to look.**", "**What to do") if part not in text] == []


def test_panels_have_a_description_and_do_not_overlap() -> None:
    grid = [panel["gridPos"] for panel in PANELS]
    places = [(at["x"] + x, at["y"] + y) for at in grid for x in range(at["w"]) for y in range(at["h"])]

    assert [panel["title"] for panel in PANELS if not panel["description"]] == []
    assert len(places) == len(set(places))
    assert all(target["datasource"]["uid"] == "prometheus" for panel in PANELS for target in panel["targets"])
