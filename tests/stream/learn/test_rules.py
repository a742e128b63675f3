"""An example harms only itself: its weight, its time, and how many of its kind there are change nothing for the others."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from stream.dead_letters import dead_letters
from stream.inputs.event_time import FUTURE, FutureTimeError, TimeRule, TimeUnitError
from stream.learn.pending import MOST, MOST_BYTES
from stream.learn.rules import WeightError
from stream.learn.trainer import NotFiniteError
from stream.log.contract import Log, Message
from stream.records.events import BadRecordError
from stream.records.version import Version
from tests.stream.learn.fragile import fragile
from tests.stream.learn.restore.test_rollback import back, from_the_log
from tests.stream.learning import (
    TOPICS,
    all_versions,
    example,
    examples,
    learn_all,
    learned_directly,
    learner,
    opened,
    records,
    tamper,
)

YEAR_2100 = 4_102_444_800_000  # epoch ms
REFUSED: dict[type[BadRecordError], dict[str, Any]] = {
    WeightError: {"weight": 100.5},
    FutureTimeError: {"time": YEAR_2100},
    TimeUnitError: {"time": int(time.time())},
}


def refused(number: int, kind: type[BadRecordError]) -> Message:
    """Make up an example that a rule refuses, but that :func:`without_rules` learns."""
    return example(number, **REFUSED[kind])._replace(headers=((FUTURE, b""),))


def without_rules(log: Log, folder: Path) -> Version:
    """Learn as an earlier program did: whatever the weight and the time."""
    return learn_all(log, folder, times=TimeRule(60_000, accept_future=True), max_weight=1e30)


@pytest.mark.parametrize("kind", REFUSED)
def test_what_a_rule_refuses_is_set_aside_counted_and_not_learned(kind: type[BadRecordError], log: Log, tmp_path: Path) -> None:
    log.append([*examples(20), refused(20, kind), *examples(20, first=21)])
    registry = CollectorRegistry()
    learner(log, tmp_path, registry=registry).run(lambda: False, until_caught_up=True)

    (letter,) = dead_letters(log, TOPICS)
    (field, value) = next(iter(REFUSED[kind].items()))
    assert (letter.offset, letter.stage, letter.kind) == (20, "learn", kind.__name__)
    assert letter.message.startswith(f"field {field!r}: got {value}, expected ")
    assert [excluded for version in all_versions(log) for excluded in version.excluded] == [(0, 20)]
    assert all_versions(log)[-1].digest == learned_directly([record for record in records(log, TOPICS.examples) if record.offset != 20])
    for reason in (BadRecordError, NotFiniteError, *REFUSED):
        count = registry.get_sample_value("sml_learner_dead_letters_total", {"reason": reason.__name__})
        assert count == float(reason is kind)


def test_a_weight_as_large_as_one_may_be_is_learned(log: Log, tmp_path: Path) -> None:
    log.append([example(0, weight=7.5), example(1, weight=7.6)])

    assert learn_all(log, tmp_path, max_weight=7.5).examples == 1


def test_event_time_comes_no_further_than_the_present(log: Log, tmp_path: Path) -> None:
    """An example may be a minute ahead of the log's clock, but is learned as one of now."""
    log.append([example(0), example(1, time=int(time.time() * 1000) + 50_000)])

    last = learn_all(log, tmp_path)

    assert last.examples == 2
    assert last.trained_through == records(log, TOPICS.examples)[1].timestamp


def test_made_up_examples_may_be_of_the_future_where_the_settings_say_so(log: Log, tmp_path: Path) -> None:
    marked = example(0, time=YEAR_2100)._replace(headers=((FUTURE, b""),))
    log.append([marked, example(1, time=YEAR_2100)])

    last = learn_all(log, tmp_path, times=TimeRule(60_000, accept_future=True))

    assert (last.examples, last.excluded, last.trained_through) == (1, [(0, 1)], YEAR_2100)


def test_an_example_that_was_not_learned_lets_event_time_come_no_further(log: Log, tmp_path: Path) -> None:
    log.append([*examples(3), example(9, weight=1e39)])

    assert learn_all(log, tmp_path, max_weight=1e40).trained_through == 1_000_002


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("stricter", [False, True])
def test_what_was_learned_or_refused_under_other_settings_is_learned_again_as_it_was(
    kind: type[BadRecordError], stricter: bool, log: Log, tmp_path: Path
) -> None:
    """Recovery goes by the versions, never by today's settings."""
    log.append([*examples(20), refused(20, kind), *examples(20, first=21)])
    before = without_rules(log, tmp_path) if stricter else learn_all(log, tmp_path)
    again = learn_all if stricter else without_rules

    assert before.examples == (41 if stricter else 40)
    assert again(log, tmp_path / "elsewhere") == before
    assert from_the_log(log, tmp_path, before.version).version.digest == before.digest
    assert back(log, tmp_path / "elsewhere", before.version).digest == before.digest


