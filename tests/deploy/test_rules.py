"""Each alert and each recording rule is tried by promtool: it fires when it should, and is silent when it should be."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from deploy.watch.written import rules
from tests.deploy.composition import ROOT
from tests.helpers.system import need

TESTS = [yaml.safe_load(path.read_text()) for path in sorted(Path(__file__).parent.glob("*_test.yml"))]
EXPECTATIONS = [each for file in TESTS for test in file["tests"] for each in test["promql_expr_test"]]


@pytest.mark.parametrize("path", sorted(Path(__file__).parent.glob("*_test.yml")), ids=lambda path: path.stem)
def test_rules_fire_on_what_they_are_for_and_not_in_good_health(path: Path) -> None:
    promtool = need("promtool", "prometheus")

    checked = subprocess.run([promtool, "check", "config", "deploy/prometheus/prometheus.yml"], cwd=ROOT, capture_output=True, check=False)
    tested = subprocess.run([promtool, "test", "rules", str(path)], cwd=ROOT, capture_output=True, check=False)

    assert checked.returncode == 0, checked.stderr
    assert tested.returncode == 0, tested.stderr + tested.stdout


@pytest.mark.parametrize("name", [rule["alert"] for rule in rules() if "alert" in rule])
def test_an_alert_has_a_test_in_which_it_fires(name: str) -> None:
    assert [each for each in EXPECTATIONS if f'alertname="{name}"' in json.dumps(each["exp_samples"]).replace('\\"', '"')]


@pytest.mark.parametrize("name", [rule["record"] for rule in rules() if "record" in rule])
def test_a_recording_rule_has_a_test_of_its_value(name: str) -> None:
    assert [each for each in EXPECTATIONS if re.fullmatch(rf"{name}(\{{.*\}})?", each["expr"]) and each["exp_samples"]]


def test_alertmanager_has_a_receiver_that_is_told_nothing_and_one_to_fill_in() -> None:
    text = (ROOT / "deploy/prometheus/alertmanager.yml").read_text()
    config = yaml.safe_load(text)
    known = {rule["alert"] for rule in rules() if "alert" in rule}

    assert config["receivers"] == [{"name": config["route"]["receiver"]}]
    assert "webhook_configs:" in text
    inhibited = " ".join(matcher for rule in config["inhibit_rules"] for part in rule.values() for matcher in part)
    assert set(re.findall(r"[A-Z]\w+", inhibited)) <= known


@pytest.mark.parametrize(
    ("cause", "symptom"),
    [
        ("LogSlow", "FreshnessBurns"),
        ("ProcessDown", "FreshnessBurns"),
        ("VersionsHeld", "FreshnessBurns"),
        ("ClicksMissing", "ServedCalibrationOff"),
    ],
)
def test_a_symptom_is_not_told_beside_its_cause(cause: str, symptom: str) -> None:
    def matches(matchers: list[str], name: str) -> bool:
        return all(re.fullmatch(matcher.partition("=")[2].lstrip("~").strip('"'), name) for matcher in matchers)

    inhibits = yaml.safe_load((ROOT / "deploy/prometheus/alertmanager.yml").read_text())["inhibit_rules"]
    found = [(matches(rule["source_matchers"], cause), matches(rule["target_matchers"], symptom)) for rule in inhibits]

    assert (True, True) in found
    assert not any(matches(rule["source_matchers"], symptom) and matches(rule["target_matchers"], cause) for rule in inhibits)
