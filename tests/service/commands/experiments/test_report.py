"""``sml experiment report`` from a real log: guard rails first, then the arms, then what each does beside the control."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from experiments.report import Report
from model.encoding.keys import key_of
from model.settings import Field
from service.cli import app
from service.kept_reports import kept
from stream.arms import Traffic
from stream.log.connect import connect
from stream.log.contract import Message
from stream.log.topics import Topics, create
from stream.records.events import Example, Served, encode
from tests.service.fakes import Site
from tests.service.schemas import fits

TOPICS, USER = Topics("sml"), Field(name="user_id")
BEGINS, MINUTE = 1_700_000_000_000, 60_000
SETTINGS = """
[log]
url = "sqlite:///{folder}/log.db"
[experiment]
name = "exp"
unit = "user_id"
[arms.control]
share = 0.5
[arms.treatment]
share = 0.5
[[field]]
name = "user_id"
"""


def impressions(count: int, lift: float, *, arms: tuple[str, ...] = ("control", "treatment")) -> Iterator[Example]:
    """Make up impressions of 600 users; the treatment's are clicked more often by ``lift``. Only those of ``arms`` are yielded."""
    split, random = Traffic.of("exp", {"control": 0.5, "treatment": 0.5}), np.random.default_rng(3)
    for n in range(count):
        user = f"u{random.integers(600)}"
        unit = key_of(USER, user).to_bytes(8, "big")
        arm = "treatment" if split.point(unit) >= 500_000_000 else "control"
        chance = 0.1 + 0.2 * random.random()
        clicked = random.random() < chance * (1 + lift * (arm == "treatment"))
        served = Served(1, chance, arm, "exp", 0.5, unit.hex())
        if arm in arms:
            yield Example(f"i{n}", BEGINS + n * MINUTE, {"user_id": user}, int(clicked), value=2.0 if clicked else None, served=served)  # type: ignore[arg-type]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "sml.toml").write_text(SETTINGS.format(folder=tmp_path))
    with connect(f"sqlite:///{tmp_path}/log.db") as log:
        create(log, TOPICS, 1, arms=("control", "treatment"))
    return tmp_path


def write(site: Path, examples: Iterator[Example]) -> None:
    with connect(f"sqlite:///{site}/log.db") as log:
        log.append([Message(TOPICS.examples, None, encode(each), partition=0) for each in examples])


def run(site: Path, *words: str, name: str = "exp", status: int = 0) -> str:
    options = ["--config", str(site / "sml.toml"), "--sums", str(site / "sums")]
    result = CliRunner().invoke(app, ["experiment", "report", name, *options, *words])
    assert result.exit_code == status, result.output
    return result.output


def report(site: Path, *words: str) -> Any:
    return fits("experiment report", json.loads(run(site, "--json", *words).splitlines()[-1]))


def test_a_lift_is_found_and_each_number_is_that_of_the_impressions(site: Path) -> None:
    write(site, impressions(6_000, 0.6))

    found = msgspec.convert(report(site), Report)

    control, treatment = found.arms
    assert (control.arm, treatment.arm) == ("control", "treatment")
    assert control.impressions + treatment.impressions == 6_000
    assert treatment.value == 2 * treatment.clicks
    assert treatment.click_rate == treatment.clicks / treatment.impressions
    assert found.fine
    by_measure = {uplift.measure: uplift for uplift in found.uplifts}
    assert set(by_measure) == {"click_rate", "value_per_impression", "log_loss", "calibration", "auc"}
    assert by_measure["click_rate"].verdict == by_measure["value_per_impression"].verdict == "better"
    assert by_measure["calibration"].verdict == "different"
    assert by_measure["click_rate"].relative
    assert by_measure["click_rate"].relative.holds(0.6)


def test_servers_show_the_newest_report_of_each_experiment_and_pass_over_what_is_none(site: Path) -> None:
    server = Site(reports=site / "sums")
    with server.client() as client:
        assert client.get("/v1/experiments").json() == {"experiments": []}
        write(site, impressions(600, 0.6))
        run(site)
        write(site, impressions(600, 0.6))
        newest = report(site)
        (site / "sums" / "other.json").write_text('{"reported_at": 1')
        (site / "sums" / "large.json").write_bytes(b'{"reported_at": 1, "report": "' + b"x" * 300_000 + b'"}')

        (shown,) = client.get("/v1/experiments").json()["experiments"]
        metrics = client.get("/metrics").text

    assert shown["report"] == newest
    assert abs(shown["reported_at"] / 1000 - time.time()) < 60
    middle, low, high = next(each["relative"] for each in newest["uplifts"] if each["measure"] == "click_rate")
    for bound, value in (("low", low), ("estimate", middle), ("high", high)):
        labels = f'arm="treatment",bound="{bound}",experiment="exp",measure="click_rate"'
        assert f"sml_experiment_uplift_ratio{{{labels}}} {value}" in metrics
    control = newest["arms"][0]
    assert f'sml_experiment_clicks{{arm="control",experiment="exp"}} {control["clicks"]}' in metrics
    assert f'sml_experiment_arm_measure{{arm="control",experiment="exp",measure="click_rate"}} {control["click_rate"]}' in metrics
    assert 'sml_experiment_guard_rail_fails{experiment="exp",rail="shares"} 0.0' in metrics


