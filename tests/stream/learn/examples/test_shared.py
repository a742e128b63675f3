"""Learners of several arms in one process read each example once, and each learns as if it were alone."""

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st

from model.settings import Spec
from stream.learn import session as session_module
from stream.learn.examples import shared as shared_module
from stream.learn.examples.shared import SharedReading
from stream.learn.prepare import Preparer
from stream.learn.restore.rollback import rebuild
from stream.learn.saving.checkpoint import Checkpoints
from stream.log import topics as topics_module
from stream.log.connect import connect
from stream.log.contract import Log, Message, Record
from stream.log.reading import read_all
from stream.log.sqlite.log import SqliteLog
from stream.log.topics import Topics
from stream.records.version import Version
from stream.weights.versions import newest_version, read_versions
from tests.stream.learning import SPEC, TOPICS, example, examples, learn_all, learned_directly, learner, opened, records

ARMS = ("control", "treatment", "shadow")
SPECS: dict[str, Spec] = {
    "control": SPEC,
    "treatment": SPEC.model_copy(update={"model": SPEC.model.model_copy(update={"skip": "none"})}),
    "shadow": SPEC.model_copy(update={"fields": SPEC.fields[:2]}),
}


@pytest.fixture(params=[1, 3])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Log]:
    """Yield an empty log of three arms."""
    with opened(tmp_path, request.param, arms=ARMS) as log:
        yield log


def together(log: Log, folder: Path, *arms: str, topics: Topics = TOPICS) -> dict[str, str]:
    """Let learners of these arms learn what the log holds, with each other; return the digests."""
    shared, digests = SharedReading(log, topics.examples), {}

    def learn(arm: str) -> None:
        digests[arm] = learn_all(log, folder / arm, SPECS[arm], topics=topics._replace(arm=arm), shared=shared).digest

    threads = [threading.Thread(target=learn, args=[arm]) for arm in arms]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shared.close()
    return digests


def newest_of(log: Log, arm: str) -> Version:
    """Return the newest version of an arm."""
    newest = newest_version(log, TOPICS._replace(arm=arm))
    assert newest is not None
    return newest.version


def as_written_down(log: Log, topics: Topics) -> list[tuple[int, int]]:
    """Return partition and offset of what an arm has learned, in order, of those that hold a record."""
    held = {(record.partition, record.offset) for record in read_all(log, topics.examples)}
    runs = [run for version, _ in read_versions(log, topics, 0) for run in version.runs]
    return [(run.partition, offset) for run in runs for offset in range(run.first, run.last + 1) if (run.partition, offset) in held]


@pytest.mark.parametrize("log", [1], indirect=True)
def test_each_arm_has_the_weights_that_it_has_alone(log: Log, tmp_path: Path) -> None:
    log.append([*examples(300), Message(TOPICS.examples, b"bad", b"junk"), example(300, weight=1e6), *examples(300, first=301)])

    digests = together(log, tmp_path, *ARMS)

    assert digests == {arm: learn_all(log, tmp_path / "alone" / arm, SPECS[arm], topics=TOPICS._replace(arm=arm)).digest for arm in ARMS}
    assert len(records(log, TOPICS.dead_letters)) == 2 * len(ARMS)


def test_one_that_is_behind_and_one_that_is_ahead_learn_each_example_once_and_what_they_wrote_down(
    log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "_BATCH", 7)
    log.append(examples(200))
    learn_all(log, tmp_path / "control", SPECS["control"])
    log.append(examples(200, first=200))

    together(log, tmp_path, *ARMS)

    stream = {(p, record.offset): record for p in log.bounds(TOPICS.examples) for record in records(log, TOPICS.examples, p)}
    for arm in ARMS:
        learned = as_written_down(log, TOPICS._replace(arm=arm))
        assert sorted(learned) == sorted(stream), arm
    assert newest_of(log, "control").digest == learned_directly([stream[each] for each in as_written_down(log, TOPICS)])


