"""Topics whose partitions are merged by event time, each record decoded as far as its turn depends on it.

A site's own topics, named in ``[input]``, are read beside ours: their records are mapped when their turn comes.
"""

import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from heapq import heapify, heappop, heapreplace
from typing import NamedTuple

from msgspec import Struct

from stream.inputs.decode import Event, event_of, observed_time
from stream.inputs.event_time import TimeRule
from stream.inputs.mapping import Mapper
from stream.inputs.settings import InputSettings
from stream.join.gaps import report_gap
from stream.join.progress import check_time, progress, read_progress
from stream.log.contract import Log, Progress, Record, TopicPartition, UnknownTopicError
from stream.log.message import MESSAGE_LIMIT, size_of
from stream.log.topics import JoinerError, Topics
from stream.records.events import BadRecordError

LARGEST = MESSAGE_LIMIT - 5_000  # bytes of a record, which leaves room for its id as the key and for the header

BATCH = 5_000  # records that are read, and copied, at once
PATIENCE = 1.0  # seconds to wait for a partition that is known to have records


class CopyPoint(Struct):
    """What is committed with a partition's offset."""

    seen: int = -1  # the largest event time or watermark before it; later records are older by ``lateness`` at most


def _check_points(topic: str, partitions: int, points: Mapping[int, CopyPoint], rule: TimeRule) -> None:
    """Refuse progress that would copy records twice, or let event time run ahead; partitions that were added later have none.

    Raises:
        JoinerError: a partition between others has none, or one has come further than the present.
    """
    if missing := [p for p in range(partitions) if p not in points and p < max(points, default=0)]:
        raise JoinerError(f"{topic}: there is no progress of partitions {missing}, but of later ones: expected both")
    for p, point in points.items():
        check_time(f"{topic} partition {p}", point.seen, rule)


class Pending(NamedTuple):
    """A record that was read, and waits for its turn."""

    record: Record
    event: Event | Mapper | BadRecordError  # a mapper: it is mapped when its turn comes, for its events may be large
    time: int  # how far it advances event time; -1: it has no time, or one that does not count


class Decoder:
    """Decodes the records of one topic: of ours, or of a site's own.

    Where a site's writers choose the timestamps, an event was appended at its record's, but not before its own time, nor after now.
    """

    def __init__(self, log: Log, topics: Topics, topic: str, inputs: InputSettings, rule: TimeRule) -> None:
        self._topics, self._rule = topics, rule
        self._mapper = Mapper(inputs, topic) if topic in inputs.topics else None
        try:
            self._appended = not self._mapper or log.append_times(topic)  # else the timestamps are its writers' own
        except UnknownTopicError as error:
            raise UnknownTopicError(f"topic {topic!r}, which [input] names, does not exist: expected one that your site writes") from error

    def pending(self, record: Record) -> Pending:
        """Decode a record, as far as its turn depends on it."""
        try:
            return self._mapped(record, self._mapper) if self._mapper else self._decoded(record)
        except BadRecordError as error:
            return Pending(record, error, -1)

    def _mapped(self, record: Record, mapper: Mapper) -> Pending:
        timed = mapper.time_of(record.json)
        if timed is None:
            return Pending(record, mapper, -1)
        event_time, pointer = timed
        if not self._appended:
            record = record._replace(timestamp=min(max(record.timestamp, event_time), int(time.time() * 1000)))
        self._rule.check(event_time, record.timestamp, pointer)
        return Pending(record, mapper, min(event_time, record.timestamp))

    def _decoded(self, record: Record) -> Pending:
        if size_of(record) > LARGEST:
            raise BadRecordError("record", f"{size_of(record)} bytes", f"at most {LARGEST} bytes")
        event = event_of(record, self._topics)
        if isinstance(event, str):
            return Pending(record, event, -1)
        try:
            return Pending(record, event, observed_time(event, record, self._rule))
        except BadRecordError:  # the joiner will set it aside
            return Pending(record, event, -1)


