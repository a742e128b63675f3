"""A version is published as a whole or not at all, and records what it learned."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from model.evaluation.scores import RunningScores
from model.online import OnlineModel
from model.settings import Spec
from model.weights import Weights
from stream.learn import publish
from stream.learn.pending import PendingVersion
from stream.learn.publish import BUDGET, Publisher
from stream.learn.saving import snapshot_writer
from stream.learn.saving.snapshot_writer import SnapshotWriter
from stream.learn.trainer import Trainer
from stream.log.contract import FencedError, LogUnavailableError, Message, Progress, Record
from stream.log.sqlite.log import SqliteLog
from stream.log.topics import DELTAS, SNAPSHOTS
from stream.records.version import Run, decode_version
from stream.settings import LearnSettings
from stream.weights.chunks import CHUNK, Assembler, BrokenWeightsError, WeightsHeader, assemble_snapshot, cut, unpack
from tests.stream.learning import SPEC, TOPICS, all_versions, example, examples, opened, records
from tests.stream.weights.test_follow import follow_to_the_end


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    """Yield an empty log."""
    with opened(tmp_path) as log:
        yield log


class Work:
    """A model that learns, and its pending version."""

    def __init__(self) -> None:
        self.trainer = Trainer(OnlineModel(SPEC), RunningScores())
        self.pending = PendingVersion({0: 0}, None)

    def learn(self, messages: Sequence[Message]) -> None:
        """Learn the next messages."""
        first = self.pending.offsets[0]
        batch = [Record(m.topic, 0, first + n, 0, m.key, m.value, m.headers) for n, m in enumerate(messages)]
        self.pending.add(batch, self.trainer.learn(batch), TOPICS)
        self.pending.offsets = {0: first + len(batch)}


def publisher_of(log: SqliteLog, **settings: float) -> Publisher:
    """Return the publisher of a new model."""
    return Publisher(log, log.writer("learning.learner"), TOPICS, LearnSettings.model_validate({"publish_every": 0.0, **settings}), None)


class UnreliableWriter:
    """A writer whose first commit fails."""

    def __init__(self, log: SqliteLog) -> None:
        self.writer, self.failed = log.writer("learning.learner"), False

    def commit(self, messages: Sequence[Message], progress: Mapping[tuple[str, int], Progress]) -> list[int]:
        """Fail the first time, then commit."""
        if not self.failed:
            self.failed = True
            raise LogUnavailableError("away")
        return self.writer.commit(messages, progress)

    def close(self) -> None:
        """Do nothing."""


def test_a_version_says_what_was_learned_and_in_which_order(log: SqliteLog) -> None:
    work, publisher = Work(), publisher_of(log)
    work.learn(examples(5))

    published = publisher.publish(work.trainer.model, work.pending, whole=True)

    (record,) = records(log, TOPICS.versions)
    assert decode_version(record.value) == published.version
    assert published.offset == record.offset
    assert published.version.runs == [Run(0, 0, 4)]
    assert (published.version.version, published.version.examples, published.version.offsets) == (0, 5, {0: 5})
    assert published.version.trained_through == 1_000_004
    assert published.version.digest == work.trainer.model.digest()
    assert log.progress("learning.learner", TOPICS.examples) == {0: Progress(5)}


def test_runs_are_in_the_order_learned_over_all_partitions() -> None:
    pending, trainer = PendingVersion({0: 0, 1: 0}, None), Trainer(OnlineModel(SPEC), RunningScores())

    for partition, offset in [(0, 0), (0, 1), (1, 0), (0, 2), (0, 3)]:
        batch = [Record(TOPICS.examples, partition, offset, 0, None, example(offset).value)]
        pending.add(batch, trainer.learn(batch), TOPICS)

    assert pending.runs == [Run(0, 0, 1), Run(1, 0, 0), Run(0, 2, 3)]


def test_a_fenced_learner_publishes_nothing_at_all(log: SqliteLog) -> None:
    work, publisher = Work(), publisher_of(log)
    publisher.publish(work.trainer.model, work.pending, whole=True)
    work.pending = work.pending.next()
    work.learn([*examples(3), Message(TOPICS.examples, b"bad", b"junk")])
    log.writer("learning.learner")
    before = [log.bounds(topic) for topic in (TOPICS.versions, TOPICS.weights, TOPICS.dead_letters)]

    with pytest.raises(FencedError):
        publisher.publish(work.trainer.model, work.pending)

    assert [log.bounds(topic) for topic in (TOPICS.versions, TOPICS.weights, TOPICS.dead_letters)] == before


def test_rows_count_as_published_only_once_the_log_has_them(log: SqliteLog) -> None:
    work = Work()
    publisher = Publisher(log, UnreliableWriter(log), TOPICS, LearnSettings(), None)
    work.learn(examples(5))
    before = work.trainer.model.changes()

    with pytest.raises(LogUnavailableError):
        publisher.publish(work.trainer.model, work.pending)

    np.testing.assert_array_equal(work.trainer.model.changes()["positions"], before["positions"])
    assert publisher.publish(work.trainer.model, work.pending).version.version == 0
    assert len(work.trainer.model.changes()["positions"]) == 0


def test_a_delta_holds_what_has_changed_since_the_version_before(log: SqliteLog) -> None:
    work, publisher = Work(), publisher_of(log)
    publisher.publish(work.trainer.model, work.pending, whole=True)
    weights = Weights(SPEC)

    for first in (0, 50):
        work.pending = work.pending.next()
        work.learn(examples(50, first))
        publisher.publish(work.trainer.model, work.pending)

    whole, *deltas = (unpack(data) for data in Assembler().add(records(log, TOPICS.weights, DELTAS)))
    assert whole.header.base is None
    for delta, version in zip(deltas, all_versions(log)[1:], strict=True):
        weights.apply(delta.arrays)
        assert (delta.header.version, delta.header.base) == (version.version, version.version - 1)
        assert weights.digest() == version.digest


def test_versions_come_less_often_above_the_byte_budget(log: SqliteLog) -> None:
    large = Spec(model=SPEC.model.model_copy(update={"hidden": (1024, 512)}), table=SPEC.table, fields=SPEC.fields)
    publisher, model = publisher_of(log), OnlineModel(large)
    publisher.publish(model, PendingVersion({0: 0}, None), whole=True)
    pending = PendingVersion({0: 0}, None)
    pending.runs.append(Run(0, 0, 0))

    begun = time.monotonic()
    publisher.publish(model, pending)

    wait = publisher.wait(pending)
    assert wait is not None
    assert publisher.bytes / BUDGET - (time.monotonic() - begun) < wait <= publisher.bytes / BUDGET


@pytest.mark.parametrize(("commit", "wait"), [(0.2, 0.3), (0.4, 0.4), (0.6, 0.5)])
def test_the_time_between_versions_counts_from_the_beginning_and_leaves_time_to_learn(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch, commit: float, wait: float
) -> None:
    publisher, now = publisher_of(log, publish_every=0.5), 100.0
    monkeypatch.setattr(publish, "time", SimpleNamespace(time=time.time, monotonic=lambda: now))
    committed = publisher._writer.commit

    def slow(*arguments: Any) -> list[int]:
        nonlocal now
        now += commit
        return committed(*arguments)

    monkeypatch.setattr(publisher._writer, "commit", slow)
    pending = PendingVersion({0: 0}, None)
    pending.runs.append(Run(0, 0, 0))

    publisher.publish(OnlineModel(SPEC), pending, whole=True)

    assert publisher.wait(pending) == pytest.approx(wait)


@pytest.mark.parametrize(("idle", "wait"), [(0.2, 0.3), (0.5, 0.0), (60.0, 0.0)])
def test_the_first_example_after_a_pause_is_published_at_once(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch, idle: float, wait: float
) -> None:
    publisher, now = publisher_of(log, publish_every=0.5), 100.0
    monkeypatch.setattr(publish, "time", SimpleNamespace(time=time.time, monotonic=lambda: now))
    pending = PendingVersion({0: 0}, None)
    publisher.publish(OnlineModel(SPEC), pending, whole=True)

    now += idle
    pending = pending.next()
    pending.runs.append(Run(0, 0, 0))

    assert publisher.wait(pending) == pytest.approx(wait)


def test_nothing_is_published_while_there_is_nothing_to_say(log: SqliteLog) -> None:
    work, publisher = Work(), publisher_of(log)
    publisher.publish(work.trainer.model, work.pending, whole=True)

    assert publisher.wait(work.pending.next()) is None


def test_a_snapshot_is_named_only_once_it_is_whole(log: SqliteLog) -> None:
    work, publisher = Work(), publisher_of(log, snapshot_every=0.0)
    first = publisher.publish(work.trainer.model, work.pending, whole=True)
    work.pending = work.pending.next()
    work.learn(examples(5))

    second = publisher.publish(work.trainer.model, work.pending)
    publisher.close()  # waits for the snapshot
    assert publisher.wait(PendingVersion({0: 5}, None)) == 0  # there is something to publish: where the snapshot is
    third = publisher.publish(work.trainer.model, work.pending.next())

    assert first.version.snapshot
    assert second.version.snapshot == first.version.snapshot
    assert third.version.snapshot
    assert third.version.snapshot.version == second.version.version
    snapshot = unpack(assemble_snapshot(records(log, TOPICS.weights, SNAPSHOTS)))
    assert Weights.from_arrays(SPEC, snapshot.arrays).digest() == second.version.digest
    assert Spec.model_validate(snapshot.entries["spec"]) == SPEC


@pytest.mark.parametrize(
    ("age", "due_idle", "due_learning"), [(10.0, False, False), (400.0, False, True), (1000.0, True, True), (-1e9, True, True)]
)
def test_a_snapshot_is_repeated_in_time_even_when_nothing_is_learned(
    log: SqliteLog, age: float, due_idle: bool, due_learning: bool
) -> None:
    made = int((time.time() - age) * 1000)
    before = SnapshotWriter(log, TOPICS, 300.0, None)
    before.write(WeightsHeader(0, None, "", 7, None, made), SPEC, Weights(SPEC).arrays(), 0)
    before.close()

    after = SnapshotWriter(log, TOPICS, 300.0, before.newest)  # as after a restart
    after.close()

    assert after.usable()
    assert (after.due(examples=7), after.due(examples=8)) == (due_idle, due_learning)


def as_records(messages: Sequence[Message]) -> list[Record]:
    """Return messages as a reader does."""
    return [Record(m.topic, 0, n, 0, m.key, m.value, m.headers) for n, m in enumerate(messages)]


@pytest.mark.parametrize("size", [1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_what_is_cut_is_joined_again(size: int) -> None:
    data = np.random.default_rng(0).bytes(size)

    messages = cut(TOPICS.weights, DELTAS, data)

    assert all(len(message.value or b"") <= CHUNK for message in messages)
    assert Assembler().add(as_records([*messages, *messages])) == [data, data]


def test_a_missing_part_is_noticed() -> None:
    first, second, third = as_records(cut(TOPICS.weights, DELTAS, bytes(3 * CHUNK)))
    other = as_records(cut(TOPICS.weights, DELTAS, bytes(3 * CHUNK)))

    nothing: Any = None
    strange = [[first._replace(headers=headers)] for headers in ((), (("part", b"one"),), (("part", nothing),))]

    for broken in ([second], [first, third], [first, other[1]], [third], *strange):
        with pytest.raises(BrokenWeightsError):
            Assembler().add(broken)


def test_the_log_keeps_no_weights_from_before_the_snapshot_that_the_newest_replaced(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deltas that take more than the snapshot before them bring about the next one, which releases them; who starts finds all it needs."""
    monkeypatch.setattr(snapshot_writer, "_LEAST_DELTAS", 1)
    monkeypatch.setattr(snapshot_writer, "_LEAST_AGE", 0.0)
    work, publisher = Work(), publisher_of(log)
    publisher.publish(work.trainer.model, work.pending, whole=True)
    for first in range(0, 600, 10):
        work.pending = work.pending.next()
        work.learn(examples(10, first))
        publisher.publish(work.trainer.model, work.pending)
        while publisher.snapshots._writing is not None:
            publisher.snapshots.collect()
    log.append(examples(1))  # this write comes after the last release

    named = list(dict.fromkeys(version.snapshot for version in all_versions(log) if version.snapshot))
    bounds = log.bounds(TOPICS.weights)
    assert len(named) > 3
    assert (bounds[DELTAS].first, bounds[SNAPSHOTS].first) == (named[-2].deltas, named[-2].first)
    assert follow_to_the_end(log).taken[-1].digest == work.trainer.model.digest()
    publisher.close()
