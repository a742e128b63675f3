"""Every example changes the weights exactly once, in the order that the versions record, whatever happens to the learner."""

import itertools
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from prometheus_client import CollectorRegistry

from stream.learn import learner as learner_module, session as session_module
from stream.learn.saving.checkpoint import Checkpoints
from stream.log.contract import Log, LogUnavailableError, Message, Progress
from tests.stream.learn.fragile import Killed, deadly, fragile
from tests.stream.learning import (
    TOPICS,
    all_versions,
    assert_each_example_was_learned_once,
    example,
    examples,
    learn_all,
    learned_directly,
    learner,
    opened,
    records,
)  # fmt: skip

# What is learned


def test_the_weights_are_those_of_learning_the_examples_one_by_one_in_their_order(log: Log, tmp_path: Path) -> None:
    log.append(examples(300))

    last = learn_all(log, tmp_path)

    assert last.digest == learned_directly(records(log, TOPICS.examples))
    assert (last.examples, last.offsets) == (300, {0: 300})


@given(seed=st.integers(0, 2**32))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_weights_do_not_depend_on_how_polls_cut_the_stream(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder, cuts = tmp_path_factory.mktemp("cut"), random.Random(seed)
    with opened(folder) as log:
        log.append(examples(200))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(session_module, "_BATCH", 7)  # a poll of so many is prepared while the one before is learned
            last = learn_all(fragile(log, cut=lambda: cuts.choice([1, 2, 7, 50])), folder)

        assert last.digest == learned_directly(records(log, TOPICS.examples))


def test_what_was_read_but_not_learned_is_in_no_version(log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "_BATCH", 10)
    log.append(examples(100))
    polls = itertools.count()

    learner(log, tmp_path).run(lambda: next(polls) > 3)

    last = all_versions(log)[-1]
    assert 0 < last.examples == last.offsets[0] < 100
    assert learn_all(log, tmp_path).digest == learned_directly(records(log, TOPICS.examples))


def test_an_example_is_learned_as_much_as_its_weight_says(log: Log, tmp_path: Path) -> None:
    log.append([example(1, weight=0.25), example(2), example(3, weight=2.0)])

    with_weights = learn_all(log, tmp_path)

    assert with_weights.examples == 3
    assert with_weights.digest != learned_directly(
        [record._replace(value=example(n + 1).value) for n, record in enumerate(records(log, TOPICS.examples))]
    )


def test_a_new_learner_publishes_version_0_with_a_snapshot_before_any_example(log: Log, tmp_path: Path) -> None:
    last = learn_all(log, tmp_path)

    assert (last.version, last.examples, last.trained_through) == (0, 0, None)
    assert last.snapshot
    assert last.snapshot.version == 0


def test_a_learner_with_nothing_to_do_publishes_nothing(log: Log, tmp_path: Path) -> None:
    log.append(examples(10))
    before = learn_all(log, tmp_path)

    assert learn_all(log, tmp_path) == before


# What is set aside


def test_a_bad_record_is_set_aside_and_not_read_again(log: Log, tmp_path: Path) -> None:
    bad = [
        Message(TOPICS.examples, b"a", b"junk"),
        example(5, label=7),
        example(6, features={"user": ["no", "list"]}),
        Message(TOPICS.examples, b"d", None),
    ]
    log.append([*examples(3), *bad, *examples(3, first=10)])

    first = learn_all(log, tmp_path)
    learn_all(log, tmp_path)

    letters = records(log, TOPICS.dead_letters)
    assert first.examples == 6
    assert [record.value for record in letters] == [message.value for message in bad]
    assert [dict(record.headers)["__connect.errors.offset"] for record in letters] == [b"3", b"4", b"5", b"6"]
    assert {dict(record.headers)["__connect.errors.stage"] for record in letters} == {b"learn"}


def test_an_example_whose_step_is_not_finite_is_set_aside_and_the_others_are_learned(log: Log, tmp_path: Path) -> None:
    log.append([*examples(20), example(20, weight=1e39), *examples(20, first=21)])

    last = learn_all(log, tmp_path, max_weight=1e40)

    (letter,) = records(log, TOPICS.dead_letters)
    assert dict(letter.headers)["__connect.errors.exception.class.name"] == b"NotFiniteError"
    assert [excluded for version in all_versions(log) for excluded in version.excluded] == [(0, 20)]
    assert last.examples == 40
    assert last.digest == learned_directly([record for record in records(log, TOPICS.examples) if record.offset != 20])


def test_what_was_excluded_is_left_out_again_by_a_learner_that_recovers(log: Log, tmp_path: Path) -> None:
    log.append([*examples(20), example(20, weight=1e39), *examples(20, first=21)])
    before = learn_all(log, tmp_path, max_weight=1e40)

    assert learn_all(log, tmp_path / "elsewhere", max_weight=1e40) == before  # without any checkpoint
    assert len(records(log, TOPICS.dead_letters)) == 1


# Crashes


@pytest.mark.parametrize("partitions", [1, 3])
@pytest.mark.parametrize("seed", range(5))
def test_a_learner_killed_mid_stream_ends_with_the_weights_of_one_that_was_not(
    partitions: int, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "_BATCH", 5)  # a poll of so many is prepared while the one before is learned
    chance = random.Random(seed)

    with opened(tmp_path, partitions) as log:
        log.append(examples(500))
        breaking = deadly(log, chance)
        kills = 0
        while not all_versions(log) or all_versions(log)[-1].examples < 500:
            try:
                learn_all(breaking, tmp_path, checkpoint_every=chance.choice([0.0, 0.05, 1.0]), snapshot_every=0.0)
            except Killed:
                kills += 1

        assert kills > 5
        assert_each_example_was_learned_once(log)
        assert learn_all(log, tmp_path).digest == all_versions(log)[-1].digest


@pytest.mark.parametrize("partitions", [1, 3])
def test_a_learner_process_killed_at_any_moment_learns_each_example_once(partitions: int, tmp_path: Path) -> None:
    chance, numbers = random.Random(partitions), itertools.count()
    program = "import sys, pathlib, tests.stream.learning as learning; learning.learn_for_ever(pathlib.Path(sys.argv[1]))"

    with opened(tmp_path, partitions) as log:
        for _ in range(3):
            seen = log.bounds(TOPICS.versions)[0].end
            with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)]) as process:
                while log.bounds(TOPICS.versions)[0].end <= seen and process.poll() is None:
                    time.sleep(0.01)
                until = time.monotonic() + chance.uniform(0, 0.5)
                while time.monotonic() < until:
                    log.append([example(next(numbers)) for _ in range(20)])
                process.kill()
        last = learn_all(log, tmp_path)

        assert last.examples == next(numbers)
        assert_each_example_was_learned_once(log)