def test_a_batch_is_read_and_prepared_once_for_arms_of_the_same_fields(log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: Counter[tuple[int, int]] = Counter()
    own = Preparer.prepare

    def count(preparer: Preparer, batch: list[Record], *args: object, **kwargs: object) -> object:
        prepared.update((record.partition, record.offset) for record in batch)
        return own(preparer, batch, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Preparer, "prepare", count)
    monkeypatch.setattr(shared_module, "KEPT", 1_000_000)
    log.append(examples(300))

    together(log, tmp_path, "control", "treatment")

    assert set(prepared.values()) == {1}
    assert sum(prepared.values()) == 300


def test_on_kafka_too_one_that_is_behind_comes_up_and_each_learns_each_example_once(kafka: str, tmp_path: Path) -> None:
    prefix = TOPICS._replace(prefix="shared")
    with connect(kafka) as log:
        topics_module.create(log, prefix, 3, arms=ARMS[:2])
        for first in range(0, 200, 40):  # an append each: what marks the ends of transactions takes offsets in between
            log.append([each._replace(topic=prefix.examples) for each in examples(40, first)])
            if first == 80:
                learn_all(log, tmp_path / "control", topics=prefix)
        together(log, tmp_path, *ARMS[:2], topics=prefix)
        stream = [(record.partition, record.offset) for record in read_all(log, prefix.examples)]

        assert [sorted(as_written_down(log, prefix._replace(arm=arm))) for arm in ARMS[:2]] == [sorted(stream)] * 2


def together_for_ever(folder: Path) -> None:
    """Let two arms learn together until killed."""
    with SqliteLog(f"sqlite:///{folder / 'log.db'}") as log:
        shared = SharedReading(log, TOPICS.examples)

        def learn(arm: str) -> None:
            topics = TOPICS._replace(arm=arm)
            learner(log, folder / arm, SPECS[arm], topics=topics, shared=shared, checkpoint_every=0.05).run(lambda: False)

        threads = [threading.Thread(target=learn, args=[arm]) for arm in ARMS[:2]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def test_a_process_of_two_arms_that_is_killed_learns_each_example_once_for_each(tmp_path: Path) -> None:
    program = "import sys, pathlib, tests.stream.learn.examples.test_shared as shared; shared.together_for_ever(pathlib.Path(sys.argv[1]))"
    with opened(tmp_path, arms=ARMS) as log:
        for turn in range(2):
            seen = log.bounds(f"{TOPICS.versions}.treatment")[0].end
            with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)]) as process:
                log.append(examples(100, first=200 * turn))
                while log.bounds(f"{TOPICS.versions}.treatment")[0].end <= seen and process.poll() is None:
                    time.sleep(0.01)
                log.append(examples(100, first=200 * turn + 100))
                process.kill()

        together(log, tmp_path, *ARMS[:2])

        for arm in ARMS[:2]:
            assert as_written_down(log, TOPICS._replace(arm=arm)) == [(0, offset) for offset in range(400)]
            rebuilt = rebuild(log, TOPICS._replace(arm=arm), SPECS[arm], Checkpoints(tmp_path / "none", 1), newest_of(log, arm).version)
            assert rebuilt.version.digest == newest_of(log, arm).digest


class InMemory:
    """A log in memory, whose readers may return any few of the next records."""

    def __init__(self, partitions: int) -> None:
        self.stream: dict[int, list[Record]] = {partition: [] for partition in range(partitions)}
        self.opened = 0

    def append(self, partition: int) -> None:
        stream = self.stream[partition]
        stream.append(Record("t", partition, len(stream), 0, None, b""))

    def reader(self, _: str, start: Mapping[int, int]) -> "InMemoryReader":
        self.opened += 1
        return InMemoryReader(self, dict(start))


class InMemoryReader:
    """Reads partitions in the order that they were asked for, as many records as it may."""

    def __init__(self, log: InMemory, at: dict[int, int]) -> None:
        self.log, self.at = log, at

    def poll(self, max_records: int, _: float) -> list[Record]:
        found: list[Record] = []
        for partition, offset in self.at.items():
            found += self.log.stream[partition][offset : offset + max_records - len(found)]
        self.at |= {record.partition: record.offset + 1 for record in found}
        return found

    def positions(self) -> dict[int, int]:
        return dict(self.at)

    def close(self) -> None:
        pass


def test_large_records_do_not_wait_without_bound_for_who_is_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_module, "KEPT_BYTES", 1_000)
    log = InMemory(1)
    log.stream[0] = [Record("t", 0, n, 0, None, bytes(300)) for n in range(20)]
    shared = SharedReading(cast("Log", log), "t")
    first, behind = shared.reader({0: 0}), shared.reader({0: 0})

    fast = [record for _ in range(20) for record in first.poll(1, 0.0)]

    assert sum(len(batch) for batch in shared._batches) == 3
    assert [record for _ in range(20) for record in behind.poll(5, 0.0)] == fast == log.stream[0]


@hypothesis_settings(max_examples=100, deadline=None)
@given(st.data())
def test_however_readers_take_turns_each_gets_every_record_once_in_order_and_all_come_together(data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared_module, "KEPT", 2)
        log = InMemory(data.draw(st.integers(1, 3)))
        shared = SharedReading(cast("Log", log), "t")
        turns = st.one_of(st.tuples(st.just("append"), st.sampled_from(sorted(log.stream))), st.tuples(st.just("poll"), st.integers(0, 2)))
        for _, partition in data.draw(st.lists(st.tuples(st.just("append"), st.sampled_from(sorted(log.stream))), max_size=20)):
            log.append(partition)
        starts = [{p: data.draw(st.integers(0, len(stream))) for p, stream in log.stream.items()} for _ in range(3)]
        readers = [shared.reader(start) for start in starts]
        got: list[list[Record]] = [[], [], []]

        for what, number in data.draw(st.lists(turns, max_size=60)):
            if what == "append":
                log.append(number)
            else:
                got[number] += readers[number].poll(data.draw(st.integers(1, 5)), 0.0)
        for _ in range(100):
            for number, reader in enumerate(readers):
                got[number] += reader.poll(4, 0.0)
        opened = log.opened
        for partition in log.stream:
            log.append(partition)
        for number, reader in enumerate(readers):
            got[number] += reader.poll(4, 0.0)

    for start, reader, found in zip(starts, readers, got, strict=True):
        for partition, stream in log.stream.items():
            assert [record for record in found if record.partition == partition] == stream[start[partition] :]
        assert reader.positions() == {partition: len(stream) for partition, stream in log.stream.items()}
    assert log.opened == opened  # one reads for all
