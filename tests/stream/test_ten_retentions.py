"""A small embedded log runs through ten retentions while joiner and learner are killed: it levels off, and nothing needed goes."""

import multiprocessing
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from model.evaluation.scores import RunningScores
from model.online import OnlineModel
from model.weights import Weights
from stream.join.joiner import Joiner
from stream.join.metrics import JoinerMetrics
from stream.learn.trainer import Trainer
from stream.log.contract import Log, Message, Reader, Record
from stream.log.settings import LogSettings
from stream.log.sqlite.log import SqliteLog
from stream.log.topics import Kept, create
from stream.records.events import Click, Feature, Impression, decode_example, encode
from stream.records.heartbeat import is_heartbeat
from stream.records.version import LearnerState, Version, decode_version
from stream.settings import JoinSettings, LearnSettings, least_retention
from stream.weights.chunks import WeightsHeader
from stream.weights.follow import Follower
from stream.weights.metrics import FollowerMetrics
from tests.stream.learning import SPEC, TOPICS, learn_all, learner

RETENTION = 6.0  # seconds
SECONDS = 11 * RETENTION
JOIN = JoinSettings(click_window=0.4, lateness=0.1, clock_skew=0.5, idle_after=0.2)
LEARN: dict[str, Any] = {"checkpoint_every": 0.2, "snapshot_every": 0.3, "keep": 2, "publish_every": 0.05}
KEPT = Kept(RETENTION, RETENTION, 1_000_000, weights=2.0)


def run_joiner(folder: Path) -> None:
    """Join until killed."""
    with SqliteLog(f"sqlite:///{folder / 'log.db'}") as log:
        Joiner(log, TOPICS, JOIN, JoinerMetrics(CollectorRegistry())).run(lambda: False)


def run_learner(folder: Path) -> None:
    """Learn until killed."""
    with SqliteLog(f"sqlite:///{folder / 'log.db'}") as log:
        learner(log, folder, weights_retention=KEPT.weights, **LEARN).run(lambda: False)


class Collector:
    """Reads a topic from its beginning to its end, before its records are deleted; heartbeats it passes over."""

    def __init__(self, log: Log, topic: str) -> None:
        self._reader: Reader = log.reader(topic, {0: 0})
        self.records: list[Record] = []

    def collect(self) -> None:
        while records := self._reader.poll(1_000, 0):
            self.records += [record for record in records if not is_heartbeat(record)]

    def close(self) -> None:
        self._reader.close()


class Served:
    """A service that notes what it serves."""

    caught_up = False
    held: Version | None = None
    learner: LearnerState | None = None
    header: WeightsHeader | None = None

    def hand_over(self, header: WeightsHeader, weights: Weights) -> None:
        assert weights.digest() == header.digest
        self.header = header


class Processes:
    """Joiner and learner, one of which is killed now and then."""

    def __init__(self, folder: Path) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.stream.test_ten_retentions"])  # so that a restart takes less than a retention
        self._context, self._folder = context, folder
        self._works: list[Callable[[Path], None]] = [run_joiner, run_learner]
        self._running: dict[Callable[[Path], None], ForkServerProcess] = {work: self._start(work) for work in self._works}

    def kill_one(self) -> None:
        self._works.reverse()
        process = self._running[self._works[0]]
        assert process.exitcode is None
        process.kill()
        process.join()
        self._running[self._works[0]] = self._start(self._works[0])

    def close(self) -> None:
        assert [process.exitcode for process in self._running.values()] == [None, None]
        for process in self._running.values():
            process.kill()
            process.join()

    def _start(self, work: Callable[[Path], None]) -> ForkServerProcess:
        process = self._context.Process(target=work, args=(self._folder,), daemon=True)
        process.start()
        return process


