"""What goes through a topic: how many records a second, and how large they are, by the first and the last of those that it holds."""

import math
from typing import NamedTuple

from stream.log.contract import Bounds, Log, Record, Retention
from stream.log.message import size_of
from stream.log.reading import read_all

_SAMPLE = 200  # offsets at the end of a partition
_OVERHEAD = 40  # bytes that a log takes for a record beside key, value and headers


class Load(NamedTuple):
    """What is written to a topic."""

    records: float  # a second
    bytes: float  # of a record, with what the log adds
    partitions: int

    def held_for(self, retention: Retention) -> float:
        """Return how many bytes a topic comes to hold at this load."""
        if not self.records:
            return 0.0
        by_time = math.inf if retention.seconds is None else self.records * self.bytes * retention.seconds
        return min(by_time, math.inf if retention.bytes is None else float(retention.bytes * self.partitions))


def measured(log: Log, topic: str) -> Load:
    """Measure what is written to ``topic``.

    Raises:
        UnknownTopicError: there is no such topic.
    """
    bounds = log.bounds(topic)
    loads = [_of_partition(log, topic, partition, found) for partition, found in bounds.items()]
    records = sum(rate for rate, _ in loads)
    return Load(records, sum(rate * size for rate, size in loads) / records if records else 0.0, len(bounds))


def _of_partition(log: Log, topic: str, partition: int, bounds: Bounds) -> tuple[float, float]:
    """Return the records a second and the bytes of one. Not every offset has a record: the ends of Kafka's transactions have none."""
    start = bounds.newest(_SAMPLE)
    last = _read(log, topic, partition, start, bounds.end)
    first = _read(log, topic, partition, bounds.first, min(bounds.first + _SAMPLE, bounds.end))
    if not first or not last:
        return 0.0, 0.0
    seconds = max(1.0, (last[-1].timestamp - first[0].timestamp) / 1000)
    share = len(last) / (bounds.end - start)
    return (bounds.end - bounds.first) * share / seconds, sum(map(size_of, last)) / len(last) + _OVERHEAD


def _read(log: Log, topic: str, partition: int, start: int, end: int) -> list[Record]:
    return list(read_all(log, topic, {partition: start}, {partition: end}, batch=_SAMPLE))
