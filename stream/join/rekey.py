"""Re-keying: impressions and clicks are copied to the partitions of their impression ids, and the copies are joined.

So the originals may have any keys and any partitions, as in Kafka Streams' repartitioning. It rests on three facts:

1. copies, dead letters and how far each partition was copied are one transaction: each record is copied once, whatever is killed;
2. partitions that have records to read are merged by event time: one that is far ahead would make the others late;
3. a copy has the append time of its original, and a watermark is passed on only as far as every partition has come.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from heapq import heapify, heappop, heapreplace
from typing import NamedTuple

from msgspec import Struct

from stream.dead_letters import dead_letter
from stream.event_time import TimeRule
from stream.events import BadRecordError, Watermark, encode
from stream.inputs import Event, event_of, id_of, input_topics, observed_time
from stream.join.gaps import report_gap
from stream.join.metrics import JoinerMetrics
from stream.join.progress import check_time, progress, read_progress
from stream.log.contract import Log, Message, Progress, Record, TopicPartition, Writer
from stream.log.message import MESSAGE_LIMIT, partition_of, size_of
from stream.log.topics import JoinerError, Topics
from stream.settings import JoinSettings

APPENDED = "sml.append-time"  # the header of a copy: when the log took the original, epoch ms
DIGITS = 20  # more are no time, and past some thousands no number to Python
LARGEST = MESSAGE_LIMIT - 5_000  # bytes of a record, which leaves room for its id as the key and for the header

BATCH = 5_000  # records of a topic that are read, and copied, at once
PATIENCE = 1.0  # seconds to wait for a partition that is known to have records, and between measurements
PAUSE = 0.02  # seconds between polls when there was nothing to copy
REFRESH = 3_600.0  # seconds; Kafka forgets progress that is not committed again within days


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
    event: Event | BadRecordError
    time: int  # how far it advances event time; -1: it has no time, or one that does not count


class MergedTopic:
    """One of the two topics, its partitions merged by event time."""

    def __init__(self, log: Log, topics: Topics, topic: str, owner: str, rule: TimeRule, *, accept_gap: bool = False) -> None:
        """Go on from what ``owner`` last committed."""
        self.topic, self._log, self._topics, self._rule = topic, log, topics, rule
        known = log.progress(owner, topic)
        bounds = log.bounds(topic)
        starts = {p: known[p].offset if p in known else bounds[p].first for p in bounds}
        points = {p: read_progress(f"{topic} partition {p}", known[p], bounds[p], CopyPoint) for p in bounds if p in known}
        _check_points(topic, len(bounds), points, rule)
        for p, start in starts.items():
            if start < (first := bounds[p].first):
                report_gap(
                    f"{topic} partition {p}: records {start} to {first - 1} were deleted before they were copied", accept_gap=accept_gap
                )
                starts[p] = first
        self.seen = {p: points[p].seen if p in points else -1 for p in bounds}
        self._pending: dict[int, deque[Pending]] = {p: deque() for p in bounds}
        self._unread: set[int] = set()  # partitions of which there is more to read than what is pending
        self._share = max(1, BATCH // len(bounds))  # records of a partition that are read at once
        with ExitStack() as stack:
            # One for each: what is far ahead of the others is not read before its turn, and takes no memory.
            self._readers = {p: stack.enter_context(closing(log.reader(topic, {p: start}))) for p, start in starts.items()}
            self.close = stack.pop_all().close

    def read(self) -> None:
        """Read until a record is pending of each partition that has one; a batch of all partitions at most."""
        empty = [p for p, queue in self._pending.items() if not queue]
        for p in empty:
            self._poll(p, 0)
        if not any(self._pending.values()) and not self._unread:
            return
        ends = {p: bounds.end for p, bounds in self._log.bounds(self.topic).items()}
        for p in empty:
            while not self._pending[p] and self._position(p) < ends[p] and self._poll(p, PATIENCE):
                pass
        self._unread = {p for p, queue in self._pending.items() if queue and self._position(p) < ends[p]}

    def take(self, limit: int) -> Iterator[Pending]:
        """Take pending records in the order of event time, until a partition that has more to read has none pending."""
        heads = [(self._event_time(p), p) for p, queue in self._pending.items() if queue]
        heapify(heads)
        while heads and limit:
            _, p = heads[0]
            pending = self._pending[p].popleft()
            self.seen[p] = max(self.seen[p], pending.time)
            limit -= 1
            yield pending
            if self._pending[p]:
                heapreplace(heads, (self._event_time(p), p))
            elif p in self._unread:
                return
            else:
                heappop(heads)

    def is_behind(self) -> bool:
        """Say whether there is more to take, as far as the last reading saw."""
        return bool(self._unread) or any(self._pending.values())

    def offsets(self) -> dict[int, int]:
        """Return the offset of each partition up to which all was taken."""
        return {p: queue[0].record.offset if queue else self._position(p) for p, queue in self._pending.items()}

    def progress(self) -> dict[TopicPartition, Progress]:
        """Return what to commit once all that was taken is copied."""
        return {(self.topic, p): progress(offset, CopyPoint(self.seen[p])) for p, offset in self.offsets().items()}

    def _event_time(self, partition: int) -> int:
        """Return how far the partition's event time has come with its next record."""
        return max(self.seen[partition], self._pending[partition][0].time)

    def _position(self, partition: int) -> int:
        return self._readers[partition].positions()[partition]

    def _poll(self, partition: int, wait: float) -> bool:
        records = self._readers[partition].poll(self._share, wait)
        self._pending[partition].extend(map(self._decode, records))
        return bool(records)

    def _decode(self, record: Record) -> Pending:
        try:
            event = self._event(record)
        except BadRecordError as error:
            return Pending(record, error, -1)
        if isinstance(event, str):
            return Pending(record, event, -1)
        try:
            return Pending(record, event, observed_time(event, record, self._rule))
        except BadRecordError:  # the joiner will set it aside
            return Pending(record, event, -1)

    def _event(self, record: Record) -> Event:
        if size_of(record) > LARGEST:
            raise BadRecordError("record", f"{size_of(record)} bytes", f"at most {LARGEST} bytes")
        return event_of(record, self._topics)


