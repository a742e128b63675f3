"""Many followers of one learner on a real Kafka: how late the last of them serves each version, and whose processor time that takes.

    python -m benchmarks.scale.followers [--followers 1 10 25 50] [--readers 0 49]

A follower is the server's own, in a process of its own. On a few cores many of them wait for a processor, so beside a sample of them there
can be readers, which fetch as much and drop it: then it is the broker alone that works for all. Times are from when a version was packed.
"""

import argparse
import os
import time
from bisect import bisect_left
from itertools import product
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Event, Semaphore
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, TypeAlias

import numpy as np
from confluent_kafka import OFFSET_END, Consumer, TopicPartition
from prometheus_client import CollectorRegistry

from model.weights import Weights
from service.bench.site import Site, prepared, stream
from service.up.children import Children
from stream.log.connect import connect
from stream.log.reading import read_all
from stream.log.topics import DELTAS, Topics
from stream.records.version import LearnerState, Version, decode_version
from stream.weights.chunks import WeightsHeader
from stream.weights.follow import Follower
from stream.weights.metrics import FollowerMetrics
from tests.helpers.kafka_server import KafkaServer

SETTLE = 5.0  # seconds from when all followers serve something to the first version that counts
AT_LAST = 3.0  # seconds for the last of them
CAPACITY = 131_072  # rows
_TICK = os.sysconf("SC_CLK_TCK")  # of the processor's time in /proc, a second


Found: TypeAlias = "SimpleQueue[list[tuple[int, float]]]"  # versions served, or bytes read; and when, in seconds since the epoch


class Served:
    """A service that notes which version it was handed when."""

    def __init__(self, ready: Semaphore) -> None:
        self._ready = ready  # released once there is one
        self.caught_up = False
        self.held: Version | None = None
        self.learner: LearnerState | None = None
        self.versions: list[tuple[int, float]] = []

    def hand_over(self, header: WeightsHeader, _: Weights) -> None:
        """Take note of it."""
        if not self.versions:
            self._ready.release()
        self.versions.append((header.version, time.time()))


def follow(url: str, prefix: str, stop: Event, ready: Semaphore, found: Found) -> None:
    """Follow until told to stop."""
    served = Served(ready)
    with connect(url) as log:
        Follower(log, Topics(prefix), served, FollowerMetrics(CollectorRegistry())).run(stop.is_set)
    found.put(served.versions)


def drain(url: str, prefix: str, stop: Event, count: int, found: Found) -> None:
    """Read the deltas ``count`` times, each time as a client of its own, and drop them; tell how many bytes came when."""
    settings = {"bootstrap.servers": url.removeprefix("kafka://"), "group.id": "drain", "isolation.level": "read_committed"}
    consumers = [Consumer({**settings, "enable.auto.commit": False}) for _ in range(count)]
    for each in consumers:
        each.assign([TopicPartition(Topics(prefix).weights, DELTAS, OFFSET_END)])
    read = []
    while not stop.is_set():
        read.append((sum(len(message.value() or b"") for each in consumers for message in each.consume(64, 0.0)), time.time()))
        time.sleep(0.02)
    found.put(read)


class Round(NamedTuple):
    """What was measured with so many followers."""

    begin: float  # of what counts, in seconds since the epoch
    end: float
    used: dict[str, float]  # cores: of the broker, the learner, all followers, all readers
    busy: float  # cores, of the whole machine
    served: list[list[tuple[int, float]]]  # by each follower
    read: int  # bytes, by all readers


def measure(site: Site, pids: dict[str, int], followers: int, readers: int, seconds: float) -> Round:
    """Let so many follow and so many read for a while."""
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    stop, ready = context.Event(), context.Semaphore(0)
    found, drained = context.SimpleQueue(), context.SimpleQueue()
    where = site.settings.log.url, site.topics.prefix, stop
    following = [context.Process(target=follow, args=(*where, ready, found)) for _ in range(followers)]
    reading = [context.Process(target=drain, args=(*where, readers, drained))] if readers else []
    for each in (*following, *reading):
        each.start()
    of = {name: [pid] for name, pid in pids.items()}
    of |= {name: [each.pid or 0 for each in some] for name, some in {"followers": following, "readers": reading}.items()}
    for _ in following:
        ready.acquire()
    time.sleep(SETTLE)
    begin, before, was = time.time(), {name: sum(map(_seconds, some)) for name, some in of.items()}, _busy()
    time.sleep(seconds)
    end, used, busy = time.time(), {name: sum(map(_seconds, some)) - before[name] for name, some in of.items()}, _busy() - was
    time.sleep(AT_LAST)
    stop.set()
    served, read = [found.get() for _ in following], sum(size for _ in reading for size, at in drained.get() if begin <= at < end)
    for each in (*following, *reading):
        each.join()
    return Round(begin, end, {name: spent / (end - begin) for name, spent in used.items()}, busy / (end - begin), served, read)


