"""What is made from the code is as it stands in the repository; nothing that is measured is undocumented, unseen or without bound."""

import ast
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard as Schema
from hypothesis import given, settings, strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from deploy.watch import metrics
from deploy.watch.metrics import LABELS, Metric, by_process, used
from deploy.watch.written import DASHBOARDS, pages, rules, shown, written
from stream.join.metrics import JoinerMetrics
from stream.learn.metrics import LearnerMetrics
from stream.records.events import BadRecordError, Click, Impression, decode_click, decode_example, decode_impression
from tests.deploy.composition import ROOT
from tests.helpers.system import need

WRITTEN = written()
METRICS = [metric for metrics in by_process().values() for metric in metrics]
FILES = {path.stem: json.loads(path.read_text()) for path in (ROOT / "deploy/grafana/dashboards").glob("*.json")}
PANELS = {uid: [panel for panel in board["panels"] if panel["type"] != "row"] for uid, board in FILES.items()}
ALERTS = [rule for rule in rules() if "alert" in rule]


@pytest.mark.parametrize("path", sorted(WRITTEN))
def test_what_is_made_from_the_code_is_up_to_date(path: str) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == WRITTEN[path], "`make watch` writes it"


def test_no_dashboard_is_left_over() -> None:
    assert {f"deploy/grafana/dashboards/{uid}.json" for uid in FILES} == {path for path in WRITTEN if path.endswith(".json")}


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_is_shown_somewhere_described_and_bounded_by_its_labels(metric: Metric) -> None:
    assert used(metric.name, shown()) != [], "no panel, alert or rule asks for it"
    assert metric.text.endswith(".")
    assert set(metric.labels) <= LABELS.keys(), "say in deploy/watch/metrics.py why its values are few"


def test_every_label_that_is_described_is_one() -> None:
    assert LABELS.keys() == {label for metric in METRICS for label in metric.labels}


def test_whatever_registers_a_metric_is_on_the_page() -> None:
    makes = {"Counter", "Gauge", "Histogram", "Summary", "Info", "Enum"}
    registering = set()
    for path in (path for package in ("model", "stream", "service") for path in (ROOT / package).rglob("*.py")):
        imports = [node for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.ImportFrom)]
        if any(node.module == "prometheus_client" and makes & {name.name for name in node.names} for node in imports):
            registering.add(".".join(path.relative_to(ROOT).with_suffix("").parts))

    known = {getattr(value, "__module__", None) for value in vars(metrics).values()}
    assert registering - known - {"stream.learn.quality_metrics"} == set()  # which the learner's metrics are made of


def test_names_follow_prometheus_conventions() -> None:
    promtool, registry = need("promtool", "prometheus"), CollectorRegistry()
    LearnerMetrics(registry)
    JoinerMetrics(registry)

    checked = subprocess.run([promtool, "check", "metrics"], input=generate_latest(registry), capture_output=True, check=False)
    suffixes = {"_seconds", "_bytes", "_ratio", "_total"}

    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")
    assert [metric.name for metric in METRICS if not metric.name.startswith("sml_")] == []
    assert [metric.name for metric in METRICS if metric.kind == "counter" and not metric.name.endswith("_total")] == []
    assert [metric.name for metric in METRICS if re.search(r"_(ms|millis|kb|mb|percent)\b", metric.name)] == []
    assert suffixes <= {f"_{metric.name.rpartition('_')[2]}" for metric in METRICS}


NAMES = {"record", "watermark", "forget", "until", "by"} | {
    *Impression.__struct_fields__,
    *Click.__struct_fields__,
    "label",
    "weight",
    "clicked_at",
}
VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=5), lambda each: st.lists(each, max_size=2) | st.dictionaries(st.text(), each)
)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(NAMES)) | st.text(), VALUES, max_size=6).map(json.dumps) | st.text())
def test_no_record_can_make_up_a_reason(text: str) -> None:
    reasons = set()
    for decode in (decode_impression, decode_click, decode_example):
        try:
            decode(text.encode("utf-8", "surrogatepass"))
        except BadRecordError as error:
            reasons.add(error.reason)

    assert reasons <= NAMES | {"policy", "late"}


@pytest.mark.parametrize("uid", FILES)
def test_a_dashboard_is_one_by_grafanas_own_schema(uid: str) -> None:
    """Grafana's SDK, generated from its schema, reads all of it: a key that it does not know would be lost, a wrong value refused."""
    read: Any = Schema.from_json(FILES[uid])

    assert json.loads(json.dumps(read, cls=JSONEncoder)) == FILES[uid]