class Rekeyer:
    """Copies both topics, for the one joiner of a model."""

    def __init__(
        self, log: Log, topics: Topics, settings: JoinSettings, metrics: JoinerMetrics, writer: Writer, *, accept_gap: bool = False
    ) -> None:
        """Go on from the last commit.

        Raises:
            JoinerError: the log does not fit the progress.
        """
        self._log, self._topics, self._metrics, self._writer = log, topics._replace(by_id=False), metrics, writer
        self._copies = topics._replace(by_id=True)
        self._partitions = len(log.bounds(self._copies.impressions))
        self._forwarded: dict[str, int] = {}  # topic → the latest watermark that was passed on
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._committed_at = self._measured_at = -REFRESH
        owner = rekeyer_of(topics)
        with ExitStack() as stack:
            self._originals = []
            for topic, copy in zip(input_topics(self._topics), input_topics(self._copies), strict=True):
                if not log.progress(owner, topic) and any(bounds.end for bounds in log.bounds(copy).values()):
                    raise JoinerError(f"{copy!r} holds copies, but there is no progress of {owner!r}: expected both or neither")
                merged = MergedTopic(log, self._topics, topic, owner, TimeRule.of(settings), accept_gap=accept_gap)
                self._originals.append(stack.enter_context(closing(merged)))
            self.close = stack.pop_all().close

    def catch_up(self, should_stop: Callable[[], bool]) -> None:
        """Copy all that the topics hold now."""
        ends = {original.topic: self._log.bounds(original.topic) for original in self._originals}
        while not should_stop() and any(
            offset < ends[original.topic][p].end for original in self._originals for p, offset in original.offsets().items()
        ):
            if not self.step():
                time.sleep(PAUSE)

    def step(self) -> bool:
        """Copy what there is to read of both topics, in one transaction; return whether there is more."""
        messages: list[Message] = []
        for original in self._originals:
            original.read()
            for pending in original.take(BATCH):
                self._counts["record", original.topic] += 1
                messages += self._messages(original, pending)
        if self._counts or time.monotonic() - self._committed_at >= REFRESH:
            self._writer.commit(
                messages, {partition: entry for original in self._originals for partition, entry in original.progress().items()}
            )
            self._committed_at = time.monotonic()
            self._metrics.count(self._counts)
            self._counts.clear()
        if time.monotonic() - self._measured_at >= PATIENCE:
            self._measure()
        return any(original.is_behind() for original in self._originals)

    def _messages(self, original: MergedTopic, pending: Pending) -> list[Message]:
        """Return what a record becomes: a copy, a dead letter, or a watermark for every partition of the copies."""
        record, event = pending.record, pending.event
        if isinstance(event, BadRecordError):
            self._counts["dead_letter", event.reason] += 1
            return [dead_letter(record, "rekey", event, self._topics)]
        topic = self._copies.clicks if original.topic == self._topics.clicks else self._copies.impressions
        headers = (*record.headers, (APPENDED, str(record.timestamp).encode()))
        impression_id = id_of(event)
        if impression_id is not None:
            key = impression_id.encode()
            return [Message(topic, key, record.value, headers, partition_of(key, self._partitions, "murmur2"))]
        if pending.time < 0:  # for the joiner to set aside
            return [Message(topic, record.key, record.value, headers, 0)]
        common = min(original.seen.values())
        if common <= self._forwarded.get(topic, -1):
            return []
        self._forwarded[topic] = common
        return [Message(topic, None, encode(Watermark(common)), headers, p) for p in range(self._partitions)]

    def _measure(self) -> None:
        self._measured_at = time.monotonic()
        for original in self._originals:
            bounds = self._log.bounds(original.topic)
            self._metrics.lag.labels(original.topic).set(sum(max(0, bounds[p].end - offset) for p, offset in original.offsets().items()))


def rekeyer_of(topics: Topics) -> str:
    """Return the name under which the topics of a model are copied."""
    return f"{topics.prefix}.rekey"


def progress_at_end(log: Log, topics: Topics) -> dict[TopicPartition, Progress]:
    """Return the progress of a rekeyer that is at the ends of the topics and knows nothing of what they held."""
    return {(topic, p): progress(bounds.end, CopyPoint()) for topic in input_topics(topics) for p, bounds in log.bounds(topic).items()}


def with_original_append_time(record: Record) -> Record:
    """Return a copy with the append time of its original; what the joiner itself wrote among the copies keeps its own."""
    written = dict(record.headers).get(APPENDED, b"")  # the last of that name: an original may have had one
    return record._replace(timestamp=int(written)) if written.isdigit() and len(written) < DIGITS else record
