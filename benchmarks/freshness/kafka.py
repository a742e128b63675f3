"""What Kafka's clients cost: a record that is appended, a transaction, and what a reader's caller misses while it works.

python -m benchmarks.freshness.kafka --log kafka://localhost:9092
"""

import argparse
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import closing

import numpy as np

from service.bench.site import paced
from stream.log.connect import connect
from stream.log.contract import Log, Message, Progress
from stream.log.topics import Topics, create

_BYTES = 350  # of a record's value
_APPENDED, _ROUNDS = 4_000, 10  # records at once, and how often
_COMMITTED, _COMMITS = 30, 200  # the joiner's, at 2,000 a second
_TICK, _OF_TICK = 0.01, 16  # seconds between two appends of the stream that is read, and its records
_WORK = 0.015  # seconds that the reader's caller works between two polls: about a commit
_READING = 20.0  # seconds


def main() -> None:
    """Print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--log", default="kafka://localhost:9092")
    asked = parser.parse_args()
    topics = Topics(f"bench-{secrets.token_hex(4)}")
    with connect(asked.log) as log:
        create(log, topics, 1)
        messages = [Message(topics.examples, b"%d" % n, secrets.token_hex(_BYTES // 2).encode()) for n in range(_APPENDED)]
        _append(log, messages)
        _commit(log, topics, messages[:_COMMITTED])
        _read(log, topics)


def _append(log: Log, messages: list[Message]) -> None:
    log.append(messages)
    costs = []
    for _ in range(_ROUNDS):
        start = time.process_time()
        log.append(messages)
        costs.append(1e6 * (time.process_time() - start) / len(messages))
    print(f"append: {np.median(costs):.1f} µs of processor time a record, {_APPENDED:,} at once")


def _commit(log: Log, topics: Topics, messages: list[Message]) -> None:
    progress = {(topic, 0): Progress(1, "x" * 200) for topic in (topics.impressions, topics.clicks)}
    with closing(log.writer(f"{topics.prefix}.owner")) as writer:
        writer.commit(messages, progress)
        took, start = [], time.process_time()
        for _ in range(_COMMITS):
            begun = time.perf_counter()
            writer.commit(messages, progress)
            took.append(1e3 * (time.perf_counter() - begun))
        cost = 1e3 * (time.process_time() - start) / _COMMITS
    print(f"commit: {_quantiles(took)}; {cost:.1f} ms of processor time; {_COMMITTED} records, one right after another")


def _read(log: Log, topics: Topics) -> None:
    stop = threading.Event()
    writing = threading.Thread(target=_write, args=(log, topics.impressions, stop.is_set))
    with closing(log.reader(topics.impressions, {0: 0})) as reader:
        reader.poll(1, 0.0)
        writing.start()
        ages: list[float] = []
        until = time.monotonic() + _READING
        while time.monotonic() < until:
            records, now = reader.poll(5_000, 0.02), time.time()
            ages += [1e3 * now - record.timestamp for record in records]
            time.sleep(_WORK)
        stop.set()
        writing.join()
    print(f"read: {_quantiles(ages)} from a record's append to its poll; the caller works for {1e3 * _WORK:.0f} ms between two polls")


def _write(log: Log, topic: str, should_stop: Callable[[], bool]) -> None:
    messages = [Message(topic, b"key", secrets.token_hex(_BYTES // 2).encode())] * _OF_TICK
    for _ in paced((_TICK * n, None) for n in range(1_000_000)):
        if should_stop():
            return
        log.append(messages)


def _quantiles(values: list[float]) -> str:
    p50, p95 = np.quantile(values, [0.5, 0.95])
    return f"p50 {p50:.1f}, p95 {p95:.1f} ms"


if __name__ == "__main__":
    main()
