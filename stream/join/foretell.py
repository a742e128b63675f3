"""Foretell the memory of what waits in the joiner, by what its topics hold: how much comes in a second of event time, how large."""

from collections.abc import Iterator
from contextlib import suppress
from statistics import fmean
from sys import getsizeof
from typing import NamedTuple

from stream.inputs.decode import event_of
from stream.join.matching.waiting import OF_KNOWN, OF_RECORD, OF_WAITING, LateComer
from stream.log.contract import Bounds, Log
from stream.log.reading import read_all
from stream.log.topics import Topics
from stream.records.events import BadRecordError, Click, Impression
from stream.records.heartbeat import is_heartbeat
from stream.settings import JoinSettings

_SAMPLE = 200  # offsets at either end of a partition


class Flow(NamedTuple):
    """What comes in a topic."""

    events: float = 0.0  # in a second of event time
    waiting: float = 0.0  # bytes of memory while one waits, beside those that each takes
    id: float = 0.0  # bytes of memory of an id


def flow_of(log: Log, topics: Topics, topic: str, settings: JoinSettings) -> Flow:
    """Return what comes in one of the topics, by the first and the last records that each partition holds."""
    late = 1000 * (settings.click_window + settings.lateness)
    flows = [_of_partition(log, topics, topic, p, bounds, late) for p, bounds in log.bounds(topic).items()]
    events = sum(flow.events for flow in flows)
    if not events:
        return Flow()
    return Flow(events, *(sum(flow.events * flow[each] for flow in flows) / events for each in (1, 2)))


def foretold(impressions: Flow, clicks: Flow, settings: JoinSettings) -> float:
    """Return about how many bytes of memory the joiner comes to take for what waits, or may still matter to what comes."""
    decided = settings.click_window + settings.lateness  # after so many seconds
    extra = settings.click_window if settings.late_clicks == "learn" else 0.0
    waiting = impressions.events * (decided + extra) * (OF_WAITING + impressions.waiting)
    known = impressions.events * (2 * decided + extra) * (OF_KNOWN + impressions.id)
    return waiting + known + clicks.events * (decided + settings.lateness + extra) * (OF_RECORD + clicks.id)


def _of_partition(log: Log, topics: Topics, topic: str, partition: int, bounds: Bounds, late: float) -> Flow:
    start = bounds.newest(_SAMPLE)
    last = list(_events(log, topics, topic, partition, Bounds(start, bounds.end), late))
    first = list(_events(log, topics, topic, partition, Bounds(bounds.first, min(bounds.first + _SAMPLE, bounds.end)), late))
    if not last:
        return Flow()
    # A twentieth of either sample is left out: one wrong clock must not stretch the time.
    newest, oldest = (sorted(event.time for event, _ in events) for events in (last, first or last))
    at_end, at_begin = len(newest) // 20, len(oldest) // 20
    seconds = max(1.0, (newest[-1 - at_end] - oldest[at_begin]) / 1000)
    events = ((bounds.end - bounds.first) * len(last) / (bounds.end - start) - at_end - at_begin) / seconds
    return Flow(events, fmean(size for _, size in last), fmean(getsizeof(event.impression_id) for event, _ in last))


def _events(log: Log, topics: Topics, topic: str, partition: int, bounds: Bounds, late: float) -> Iterator[tuple[Impression | Click, int]]:
    """Yield impressions or clicks, each with the bytes that it takes while it waits."""
    for record in read_all(log, topic, {partition: bounds.first}, {partition: bounds.end}, batch=_SAMPLE):
        with suppress(BadRecordError):
            event = None if is_heartbeat(record) else event_of(record, topics)
            if isinstance(event, Impression | Click):
                beside = LateComer.of(record).memory if record.timestamp - event.time > late else 0
                yield event, len(record.json or b"") + beside