def lags(found: Round, packed: dict[int, float]) -> tuple[list[float], list[float]]:
    """Return how long after a version was packed the first follower served it, or a later one, and the last; seconds."""
    counted = [version for version, at in packed.items() if found.begin <= at < found.end]
    waits = []  # of each follower, of each version
    for served in found.served:
        versions, times = [version for version, _ in served], [*(at for _, at in served), np.inf]
        waits.append([times[bisect_left(versions, version)] - packed[version] for version in counted])
    return list(np.min(waits, 0)), list(np.max(waits, 0))


class Written(NamedTuple):
    """What the log holds; times are seconds since the epoch."""

    packed: dict[int, float]  # of each version that servers are given
    examples: list[tuple[float, int]]  # learned by then
    chunks: list[tuple[float, int]]  # the bytes of each part of a delta


def written(site: Site) -> Written:
    """Read what the learner has written."""
    with connect(site.settings.log.url) as log:
        versions = [decode_version(record.value) for record in read_all(log, site.topics.versions)]
        chunks = [record for record in read_all(log, site.topics.weights) if record.partition == DELTAS]
    return Written(
        {version.version: version.published_at / 1000 for version in versions if not version.held},
        [(version.published_at / 1000, version.examples) for version in versions],
        [(record.timestamp / 1000, len(record.value or b"")) for record in chunks],
    )


def report(found: Round, log: Written, followers: int, readers: int) -> None:
    """Print a line of the table."""
    first, last = lags(found, log.packed)
    seconds = found.end - found.begin
    learned = [examples for at, examples in log.examples if found.begin <= at < found.end]
    size = sum(size for at, size in log.chunks if found.begin <= at < found.end)
    late = " / ".join(f"{1e3 * value:.0f}" for value in np.quantile(last, [0.5, 0.95, 1.0]))
    cores = " | ".join(f"{found.used[name]:.2f}" for name in ("broker", "learner", "followers", "readers"))
    each = 1e3 * found.used["followers"] / followers / (len(last) / seconds)
    print(
        f"| {followers} | {readers} | {(learned[-1] - learned[0]) / seconds:,.0f} | {len(last) / seconds:.1f} | {size / len(last):,.0f} "
        f"| {(followers * size + found.read) / seconds / 1e6:.0f} | {cores} | {found.busy:.2f} | {each:.1f} "
        f"| {1e3 * float(np.median(first)):.0f} | {late} |",
        flush=True,
    )


def main() -> None:
    """Print a line for each number of followers and of readers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--followers", type=int, nargs="+", default=[1, 10, 25, 50])
    parser.add_argument("--readers", type=int, nargs="+", default=[0], help="of each number of followers")
    parser.add_argument("--rate", type=float, default=2_000.0, help="examples a second")
    parser.add_argument("--seconds", type=float, default=20.0)
    asked = parser.parse_args()
    os.environ |= {"SML_TABLE__CAPACITY": f"{CAPACITY}"}
    print(
        "| followers | readers | examples/s | versions/s | bytes of one | sent, MB/s | broker, cores | learner | followers | readers | all "
        "| ms a version of a follower | served by the first, ms | by the last: p50 / p95 / max |"
    )
    with TemporaryDirectory() as folder, KafkaServer() as kafka:
        site = prepared(Path(folder), kafka.url)
        with Children(site.config, Path(folder) / "logs") as children, stream(site, asked.rate):
            children.start("learn")
            while not written(site).packed:
                time.sleep(0.5)
            pids = {name: _child(command) for name, command in {"broker": "kafka.Kafka", "learner": "learn"}.items()}
            for counts in product(asked.followers, asked.readers):
                children.check()
                report(measure(site, pids, *counts, asked.seconds), written(site), *counts)


def _child(word: str) -> int:
    """Return the child of this process that has ``word`` in its command line."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return next(int(child) for child in children if word.encode() in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0"))


def _seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def _busy() -> float:
    """Return the processor time that the whole machine has used."""
    user, nice, system, _idle, _wait, *rest = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + sum(rest[:3])) / _TICK


if __name__ == "__main__":
    main()
