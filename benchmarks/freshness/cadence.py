"""What versions cost, by how often they are published: bytes, and the processor time of learner, broker and a server.

    python -m benchmarks.freshness.cadence [--log kafka://localhost:9092 --broker PID]

Time is made up: so many examples arrive in a second of it, and a version is due after so many of its milliseconds. What is measured is
the processor time that a second takes, so that other work on the machine changes little.
"""

import argparse
import os
import secrets
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple, cast
from unittest.mock import patch

from prometheus_client import CollectorRegistry

from benchmarks.freshness.arriving import Arriving
from service.bench.site import appends, prepared
from stream.inputs.event_time import TimeRule
from stream.learn.learner import Learner
from stream.learn.metrics import LearnerMetrics
from stream.log.connect import connect
from stream.log.contract import Log, Record
from stream.log.topics import DELTAS, SNAPSHOTS, Topics, create
from stream.settings import LearnSettings
from stream.weights.chunks import Assembler, assemble_snapshot, unpack
from stream.weights.double_buffer import DoubleBuffer

RATES = {100: 10.0, 2_000: 3.0, 20_000: 1.0}  # examples a second, the last about full speed; how many seconds count
INTERVALS = (0.1, 0.05)  # seconds between two versions
ROUNDS = 2  # of each interval, in turn


class Cost(NamedTuple):
    """What a second takes: versions, kB of deltas, and ms of processor time."""

    versions: float
    kilobytes: float
    learner: float
    broker: float
    server: float


class Look(NamedTuple):
    """What was done so far."""

    now: float
    versions: float
    end: int  # of the deltas
    learner: float  # ms of processor time
    broker: float


class Steady(Arriving):
    """Examples arrive at a rate, by a clock that runs as they are asked for.

    Args:
        log: The log of everything else.
        topics: The model's topics.
        values: The examples, over and over.
        rate: Examples a second.
    """

    def __init__(self, log: Log, topics: Topics, values: list[bytes], rate: float) -> None:
        super().__init__(log, topics)
        self._values, self.rate, self.now = values, rate, 0.0
        self._epoch = time.time()

    def release(self, topic: str, start: dict[int, int]) -> None:
        """Keep all."""

    def poll(self, most: int, _: float) -> list[Record]:
        """Return the examples of the next hundredth of a second, as a site's clients append them."""
        self.now += 0.01
        first, self._read = self._read, min(self._read + most, int(self.now * self.rate))
        stamp = int(1000 * (self._epoch + self.now))
        values = ((n, self._values[n % len(self._values)]) for n in range(first, self._read))
        return [Record(self._topics.examples, 0, n, stamp, None, value) for n, value in values]


@contextmanager
def clock(arriving: Steady) -> Iterator[None]:
    """Let the publisher read the time by which examples arrive."""
    with ExitStack() as stack:
        stack.enter_context(patch("model.guard.guard.Guard.judge", lambda *_: {}))  # examples that come again look like poison
        made_up = SimpleNamespace(time=time.time, monotonic=lambda: arriving.now)
        stack.enter_context(patch("stream.learn.publish.time", made_up))
        yield


def measure(url: str, broker: int | None, rate: int, every: float) -> Cost:
    """Learn at a rate, then follow what was published."""
    topics = Topics(f"cadence-{secrets.token_hex(4)}")
    with tempfile.TemporaryDirectory() as name, connect(url.format(folder=name)) as log:
        create(log, topics, 1)
        values = [each.value or b"" for _, messages in islice(appends(topics, rate), 400) for each in messages]
        arriving, registry, looks = Steady(log, topics, values, rate), CollectorRegistry(), list[Look]()
        settings = LearnSettings(directory=f"{name}/checkpoints", publish_every=every, checkpoint_every=3600.0, snapshot_every=3600.0)

        def look() -> None:
            versions = registry.get_sample_value("sml_learner_versions_total") or 0.0
            end = log.bounds(topics.weights)[DELTAS].end
            looks.append(Look(arriving.now, versions, end, 1e3 * time.process_time(), 1e3 * _taken(broker)))

        def should_stop() -> bool:
            if arriving.now >= 1.0 and not looks:
                look()
            return arriving.now >= 1.0 + RATES[rate]

        with clock(arriving):
            spec = prepared(Path(name)).settings.spec
            Learner(cast("Log", arriving), topics, spec, settings, LearnerMetrics(registry), times=TimeRule(60_000)).run(should_stop)
            look()
        first, last = looks
        lasted = last.now - first.now
        server, size = followed(log, topics, first.end, last.end)
        versions, learner, broker_took = (getattr(last, each) - getattr(first, each) for each in ("versions", "learner", "broker"))
        return Cost(versions / lasted, versions * size / lasted, learner / lasted, broker_took / lasted, versions * server / lasted)


def followed(log: Log, topics: Topics, first: int, end: int) -> tuple[float, float]:
    """Return the ms that a server takes for a delta, one after another, and the kB of one."""
    with closing(log.reader(topics.weights, {SNAPSHOTS: 0})) as reader:
        records = reader.poll(10_000, 5.0)
    buffer = DoubleBuffer.of_snapshot(assemble_snapshot([each for each in records if each.key == records[0].key]))
    assembler, took, sizes = Assembler(buffer.most_chunks()), list[float](), list[int]()
    with closing(log.reader(topics.weights, {DELTAS: 0})) as reader:
        while (at := reader.positions()[DELTAS]) < end:
            begun = time.process_time()
            deltas = assembler.add(reader.poll(1, 5.0))
            buffer.apply(map(unpack, deltas))
            buffer.hand_over(lambda *_: None)
            if at >= first and deltas:
                took.append(time.process_time() - begun)
                sizes += map(len, deltas)
    return 1e3 * statistics.mean(took), statistics.mean(sizes) / 1e3


def _taken(process: int | None) -> float:
    """Return the processor time that a process has taken so far, in seconds."""
    if process is None:
        return 0.0
    user, system = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Print a line for each rate and interval, medians of rounds in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", default="sqlite:///{folder}/log.db")
    parser.add_argument("--broker", type=int, help="the process id of Kafka")
    options = parser.parse_args()
    measure(options.log, options.broker, 20_000, 0.1)  # loads the kernels
    print("| examples/s | interval, ms | versions/s | kB/s | learner, ms/s | broker, ms/s | a server, ms/s |")
    for rate in RATES:
        costs = [[measure(options.log, options.broker, rate, every) for every in INTERVALS] for _ in range(ROUNDS)]
        for every, of_one in zip(INTERVALS, zip(*costs, strict=True), strict=True):
            print(
                "|", rate, "|", 1000 * every, "|", *(f"{statistics.median(each):.1f} |" for each in zip(*of_one, strict=True)), flush=True
            )


if __name__ == "__main__":
    main()
