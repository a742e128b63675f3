"""Measure the join on Flink: that it gives what ``sml join`` gives, whatever befalls it, and how fast it is.

    python -m benchmarks.scale.flink same       every oddity; a savepoint, 1 slot → 4, a TaskManager killed in mid-transaction
    python -m benchmarks.scale.flink speed      one slot and two, beside sml join

Both start a Kafka of their own, or take that of SML_TEST_KAFKA.
"""

import os
import signal
import sys
import tempfile
import time
import uuid
from collections import Counter
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

from benchmarks.scale.cluster import Cluster, wait_until
from service.commands.join_on_flink import JARS, build
from stream.log.connect import connect
from tests.helpers.flink_traffic import STEP, create, events, join, settled, write, write_settings
from tests.helpers.kafka_server import KafkaServer

PARTITIONS = 4
# Which process it is, by a word of its command, the first that fits.
KINDS = {
    "Kafka": b"kafka.Kafka",
    "tasks": b"join-task",
    "TaskManager": b"TaskManagerRunner",
    "JobManager": b"Standalone",
    "this process": b"",
}
OFFSET = "__connect.errors.offset"  # heartbeats of a job that runs lie between the records of its inputs


def rows(url: str, prefix: str) -> Counter[tuple[object, ...]]:
    """Return what was written, without the offsets of dead letters."""
    plain: Counter[tuple[object, ...]] = Counter()
    for row, count in settled(url, prefix).items():
        headers = row[-1]
        assert isinstance(headers, tuple)
        plain[*row[:-1], tuple(each for each in headers if each[0] != OFFSET)] += count
    return plain


def examples(url: str, prefix: str) -> int:
    """Return how many records the examples hold, transactions' markers included."""
    with connect(url) as log:
        return sum(bounds.end for bounds in log.bounds(f"{prefix}.examples").values())


def has(url: str, prefix: str, least: int) -> bool:
    """Return whether so many examples are there."""
    return examples(url, prefix) >= least


def same(url: str, folder: Path, count: int = 50_000) -> None:
    """Join the same records by both engines, Flink's stopped, rescaled and killed meanwhile, and compare every row."""
    alone, flink = (f"same-{name}-{uuid.uuid4().hex[:6]}" for name in ("sml", "flink"))
    create(url, [alone, flink], PARTITIONS)
    config, third = write_settings(folder, url, flink), count // 3
    begin = int(time.time() * 1000) - STEP * count - 60_000

    def write_third(number: int) -> None:
        write(url, [alone, flink], PARTITIONS, events(third, begin + number * (third * STEP + 5), seed=number))

    write_third(0)
    with Cluster(JARS, config, parallelism=1, managers=1, slots=1) as cluster:
        wait_until(lambda: examples(url, flink) > third // 4)
        write_third(1)
        savepoint = cluster.stop()
    print("stopped with a savepoint, rows so far:", rows(url, flink).total())
    with Cluster(JARS, config, parallelism=4, managers=2, slots=2, savepoint=savepoint) as cluster:
        wait_until(cluster.running)
        before = examples(url, flink)
        write_third(2)
        wait_until(lambda: examples(url, flink) > before)
        os.killpg(cluster.workers[0].pid, signal.SIGKILL)
        print("killed a TaskManager, rows so far:", rows(url, flink).total())
        cluster.workers.append(cluster.start_worker())
        join(write_settings(folder, url, alone))
        expected = rows(url, alone)
        wait_until(lambda: rows(url, flink).total() >= expected.total())
        time.sleep(5)
    found = rows(url, flink)
    kinds = Counter("dead letters" if row[0] == "dead" else "examples" for row in expected.elements())
    print(f"rows by sml join {expected.total():,} ({dict(kinds)}), by Flink {found.total():,}")
    print(f"lost {(expected - found).total()}, twice or other {(found - expected).total()}")


def processor_seconds() -> dict[str, float]:
    """Return the processor time so far of this process and its descendants, by what they are."""
    parents, found = {os.getpid(): 0}, dict.fromkeys(KINDS, 0.0)
    folders = sorted(Path("/proc").glob("[0-9]*"), key=lambda folder: int(folder.name))
    for folder in folders:
        with suppress(OSError):
            command = (folder / "cmdline").read_bytes()
            state = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            if int(folder.name) not in parents and int(state[1]) not in parents:
                continue
            parents[int(folder.name)] = int(state[1])
            kind = next(name for name, word in KINDS.items() if word in command)
            found[kind] += (int(state[11]) + int(state[12])) / os.sysconf("SC_CLK_TCK")
    return found


def microseconds(before: dict[str, float], events: float) -> str:
    """Say what an event took of each process since ``before``."""
    return ", ".join(f"{name} {1e6 * (now - before[name]) / events:.0f}" for name, now in processor_seconds().items())


def speed(url: str, folder: Path, count: int = 100_000) -> None:
    """Join a backlog by one slot, by two, and by ``sml join``; say what an event takes of each process, in µs of a processor's time."""
    names = {slots: f"speed-{slots}-{uuid.uuid4().hex[:6]}" for slots in (0, 1, 2)}
    create(url, list(names.values()), PARTITIONS)
    write(url, list(names.values()), PARTITIONS, events(count, int(time.time() * 1000) - STEP * count - 60_000))
    config, before, begin = write_settings(folder, url, names[0]), processor_seconds(), time.monotonic()
    join(config)
    took = time.monotonic() - begin
    print(f"sml join: {count / took:,.0f} events/s; µs an event: {microseconds(before, count)}")
    expected = rows(url, names[0]).total()
    letters = sum(1 for row in settled(url, names[0]).elements() if row[0] == "dead")
    for slots in (1, 2):
        name = names[slots]
        with Cluster(JARS, write_settings(folder, url, name), parallelism=slots, managers=1, slots=slots):
            wait_until(partial(has, url, name, 1))
            before, begin, first = processor_seconds(), time.monotonic(), examples(url, name)
            wait_until(partial(has, url, name, expected - letters))
            took, share = time.monotonic() - begin, 1 - first / (expected - letters)
            said = microseconds(before, share * count)
        print(
            f"Flink, {slots} slot(s): {share * count / took:,.0f} events/s, over the last {share:.0%} of the backlog; µs an event: {said}"
        )


def main() -> None:
    """Measure what is asked for."""
    build(JARS)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = os.environ.get("SML_TEST_KAFKA") or stack.enter_context(KafkaServer()).url
        {"same": same, "speed": speed}[sys.argv[1]](url, folder)


if __name__ == "__main__":
    main()
