"""A learner with a rival, with a log or a disk in a bad state, or told to stop loses nothing and says what is wrong."""

import json
import logging
import threading
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from model.settings import ModelSettings
from stream.learn.errors import GapError, OtherSettingsError, RecoveryError
from stream.learn.saving.checkpoint import Checkpoints
from stream.log.contract import FencedError, Log
from stream.log.topics import DELTAS
from stream.records.events import encode
from stream.records.version import decode_version
from stream.weights.chunks import Assembler, unpack
from tests.stream.learn.fragile import fragile
from tests.stream.learning import (
    SPEC,
    TOPICS,
    all_versions,
    assert_each_example_was_learned_once,
    example,
    examples,
    forget,
    learn_all,
    learned_directly,
    learner,
    opened,
    polls,
    records,
    tamper,
)  # fmt: skip

# Rivals


def test_a_second_learner_fences_the_first_which_publishes_nothing_more(log: Log, tmp_path: Path) -> None:
    log.append(examples(20))
    first = learner(log, tmp_path)
    fenced: list[Exception] = []

    def run_first() -> None:
        try:
            first.run(lambda: False)
        except FencedError as error:
            fenced.append(error)

    thread = threading.Thread(target=run_first, daemon=True)
    thread.start()
    while not all_versions(log) or all_versions(log)[-1].examples < 20:
        pass

    second = learn_all(log, tmp_path)
    log.append(examples(20, first=20))
    thread.join()

    assert len(fenced) == 1
    assert all_versions(log)[-1] == second
    assert learn_all(log, tmp_path).examples == 40
    assert_each_example_was_learned_once(log)


# Trouble


def test_learning_goes_on_while_the_disk_takes_no_checkpoint(log: Log, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "checkpoints").write_text("in the way")
    log.append(examples(50))
    registry = CollectorRegistry()

    with caplog.at_level(logging.WARNING), pytest.raises(OSError, match="exists"):
        learner(fragile(log, lambda: 10), tmp_path, registry=registry, checkpoint_every=0.0).run(lambda: False, until_caught_up=True)

    assert all_versions(log)[-1].examples == 50
    assert "could not be saved, learning goes on" in caplog.text
    failures = registry.get_sample_value("sml_learner_checkpoint_failures_total")
    assert failures
    assert failures > 1


def test_examples_deleted_before_they_were_learned_stop_the_learner(log: Log, tmp_path: Path) -> None:
    log.append(examples(10))
    learn_all(log, tmp_path)
    log.append(examples(20, first=10))
    forget(tmp_path, TOPICS.examples, 0, 15)

    with pytest.raises(GapError, match=r"examples 10 to 14 of partition 0 .* --accept-gap"):
        learn_all(log, tmp_path)

    last = learn_all(log, tmp_path, accept_gap=True)
    assert last.examples == 25
    assert last.runs[0].first == 15  # the versions show the gap


def test_examples_deleted_before_they_can_be_learned_again_stop_the_learner(log: Log, tmp_path: Path) -> None:
    log.append(examples(30))
    learn_all(log, tmp_path)
    forget(tmp_path, TOPICS.examples, 0, 15)

    with pytest.raises(GapError, match="--accept-gap"):
        learn_all(log, tmp_path / "elsewhere")

    assert learn_all(log, tmp_path / "elsewhere", accept_gap=True).snapshot == all_versions(log)[-1].snapshot


def test_a_checkpoint_ahead_of_the_log_is_refused(log: Log, tmp_path: Path) -> None:
    log.append(examples(10))
    learn_all(log, tmp_path)
    (tmp_path / "other").mkdir()

    with opened(tmp_path / "other") as other, pytest.raises(RecoveryError, match="ahead of"):
        learn_all(other, tmp_path)


def test_other_settings_are_refused(log: Log, tmp_path: Path) -> None:
    log.append(examples(10))
    learn_all(log, tmp_path)
    other = SPEC.model_copy(update={"model": ModelSettings(hidden=(4,), embedding=4)})

    for folder in (tmp_path, tmp_path / "elsewhere"):
        with pytest.raises(OtherSettingsError, match="other settings"):
            learn_all(log, folder, other)


def test_examples_that_have_changed_are_noticed_when_they_are_learned_again(log: Log, tmp_path: Path) -> None:
    log.append(examples(10))
    learn_all(log, tmp_path)
    tamper(tmp_path, TOPICS.examples, 0, 4, example(99).value or b"")

    with pytest.raises(RecoveryError, match="learning its examples again gives"):
        learn_all(log, tmp_path / "elsewhere")


def test_other_kernels_start_a_new_lineage_from_a_full_snapshot(log: Log, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log.append(examples(10))
    learn_all(log, tmp_path)
    for published in records(log, TOPICS.versions):
        version = json.loads(published.value or b"") | {"digest": "f" * 32, "fingerprint": "cpu=other"}
        tamper(tmp_path, TOPICS.versions, 0, published.offset, json.dumps(version).encode())

    with caplog.at_level(logging.WARNING):
        last = learn_all(log, tmp_path / "elsewhere")

    assert "it was learned by cpu=other" in caplog.text
    assert "they agree within rounding" in caplog.text
    assert last.digest == learned_directly(records(log, TOPICS.examples))
    assert last.snapshot
    assert last.snapshot.version == last.version
    assert unpack(Assembler().add(records(log, TOPICS.weights, DELTAS))[-1]).header.base is None


def test_a_learner_told_to_stop_publishes_and_saves_what_it_has_learned(log: Log, tmp_path: Path) -> None:
    log.append(examples(100))

    learner(fragile(log, lambda: 10), tmp_path, publish_every=3600.0).run(polls(5))

    saved = next(Checkpoints(tmp_path / "checkpoints", 3).newest_first())
    assert saved.version == all_versions(log)[-1]
    assert 0 < saved.version.examples < 100


def test_a_version_that_was_read_can_be_written_again(log: Log, tmp_path: Path) -> None:
    log.append(examples(10))
    learn_all(log, tmp_path)

    for record in records(log, TOPICS.versions):
        assert encode(decode_version(record.value)) == record.value
