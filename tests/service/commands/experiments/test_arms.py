"""``sml arms``: each change is one decision in the log, with who made it, and nothing is decided that can't be done."""

import json
import logging
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from service.cli import app
from service.commands import forget
from service.commands.experiments import arms
from service.commands.learn import learn
from service.commands.topics import create
from service.settings import Settings, load
from stream.learn.restore.rollback import rebuild
from stream.learn.saving.checkpoint import Checkpoints
from stream.log.connect import connect
from stream.log.contract import Message
from stream.records.events import encode
from stream.records.version import Run, Version
from stream.weights.versions import newest_version
from tests.service.schemas import fits
from tests.stream.learning import examples

SETTINGS = """
[log]
url = "sqlite:///{folder}/log.db"
prefix = "learning"
[learn]
directory = "{folder}/checkpoints"
metrics_port = 0
[model]
hidden = [8, 4]
embedding = 4
[table]
capacity = 256
[experiment]
unit = "user"
[arms.control]
[arms.treatment]
model = {{ skip = "none" }}
[arms.shadow]
[[field]]
name = "user"
[[field]]
name = "item"
[[field]]
name = "price"
kind = "numeric"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return the settings of three arms, whose topics exist and hold examples."""
    path = tmp_path / "sml.toml"
    path.write_text(SETTINGS.format(folder=tmp_path))
    create(load(path))
    with connect(load(path).log.url) as log:
        log.append(examples(20))
    return path


@pytest.fixture
def settings(config: Path) -> Settings:
    """Return them, read."""
    return load(config)


def sml(config: Path, *words: str) -> Result:
    """Run `sml arms`."""
    return CliRunner().invoke(app, ["arms", *words, "--config", str(config)])


def listed(config: Path, *options: str) -> list[dict[str, Any]]:
    """Return what `sml arms list` says."""
    found: list[dict[str, Any]] = fits("arms list", json.loads(sml(config, "list", "--json", *options).stdout.splitlines()[-1]))
    return found


def test_an_arm_is_started_ramped_promoted_and_the_former_retired_and_it_is_written_down_who_did_it(
    config: Path, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "audit")
    learn(settings.of_arm("treatment"), until_caught_up=True)

    shares = [fits("arms start", arms.start(settings, "treatment", share, "skip-terms"))["shares"] for share in (0.01, 0.5)]
    promoted = fits("arms promote", arms.promote(settings, "treatment"))
    fits("arms retire", arms.retire(settings, "control"))

    assert shares == [{"control": 0.99, "treatment": 0.01}, {"control": 0.5, "treatment": 0.5}]
    assert promoted == {"experiment": "skip-terms", "control": "treatment", "shares": {"treatment": 1.0}}
    assert [(each["arm"], each["role"], each["share"], each["examples"]) for each in listed(config)] == [
        ("control", "retired", 0, 0), ("treatment", "control", 1, 20), ("shadow", "shadow", 0, 0),
    ]  # fmt: skip
    assert 0.3 < listed(config)[1]["log_loss"] < 1
    made = listed(config, "--decisions")
    assert [each["action"] for each in made] == ["start treatment 0.01", "start treatment 0.5", "promote treatment", "retire control"]
    assert all(each["by"].startswith("cli:") and abs(each["time"] / 1000 - time.time()) < 60 for each in made)
    assert len([record for record in caplog.records if record.name == "audit"]) == 4


def test_an_arm_that_is_stopped_gives_its_units_back_and_stays_as_a_shadow(settings: Settings) -> None:
    arms.start(settings, "treatment", 0.3, None)
    arms.start(settings, "shadow", 0.2, None)

    stopped = fits("arms stop", arms.stop(settings, "treatment"))

    assert stopped["shares"] == {"control": 0.8, "shadow": 0.2}