def test_an_experiment_whose_clicks_say_no_value_is_shown_like_any_other(site: Path) -> None:
    write(site, (msgspec.structs.replace(each, value=None) for each in impressions(6_000, 0.6)))

    printed = run(site, "--json").splitlines()[-1]
    text = run(site)

    found = json.loads(printed, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert {each["measure"]: each["detectable"] for each in found["uplifts"]}["value_per_impression"] is None
    assert "inf" not in text
    with Site(reports=site / "sums").client() as client:
        (shown,) = client.get("/v1/experiments").json()["experiments"]
        metrics = client.get("/metrics").text
    assert shown["report"] == found
    assert 'sml_experiment_clicks{arm="control",experiment="exp"}' in metrics


def test_reports_follow_each_other_until_they_are_interrupted(site: Path) -> None:
    seen: set[int] = set()

    def interrupt_after_two() -> None:
        while len(seen) < 2:
            seen.update(each.reported_at for each in kept(site / "sums"))
            time.sleep(0.02)
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=interrupt_after_two, daemon=True).start()

    assert run(site, "--watch", "1").count("experiment exp") >= 2


def test_a_treatment_that_is_worse_is_said_to_be(site: Path) -> None:
    write(site, impressions(5_000, -0.7))

    assert {u["measure"]: u["verdict"] for u in report(site)["uplifts"]}["click_rate"] == "worse"


def test_the_next_report_reads_only_what_is_new_and_says_the_same_as_one_that_reads_all(site: Path) -> None:
    everything = list(impressions(6_000, 0.1))
    write(site, iter(everything[:4_000]))
    run(site)
    write(site, iter(everything[4_000:]))

    second = report(site)

    (site / "sums" / "exp.db").unlink()
    assert second == report(site)


def test_units_that_get_lost_on_one_side_fail_the_guard_rail_of_shares(site: Path) -> None:
    kept = (each for each in impressions(5_000, 0.4) if each.served and (each.served.arm == "control" or str(each.served.unit)[-1] > "9"))
    write(site, kept)

    text = run(site)

    assert "FAILS  shares" in text
    assert text.index("FAILS  shares") < text.index("A GUARD RAIL FAILS: don't believe them.") < text.index("verdict")


def test_too_little_gives_no_uplift(site: Path) -> None:
    write(site, impressions(50, 0.4))

    text = run(site)

    assert "FAILS  enough" in text
    assert "No uplift is shown before an arm and control have units and clicks enough." in text


def test_forced_impressions_are_left_out_and_said_to_be(site: Path) -> None:
    forced = [
        msgspec.structs.replace(each, served=msgspec.structs.replace(each.served, forced=True))
        for each in impressions(40, 0.4)
        if each.served
    ]
    write(site, iter([*impressions(3_000, 0.0), *forced]))

    assert report(site)["left_out"] == {"forced": 40}
    assert "left out: 40 impressions, because somebody chose the arm by hand" in run(site)


def test_the_picture_is_xml_without_a_script_and_shows_every_uplift(site: Path) -> None:
    write(site, impressions(4_000, 0.4))

    run(site, "--picture", str(site / "exp.svg"))

    root = ET.fromstring((site / "exp.svg").read_text())
    assert {element.tag.rpartition("}")[2] for element in root.iter()} == {"svg", "rect", "text", "path", "circle"}
    assert sum(element.tag.endswith("circle") for element in root.iter()) == 5


def test_the_json_is_of_the_schema_that_the_command_prints() -> None:
    result = CliRunner().invoke(app, ["experiment", "schema"])

    schema = json.loads(result.output)
    assert {"guard_rails", "arms", "uplifts"} <= set(schema["$defs"]["Report"]["required"])


def test_a_name_that_is_none_of_an_experiment_is_refused_and_makes_no_file(site: Path) -> None:
    assert "got '../exp', expected one that has split the traffic: exp" in run(site, name="../exp", status=1)
    assert not (site / "sums").exists()


def test_without_arms_there_is_nothing_to_report(tmp_path: Path) -> None:
    (tmp_path / "sml.toml").write_text('[[field]]\nname = "user_id"\n')

    assert "arms: got none" in run(tmp_path, status=2)