class MergedTopics:
    """Some of the topics, all their partitions merged by event time."""

    def __init__(self, log: Log, decoders: Mapping[str, Decoder], owner: str, rule: TimeRule, *, accept_gap: bool = False) -> None:
        """Go on from what ``owner`` last committed in the topics of the ``decoders``."""
        self.topics, self._log, self._decoders = tuple(decoders), log, decoders
        starts: dict[TopicPartition, int] = {}
        self.seen: dict[TopicPartition, int] = {}
        for topic in self.topics:
            known, bounds = log.progress(owner, topic), log.bounds(topic)
            points = {p: read_progress(f"{topic} partition {p}", known[p], bounds[p], CopyPoint) for p in bounds if p in known}
            _check_points(topic, len(bounds), points, rule)
            for p, (first, _) in bounds.items():
                start = known[p].offset if p in known else first
                if start < first:
                    gone = f"{topic} partition {p}: records {start} to {first - 1} were deleted before they were copied"
                    report_gap(gone, accept_gap=accept_gap)
                starts[topic, p] = max(start, first)
                self.seen[topic, p] = points[p].seen if p in points else -1
        self._pending: dict[TopicPartition, deque[Pending]] = {each: deque() for each in starts}
        self._unread: set[TopicPartition] = set()  # partitions of which there is more to read than what is pending
        self._share = max(1, BATCH // len(starts))  # records of a partition that are read at once
        with ExitStack() as stack:
            # One for each: what is far ahead of the others is not read before its turn, and takes no memory.
            self._readers = {each: stack.enter_context(closing(log.reader(each[0], {each[1]: at}))) for each, at in starts.items()}
            self.close = stack.pop_all().close

    def read(self) -> None:
        """Read until a record is pending of each partition that has one; a batch of all partitions at most."""
        empty = [each for each, queue in self._pending.items() if not queue]
        for each in empty:
            self._poll(each, 0)
        if not any(self._pending.values()) and not self._unread:
            return
        ends = self.ends()
        for each in empty:
            while not self._pending[each] and self._position(each) < ends[each] and self._poll(each, PATIENCE):
                pass
        self._unread = {each for each, queue in self._pending.items() if queue and self._position(each) < ends[each]}

    def take(self, limit: int) -> Iterator[Pending]:
        """Take pending records in the order of event time, until a partition that has more to read has none pending."""
        heads = [(self._event_time(each), each) for each, queue in self._pending.items() if queue]
        heapify(heads)
        while heads and limit:
            _, each = heads[0]
            pending = self._pending[each].popleft()
            self.seen[each] = max(self.seen[each], pending.time)
            limit -= 1
            yield pending
            if self._pending[each]:
                heapreplace(heads, (self._event_time(each), each))
            elif each in self._unread:
                return
            else:
                heappop(heads)

    def is_behind(self) -> bool:
        """Return whether there is more to take, as far as the last reading saw."""
        return bool(self._unread) or any(self._pending.values())

    def ends(self) -> dict[TopicPartition, int]:
        """Return the end of each partition, as it is now."""
        return {(topic, p): bounds.end for topic in self.topics for p, bounds in self._log.bounds(topic).items()}

    def offsets(self) -> dict[TopicPartition, int]:
        """Return the offset of each partition up to which all was taken."""
        return {each: queue[0].record.offset if queue else self._position(each) for each, queue in self._pending.items()}

    def progress(self) -> dict[TopicPartition, Progress]:
        """Return what to commit once all that was taken is copied."""
        return {each: progress(offset, CopyPoint(self.seen[each])) for each, offset in self.offsets().items()}

    def _event_time(self, partition: TopicPartition) -> int:
        """Return how far the partition's event time has come with its next record."""
        return max(self.seen[partition], self._pending[partition][0].time)

    def _position(self, partition: TopicPartition) -> int:
        return self._readers[partition].positions()[partition[1]]

    def _poll(self, partition: TopicPartition, wait: float) -> bool:
        records = self._readers[partition].poll(self._share, wait)
        self._pending[partition].extend(map(self._decoders[partition[0]].pending, records))
        return bool(records)
