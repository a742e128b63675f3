"""What an impression that waits for its label takes, and how fast records are joined; no log is read or written.

    python -m benchmarks.joining

Impressions of two and of twenty features, a fifth of them clicked. Memory is what Python counts; the time is the processor's, of decoding,
joining and encoding, medians of five.
"""

import statistics
import time
import tracemalloc
from collections.abc import Iterator

from stream.events import Click, Impression, decode_click, decode_impression, encode
from stream.join.input_state import ResumePoint
from stream.join.waiting import as_written
from stream.join.window import Join
from stream.log.contract import Record

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


def main() -> None:
    """Print a line for each number of features."""
    clicked = list(clicks())
    for features in (2, 20):
        shown = list(impressions(features))
        speed = statistics.median(joining(shown, clicked) for _ in range(REPEATS))
        print(f"{features} features: {waiting(features):.0f} bytes beside a record's own, {speed:,.0f} events a second", flush=True)


if __name__ == "__main__":
    main()