@pytest.mark.parametrize("kind", REFUSED)
def test_what_a_rule_refused_is_not_set_aside_again_by_a_replay(kind: type[BadRecordError], log: Log, tmp_path: Path) -> None:
    log.append([*examples(10), refused(10, kind), *examples(10, first=11)])
    before = learn_all(log, tmp_path)
    back(log, tmp_path, 0, replay=True)

    assert learn_all(log, tmp_path).digest == before.digest
    assert [letter.offset for letter in dead_letters(log, TOPICS)] == [10]


def test_versions_of_an_earlier_program_that_learned_a_heavy_example_begin_a_new_lineage(
    log: Log, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its step was not bounded, so its digests differ; its fingerprint differs, too."""
    log.append([*examples(20), example(20, weight=1e6), *examples(20, first=21)])
    without_rules(log, tmp_path)
    for published in records(log, TOPICS.versions):
        version = json.loads(published.value or b"") | {"digest": "f" * 32, "fingerprint": "sml=0.1.0"}
        tamper(tmp_path, TOPICS.versions, 0, published.offset, json.dumps(version).encode())

    last = learn_all(log, tmp_path / "elsewhere")

    assert "it was learned by sml=0.1.0" in caplog.text
    assert (last.examples, last.digest) == (41, learned_directly(records(log, TOPICS.examples)))


@pytest.mark.parametrize("replay", [None, False, True])
def test_a_version_that_an_earlier_program_dated_2100_is_followed_by_one_of_its_own_time(
    replay: bool | None, log: Log, tmp_path: Path
) -> None:
    log.append(examples(5))
    learn_all(log, tmp_path)
    for published in records(log, TOPICS.versions):
        version = json.loads(published.value or b"") | {"trained_through": YEAR_2100}
        tamper(tmp_path, TOPICS.versions, 0, published.offset, json.dumps(version).encode())
    poisoned = all_versions(log)[-1]
    if replay is not None:
        back(log, tmp_path / "elsewhere", poisoned.version, replay=replay)
    log.append(examples(5, first=5))

    last = learn_all(log, tmp_path / "elsewhere")

    assert last.trained_through == poisoned.published_at


def test_a_flood_of_refused_examples_makes_no_version_too_large(log: Log, tmp_path: Path) -> None:
    """However rarely versions are published."""
    log.append([example(0, weight=1e6)] * (3 * MOST))

    learn_all(log, tmp_path, publish_every=3600.0)

    sizes = [len(version.excluded) for version in all_versions(log)]
    assert sum(sizes) == 3 * MOST
    assert MOST < max(sizes) <= MOST + 512  # a poll's
    assert len(list(dead_letters(log, TOPICS))) == 3 * MOST


def test_a_flood_of_runs_makes_no_version_too_large(tmp_path: Path) -> None:
    """As if the examples of two partitions came in turn."""
    with opened(tmp_path, 2) as log:
        for partition in (0, 1):
            log.append([example(0)._replace(partition=partition)] * (MOST // 2 + 100))

        learn_all(fragile(log, cut=lambda: 1), tmp_path, publish_every=3600.0)

        assert max(len(version.runs) for version in all_versions(log)) == MOST


def test_a_flood_of_junk_makes_no_transaction_too_large(log: Log, tmp_path: Path) -> None:
    log.append([Message(TOPICS.examples, None, b"junk")] * (2 * MOST))

    learn_all(log, tmp_path, publish_every=3600.0)

    sizes = [run.last - run.first + 1 for version in all_versions(log) for run in version.runs]
    assert sum(sizes) == 2 * MOST
    assert max(sizes) <= MOST + 512  # a poll's


LARGE = b"x" * 800_000


@pytest.mark.parametrize(
    "junk",
    [
        Message(TOPICS.examples, LARGE, b"junk"),
        Message(TOPICS.examples, b"junk", LARGE),
        Message(TOPICS.examples, b"junk", b"junk", (("large", LARGE),)),
    ],
    ids=["key", "value", "header"],
)
def test_a_flood_of_large_dead_letters_waits_for_no_version(junk: Message, log: Log, tmp_path: Path) -> None:
    """They would fill the memory."""
    count = 2 * MOST_BYTES // len(LARGE)
    for _ in range(count):
        log.append([junk])

    learn_all(fragile(log, cut=lambda: 1), tmp_path, publish_every=3600.0)

    assert len(all_versions(log)) == 1 + 1 + 1  # the first, one that was full, the last


def test_a_feature_whose_name_is_as_long_as_the_record_stops_nobody(log: Log, tmp_path: Path) -> None:
    """Its dead letter gives the reason, which names the feature."""
    log.append([*examples(5), example(5, features={"x" * 600_000: {}}), *examples(5, first=6)])

    assert learn_all(log, tmp_path).examples == 10