@pytest.mark.parametrize("uid", FILES)
def test_panels_have_a_sentence_a_unit_and_room(uid: str) -> None:
    grid = [panel["gridPos"] for panel in PANELS[uid]]
    taken = [(at["x"] + x, at["y"] + y) for at in grid for x in range(at["w"]) for y in range(at["h"])]

    assert len(taken) == len(set(taken))
    assert max(at["x"] + at["w"] for at in grid) <= 24
    for panel in PANELS[uid]:
        assert panel["description"].endswith((".", "?")), panel["title"]
        assert panel["type"] == "text" or panel["fieldConfig"]["defaults"]["unit"]
        assert all(target["datasource"]["uid"] == "prometheus" for target in panel.get("targets", []))


def test_no_two_panels_of_a_dashboard_have_one_title() -> None:
    for board in DASHBOARDS:
        assert len(board.ids()) == sum(map(len, board.rows.values())), board.title


def names(query: str) -> set[str]:
    """Return the metrics that a query asks for."""
    plain = query.replace("sml_(joiner|learner)_dead_letters_total", "sml_joiner_dead_letters_total sml_learner_dead_letters_total")
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\b(?:sml[_:][\w:]+|up)\b", plain)}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_leads_to_the_panel_that_shows_it_and_that_to_its_page(rule: dict[str, Any]) -> None:
    found = re.fullmatch(r"http://localhost:3000/d/([\w-]+)\?viewPanel=(\d+)", rule["annotations"]["panel"])
    assert found
    panel = next(panel for panel in PANELS[found[1]] if panel["id"] == int(found[2]))
    link = next(link for link in panel["links"] if link["title"] == f"Runbook: {rule['alert']}")
    page = next(page for page in PANELS["sml-runbook"] if link["url"] == f"/d/sml-runbook?viewPanel={page['id']}")

    assert names(rule["expr"]) & names(" ".join(target["expr"] for target in panel["targets"]))
    assert page["title"] == rule["alert"]
    assert page["options"]["content"] == (ROOT / rule["annotations"]["runbook"]).read_text(encoding="utf-8")


PANEL_TESTS: list[tuple[tuple[str, str, str], dict[str, str], dict[str, float]]] = [
    # panel, legend, what its metrics say each ten seconds, the answer after ten minutes
    (
        ("Pipeline and freshness", "Lag in records", "written in 5 minutes and not in service"),
        {'sml_joiner_examples_total{label="0"}': "0+10x60", "sml_server_weights_examples": "0+10x30 300x30"},
        {"{}": 300},
    ),
    (
        ("Pipeline and freshness", "Late by input and source", "{{input}}, {{source}}"),
        {'sml_joiner_late_events_total{input="clicks"}': "2x60", 'sml_joiner_late_events_total{input="clicks", source="web"}': "3x60"},
        {'{input="clicks", source="unnamed"}': 2, '{input="clicks", source="web"}': 3},
    ),
    (
        ("Overview", "Clicks per impression", "clicked"),
        {'sml_joiner_clicks_total{fate="counted"}': "0+2x60", 'sml_joiner_impressions_total{fate="decided"}': "0+10x60"},
        {"{}": 0.2},
    ),
    (
        ("Overview", "Which alerts fire", "{{alertname}}, {{alertstate}}"),
        {'ALERTS{alertname="TableFull", alertstate="firing", instance="l:1"}': "1x60"},
        {'{alertname="TableFull", alertstate="firing"}': 1},
    ),
]


def test_panels_answer_what_their_sentences_say(tmp_path: Path) -> None:
    panels = {(board.title, panel.title): panel.queries for board in DASHBOARDS for row in board.rows.values() for panel in row}
    tests = [
        {
            "interval": "10s",
            "input_series": [{"series": series, "values": values} for series, values in given.items()],
            "promql_expr_test": [
                {
                    "expr": panels[board, title][legend].replace("$__rate_interval", "1m"),
                    "eval_time": "10m",
                    "exp_samples": [{"labels": labels, "value": value} for labels, value in expected.items()],
                }
            ],
        }
        for (board, title, legend), given, expected in PANEL_TESTS
    ]
    (tmp_path / "panels.yml").write_text(json.dumps({"rule_files": [], "tests": tests}))

    tested = subprocess.run(
        [need("promtool", "prometheus"), "test", "rules", str(tmp_path / "panels.yml")], capture_output=True, check=False
    )

    assert tested.returncode == 0, tested.stderr + tested.stdout


def test_every_page_is_of_an_alert_and_says_what_it_means_how_to_look_and_what_to_do() -> None:
    assert pages().keys() == {rule["alert"] for rule in ALERTS}
    for alert, text in pages().items():
        assert text.startswith(f"# {alert}\n")
        assert [part for part in ("**What it means.**", "**How to look.**", "**What to do") if part not in text] == []
