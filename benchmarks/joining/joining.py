"""What an impression that waits for its label takes, and how fast records are joined.

    python -m benchmarks.joining.joining [--millions 10]

Impressions of two and of twenty features, a fifth of them clicked. Memory is what Python counts; the time is the processor's, medians of
five: of decoding, joining and encoding, and of a whole joiner, from an SQLite log to its examples there. With ``--millions``, so many
wait, in a process of their own: its memory, and what `sml doctor` foretells.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator

from prometheus_client import CollectorRegistry

from benchmarks.learning.memory import resident_bytes
from stream.join.foretell import Flow, foretold
from stream.join.joiner import Joiner
from stream.join.matching.input_state import ResumePoint
from stream.join.matching.waiting import OF_KNOWN, as_written
from stream.join.matching.window import Join
from stream.join.metrics import JoinerMetrics
from stream.log.contract import Message, Record
from stream.log.sqlite.log import SqliteLog
from stream.log.topics import Topics, create
from stream.records.events import Click, Impression, decode_click, decode_impression, encode
from stream.settings import JoinSettings

COUNT, WINDOW, CLICKED, REPEATS = 20_000, 600_000, 5, 5
START = 1_000_000


def impressions(features: int) -> Iterator[Record]:
    """Yield impressions, a millisecond apart."""
    for n in range(COUNT):
        shown = Impression(f"impression-{n:09}", START + n, {f"feature_{f}": f"value {n}" for f in range(features)})
        yield Record("impressions", 0, START + n, shown.time, None, bytes(bytearray(encode(shown))))  # as a log returns them: no longer


def clicks() -> Iterator[Record]:
    """Yield the clicks, a second after their impressions."""
    for offset, n in enumerate(range(0, COUNT, CLICKED)):
        click = Click(f"impression-{n:09}", START + n + 1_000)
        yield Record("clicks", 0, offset, click.time, None, encode(click))


def waiting(features: int) -> float:
    """Return how many bytes an impression takes beside those that it came as."""
    join, own = Join(WINDOW, 60_000, ResumePoint(0), ResumePoint(0)), 0
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for record in impressions(features):
        join.add_impression(record, decode_impression(record.value), record.timestamp)
        own += len(record.value or b"")
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return (taken - own) / COUNT


def joining(shown: list[Record], clicked: list[Record]) -> float:
    """Return how many events are joined in a second of processor time."""
    join, begin = Join(5_000, 1_000, ResumePoint(0), ResumePoint(0)), time.thread_time()
    for n, record in enumerate(shown):
        join.add_impression(record, decode_impression(record.value), record.timestamp)
        if n % CLICKED == 0:
            click = clicked[n // CLICKED]
            join.add_click(click, decode_click(click.value), click.timestamp)
        if n % 500 == 0:
            for example in join.take_ready(10_000):
                encode(as_written(example))
    return (len(shown) + len(clicked)) / (time.thread_time() - begin)


def through_a_joiner(shown: list[Record], clicked: list[Record]) -> float:
    """Return how many events go through a joiner in a second of the process's time, from a log to the examples there."""
    topics, ends = Topics("t"), [Message(f"t.{name}", None, b'{"watermark": 2000000}', partition=0) for name in ("impressions", "clicks")]
    with tempfile.TemporaryDirectory() as folder, SqliteLog(f"sqlite:///{folder}/log.db") as log:
        create(log, topics, 1)
        for topic, records in ((topics.impressions, shown), (topics.clicks, clicked)):
            log.append([Message(topic, b"", each.value) for each in records])
        log.append(ends)
        joiner = Joiner(log, topics, JoinSettings(click_window=5, lateness=1), JoinerMetrics(CollectorRegistry()))
        begin = time.process_time()
        joiner.run(lambda: False, until_caught_up=True)
        seconds = time.process_time() - begin
        assert log.bounds(topics.examples)[0].end == len(shown)
    return (len(shown) + len(clicked)) / seconds


def millions(count: int) -> None:
    """Let so many millions of impressions wait, ten thousand a second; print what they take, and what was foretold."""
    join, own = Join(100 * count * 1_000, 0, ResumePoint(0), ResumePoint(0)), 0
    settings = JoinSettings(click_window=100 * count, lateness=0)
    before = resident_bytes(os.getpid())
    for n in range(10**6 * count):
        shown = Impression(f"impression-{n:09}", START + n // 10, {f"feature_{f}": f"value {n}" for f in range(2)})
        value = bytes(bytearray(encode(shown)))
        join.add_impression(Record("impressions", 0, n, shown.time, None, value), shown, shown.time)
        own += len(value)
    taken, waits = resident_bytes(os.getpid()) - before, 10**6 * count
    flow = Flow(10_000, own / waits, sys.getsizeof(shown.impression_id))
    said = foretold(flow, Flow(), settings) - waits * (OF_KNOWN + flow.id)  # none is settled yet
    print(f"{waits:,} wait: {taken / 1e9:.2f} GB, {(taken - own) / waits:.0f} bytes beside a record's own; foretold {said / 1e9:.2f} GB")


def main() -> None:
    """Print a line for each number of features."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=int)
    options = parser.parse_args()
    if options.millions:
        millions(options.millions)
        return
    clicked = list(clicks())
    for features in (2, 20):
        shown = list(impressions(features))
        speed = statistics.median(joining(shown, clicked) for _ in range(REPEATS))
        whole = statistics.median(through_a_joiner(shown, clicked) for _ in range(REPEATS))
        beside = f"{waiting(features):.0f} bytes beside a record's own"
        print(f"{features} features: {beside}, {speed:,.0f} events a second, {whole:,.0f} with log", flush=True)


if __name__ == "__main__":
    main()
