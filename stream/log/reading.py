"""What every process that reads the log does: read a topic up to an end, and wait unless it is told to stop."""

import math
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing

from stream.log.contract import Log, LogUnavailableError, Record

_BATCH = 1_000  # records in one poll
_PATIENCE = 1.0  # seconds that a poll waits for records that are known to be there
_STOP_CHECK = 0.05  # seconds


def read_all(
    log: Log,
    topic: str,
    start: Mapping[int, int] | None = None,
    end: Mapping[int, int] | None = None,
    *,
    batch: int = _BATCH,
    timeout: float = math.inf,
) -> Generator[Record]:
    """Yield the records of ``topic`` from ``start`` up to ``end``, each partition in order.

    Args:
        log: The log that holds the topic.
        topic: The topic to read.
        start: The first offset to read of each partition; None: all that the topic holds. Only these partitions are read.
        end: The offset up to which each partition is read, not included; None: what is the end when reading begins.
        batch: How many records to poll at once.
        timeout: How many seconds reading may take.

    Raises:
        OffsetGoneError: retention has deleted the next record.
        LogUnavailableError: the log can't be reached, or did not return all within ``timeout``.
    """
    deadline = time.monotonic() + timeout
    if start is None or end is None:
        bounds = log.bounds(topic)
        start = {p: found.first for p, found in bounds.items()} if start is None else start
        end = {p: found.end for p, found in bounds.items()} if end is None else end
    with closing(log.reader(topic, start)) as reader:
        while any(position < end[p] for p, position in reader.positions().items()):
            if time.monotonic() > deadline:
                raise LogUnavailableError(f"could not read {topic!r} to its end within {timeout:g} seconds")
            for record in reader.poll(batch, _PATIENCE):
                if record.offset < end[record.partition]:
                    yield record


def sleep_unless(should_stop: Callable[[], bool], seconds: float) -> None:
    """Sleep for ``seconds``, or until told to stop."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not should_stop():
        time.sleep(_STOP_CHECK)