def test_another_experiment_begins_with_control_alone_and_the_arm_that_is_started(settings: Settings) -> None:
    arms.start(settings, "treatment", 0.3, "one")

    assert arms.start(settings, "shadow", 0.2, "two") == {
        "experiment": "two", "control": "control", "shares": {"control": 0.8, "shadow": 0.2},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "complaint", "status"),
    [
        (["start", "traetment", "--share", "0.1"], "arms: got 'traetment', expected control or treatment or shadow", 2),
        (["start", "control", "--share", "0.1"], "control is in control, expected another arm", 1),
        (["start", "treatment", "--share", "1.5"], "less than or equal to 1", 2),
        (["start", "treatment", "--share", "0.9"], "share: got 0.9, expected at most 0.7, which treatment and control have together", 1),
        (["start", "treatment", "--share", "0.1", "--experiment", "A b"], "experiment: got 'A b', expected a name of up to 40", 1),
        (["promote", "treatment"], "treatment has no weights yet: run `sml learn --arm treatment` first", 1),
        (["retire", "control"], "control answers 0.7 of the units: stop it, or promote another, first", 1),
        (["stop", "control"], "control is in control", 1),
    ],
)
def test_what_can_not_be_decided_is_refused_and_nothing_is_written(
    config: Path, settings: Settings, words: list[str], complaint: str, status: int
) -> None:
    arms.start(settings, "shadow", 0.3, None)

    done = sml(config, *words)

    assert (done.exit_code, complaint in done.output) == (status, True), done.output
    assert len(listed(config, "--decisions")) == 1


def learned(settings: Settings, log_losses: dict[str, float | None], reach: int = 20) -> None:
    """Write versions as if arms had learned the examples up to ``reach`` of the log's 20, or all, with these log losses."""
    with connect(settings.log.url) as log:
        for arm, log_loss in log_losses.items():
            topics = settings.of_arm(arm).topics
            read = reach if arm == "treatment" else 20
            for number, (first, end) in enumerate(((0, 1), (1, read))):
                runs = [Run(0, first, end - 1)]
                version = Version(number, "", end, 1, {0: end}, runs, [], "", "", 1000 * number, log_loss=log_loss)
                log.append([Message(topics.versions, None, encode(version), partition=0)])


def test_an_arm_is_promoted_once_its_recent_log_loss_is_no_worse_on_the_same_examples(config: Path, settings: Settings) -> None:
    learned(settings, {"control": 0.4, "treatment": 0.5})

    refused = sml(config, "promote", "treatment")
    worse = listed(config)[1]
    learned(settings, {"treatment": 0.4})
    promoted = sml(config, "promote", "treatment")

    assert refused.exit_code == 1
    assert "the recent log loss of treatment is 0.50000, that of control on the same examples 0.40000; --anyway promotes" in refused.output
    assert (worse["log_loss"], worse["log_loss_of_control"]) == (0.5, 0.4)
    assert promoted.exit_code == 0
    assert [each["role"] for each in listed(config)] == ["shadow", "control", "shadow"]


def test_an_arm_that_is_still_behind_is_not_compared_and_promoted_only_anyway_and_its_speed_is_shown(
    config: Path, settings: Settings
) -> None:
    learned(settings, {"control": 0.4, "treatment": 0.1}, reach=10)

    refused = sml(config, "promote", "treatment")
    behind = listed(config)[1]

    assert "it can't be said yet whether treatment predicts as well as control: 10 examples are still to be learned" in refused.output
    assert (behind["lag"], behind["examples_per_second"], behind["log_loss_of_control"]) == (10, 9, None)
    assert arms.promote(settings, "treatment", anyway=True)["control"] == "treatment"


def test_arms_that_have_read_all_but_scored_nothing_yet_are_told_so(config: Path, settings: Settings) -> None:
    learned(settings, {"control": None, "treatment": 0.4})

    refused = sml(config, "promote", "treatment")

    assert "predicts as well as control: they have not yet predicted the same examples; --anyway promotes" in refused.output


def test_where_the_arm_in_control_is_in_the_settings_no_more_another_is_promoted(config: Path, settings: Settings) -> None:
    learned(settings, {"shadow": 0.1, "treatment": 0.5})
    arms.promote(settings, "shadow")
    config.write_text(config.read_text().replace("[arms.shadow]\n", ""))

    assert arms.promote(load(config), "treatment")["control"] == "treatment"


def test_arms_that_do_not_learn_from_the_same_examples_are_not_compared(config: Path, settings: Settings) -> None:
    config.write_text(config.read_text().replace('model = { skip = "none" }', 'learn_from = "own"'))
    learned(settings, {"control": 0.4, "treatment": 0.1})

    refused = sml(config, "promote", "treatment")

    assert "treatment and control do not learn from the same examples" in refused.output
    assert listed(config)[1]["log_loss_of_control"] is None