def test_a_checkpoint_is_written_only_after_its_version_is_committed(log: Log, tmp_path: Path) -> None:
    def saved() -> list[int]:
        return [checkpoint.version.version for checkpoint in Checkpoints(tmp_path / "checkpoints", 3).newest_first()]

    def check() -> None:
        assert set(saved()) <= {version.version for version in all_versions(log)}

    log.append(examples(100))

    learn_all(fragile(log, lambda: 10, check, check), tmp_path, checkpoint_every=0.0)

    assert saved()[0] == all_versions(log)[-1].version


def test_the_number_of_a_version_that_was_not_committed_is_used_again(log: Log, tmp_path: Path) -> None:
    failures = iter([False, False, True, True, False, True])

    def fail() -> None:
        if next(failures, False):
            raise LogUnavailableError("away")

    log.append(examples(100))

    learn_all(fragile(log, lambda: 20, before_commit=fail), tmp_path)

    versions = all_versions(log)
    assert [version.version for version in versions] == list(range(len(versions)))
    assert_each_example_was_learned_once(log)


def test_that_the_log_is_away_is_said_once_and_once_that_it_is_back(
    log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(learner_module, "_RECONNECT", 0.0)
    failures = iter([True, True, True, False, False])
    there = log.progress

    def progress(owner: str, topic: str) -> dict[int, Progress]:
        if next(failures, False):
            raise LogUnavailableError("no route to host")
        return there(owner, topic)

    monkeypatch.setattr(log, "progress", progress)
    log.append(examples(10))

    learn_all(log, tmp_path)

    said = [record.message for record in caplog.records if "the log is" in record.message]
    assert said == ["the log is away, trying until it is back: no route to host", "the log is back"]
    assert_each_example_was_learned_once(log)


def test_a_commit_of_unknown_outcome_that_did_happen_is_not_learned_twice(log: Log, tmp_path: Path) -> None:
    failures = iter([False, True, False, True])

    def fail() -> None:
        if next(failures, False):
            raise LogUnavailableError("no answer")

    log.append(examples(100))

    learn_all(fragile(log, lambda: 20, after_commit=fail), tmp_path)

    assert_each_example_was_learned_once(log)


def test_scores_go_on_where_they_were(log: Log, tmp_path: Path) -> None:
    def log_loss(folder: Path) -> float | None:
        registry = CollectorRegistry()
        learner(log, folder, registry=registry).run(lambda: False, until_caught_up=True)
        return registry.get_sample_value("sml_learner_log_loss", {"over": "total"})

    log.append(examples(100))
    log_loss(tmp_path)
    log.append(examples(100, first=100))

    assert log_loss(tmp_path) == log_loss(tmp_path / "from the start")