def traffic(log: Log, number: int, chance: random.Random) -> dict[str, int]:
    """Send ten impressions, some of which are clicked, and something that can't be read; return their labels."""
    now = int(time.time() * 1000)
    labels = {f"i{number}-{n}": int(chance.random() < 0.3) for n in range(10)}
    features: dict[str, Feature] = {"user": chance.randrange(60), "item": chance.randrange(60), "price": 1.5}
    messages = [Message(TOPICS.impressions, name.encode(), encode(Impression(name, now, features))) for name in labels]
    messages += [Message(TOPICS.clicks, name.encode(), encode(Click(name, now + 1))) for name, label in labels.items() if label]
    log.append([*messages, Message(TOPICS.impressions, b"x", b"rubbish" * 20)])
    return labels


def learned_again(versions: list[Record], examples: list[Record]) -> tuple[list[int], str]:
    """Return the offsets of the examples in the order in which the versions say that they were learned, and the digest that this gives."""
    trainer = Trainer(OnlineModel(SPEC), RunningScores())
    offsets: list[int] = []
    at = {record.offset: record for record in examples}
    for version in map(decode_version, (record.value for record in versions)):
        for run in version.runs:
            offsets += [offset for offset in range(run.first, run.last + 1) if offset in at]
    for offset in offsets:
        trainer.learn([at[offset]])
    return offsets, trainer.model.digest()


@pytest.mark.timeout(300)
def test_ten_retentions_with_kills_lose_nothing_that_is_needed_and_the_file_levels_off(tmp_path: Path) -> None:
    assert least_retention(LogSettings(weights_retention=KEPT.weights), JOIN, LearnSettings(**LEARN)) < RETENTION
    served, stop, chance = Served(), threading.Event(), random.Random(0)
    expected: dict[str, int] = {}
    sizes: list[int] = []
    with ExitStack() as stack:
        log = stack.enter_context(SqliteLog(f"sqlite:///{tmp_path / 'log.db'}"))
        create(log, TOPICS, 1, kept=KEPT)
        examples, versions = (stack.enter_context(closing(Collector(log, topic))) for topic in (TOPICS.examples, TOPICS.versions))
        serving = threading.Thread(target=Follower(log, TOPICS, served, FollowerMetrics(CollectorRegistry())).run, args=(stop.is_set,))
        serving.start()
        stack.callback(serving.join)
        stack.callback(stop.set)
        start, next_kill = time.monotonic(), 5.0
        with closing(Processes(tmp_path)) as processes:
            while (elapsed := time.monotonic() - start) < SECONDS or (len(examples.records) < len(expected) and elapsed < 2 * SECONDS):
                if elapsed < SECONDS:
                    expected |= traffic(log, len(expected), chance)
                if len(sizes) < elapsed < SECONDS:
                    sizes.append(sum(path.stat().st_size for path in tmp_path.glob("log.db*")))
                if next_kill < elapsed < SECONDS:
                    processes.kill_one()
                    next_kill += 5.0
                examples.collect()
                versions.collect()
                time.sleep(0.05)
        last = learn_all(log, tmp_path, weights_retention=KEPT.weights)
        versions.collect()
        deadline = time.monotonic() + 30
        while (served.header is None or served.header.version < last.version) and time.monotonic() < deadline:
            time.sleep(0.05)
        bounds = {topic: log.bounds(topic)[0] for topic in (TOPICS.impressions, TOPICS.examples, TOPICS.versions, TOPICS.dead_letters)}

    joined = [decode_example(record.value) for record in examples.records]
    assert Counter(each.impression_id for each in joined) == Counter(expected.keys())
    assert {each.impression_id: each.label for each in joined} == expected
    offsets, digest = learned_again(versions.records, examples.records)
    assert sorted(offsets) == [record.offset for record in examples.records]
    assert (digest, last.examples) == (last.digest, len(expected))
    assert served.header is not None
    assert served.header.digest == last.digest
    assert all(found.first > 0.8 * found.end for found in bounds.values())
    assert max(sizes[len(sizes) // 2 :]) < 1.3 * max(sizes[: len(sizes) // 2])