def test_an_arm_begins_with_the_weights_of_the_one_that_its_settings_name(config: Path) -> None:
    config.write_text(config.read_text().replace('model = { skip = "none" }', 'begin_from = "control"'))
    settings = load(config)
    learn(settings, until_caught_up=True)

    begun = learn(settings.of_arm("treatment"), until_caught_up=True)

    assert (begun["examples"], begun["version"]) == (20, 0)
    assert begun["digest"] == listed(config)[0]["digest"]
    assert listed(config)[1]["log_loss_of_control"] is None  # it has predicted nothing yet


def test_several_arms_learn_in_one_process_each_as_it_does_alone(config: Path, settings: Settings, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["learn", "--arms", "control,treatment", "--until-caught-up", "--json", "--config", str(config)], catch_exceptions=False
    )

    assert done.exit_code == 0, done.output
    control, treatment = fits("learn", json.loads(done.stdout.splitlines()[-1]))
    assert (control["arm"], control["examples"], treatment["arm"], treatment["examples"]) == ("control", 20, "treatment", 20)
    assert [each["digest"] for each in listed(config)] == [control["digest"], treatment["digest"], None]
    for name, digest in (("control", control["digest"]), ("treatment", treatment["digest"])):
        arm = settings.of_arm(name)
        with connect(settings.log.url) as log:
            newest = newest_version(log, arm.topics)
            assert newest is not None
            rebuilt = rebuild(log, arm.topics, arm.spec, Checkpoints(tmp_path / "none", 1), newest.version.version)
        assert rebuilt.version.digest == digest


def test_where_one_of_several_arms_can_not_go_on_all_end_in_order_and_it_is_said_why(config: Path, settings: Settings) -> None:
    learn(settings.of_arm("treatment"), until_caught_up=True)
    config.write_text(config.read_text().replace('model = { skip = "none" }', 'model = { hidden = [9], skip = "none" }'))

    done = CliRunner().invoke(app, ["learn", "--arms", "control,treatment", "--config", str(config)])

    assert done.exit_code == 1
    assert "model.hidden: got (9,), expected (8, 4)" in done.stderr
    assert listed(config)[0]["digest"] is not None


@pytest.mark.parametrize("wrong", [["--arms", "control,control"], ["--arms", "control,treatment", "--arm", "shadow"], ["--arms", "a,b"]])
def test_arms_that_stand_twice_or_are_not_there_are_refused(config: Path, wrong: list[str]) -> None:
    done = CliRunner().invoke(app, ["learn", *wrong, "--config", str(config)])

    assert done.exit_code == 2
    assert "expected" in done.stderr


def test_without_arms_there_is_nothing_to_list(tmp_path: Path) -> None:
    path = tmp_path / "sml.toml"
    path.write_text('[[field]]\nname = "user"')

    done = sml(path, "list")

    assert done.exit_code == 2
    assert "arms: got none, expected [arms.control] and another in the settings" in done.output


def test_the_learner_of_an_arm_ends_in_order_when_the_arm_is_retired(settings: Settings) -> None:
    def retire_once_it_has_learned() -> None:
        with connect(settings.log.url) as log:
            while not ((newest := newest_version(log, settings.of_arm("shadow").topics)) and newest.version.examples == 20):
                time.sleep(0.1)
        arms.retire(settings, "shadow")

    threading.Thread(target=retire_once_it_has_learned, daemon=True).start()

    assert learn(settings.of_arm("shadow"))["examples"] == 20


def test_who_is_forgotten_is_told_that_a_retired_arm_keeps_its_rows_until_its_checkpoints_are_deleted(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for arm in ("control", "shadow"):
        learn(settings.of_arm(arm), until_caught_up=True)
    arms.retire(settings, "shadow")
    who = str(json.loads(examples(1)[0].value or "")["features"]["user"])
    folder = settings.of_arm("shadow").learn.directory

    with monkeypatch.context() as patch:
        patch.setattr(forget, "PATIENCE", 0.1)  # no learner runs
        done = forget.forget(settings, who, "user")
    kept = [each["where"] for each in forget.verify(settings, who, "user") if each.get("answers")]
    for path in Path(folder).glob("*.checkpoint"):
        path.unlink()
    left = [each["where"] for each in forget.verify(settings, who, "user") if each.get("answers")]

    assert done["forgotten_by_version_of_shadow"] == f"never: it was retired; delete {folder}/*.checkpoint"
    assert done["forgotten_by_version"] == "none yet: the learner does it when it runs"
    assert kept == [*left, "checkpoint of version 1"]
    assert left == ["learning.weights, version 1", "checkpoint of version 1"]  # control's, whose learner has not run
