"""Re-keying: impressions and clicks are copied to the partitions of their impression ids, and the copies are joined.

So any keys and any partitions do, as where Kafka Streams repartitions. It rests on three facts:

1. copies, dead letters and how far each partition was copied are one transaction: each record is copied once, whatever dies;
2. partitions are merged by event time where several have something to read: one that is far ahead would make the others late;
3. a copy bears the append time of its original, and a watermark goes on as far as every partition has come.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from heapq import heapify, heappop, heapreplace
from typing import NamedTuple

import msgspec
from msgspec import Struct

from stream.dead_letters import dead_letter
from stream.event_time import TimeRule
from stream.events import BadRecordError, Watermark, encode
from stream.inputs import Event, event_of, id_of, inputs, observed_time
from stream.join.idleness import Place
from stream.join.metrics import JoinerMetrics
from stream.log.contract import Log, Message, Progress, Record, Writer
from stream.log.message import MESSAGE_LIMIT, partition_of, size_of
from stream.log.topics import JoinerError, Topics
from stream.settings import JoinSettings

APPENDED = "sml.append-time"  # the header of a copy: when the log took the original, epoch ms
LARGEST = MESSAGE_LIMIT - 5_000  # bytes of a record, so that there is room for its id as the key, and for the header

BATCH = 5_000  # records of a topic that are read, and copied, at once
PATIENCE = 1.0  # seconds that a partition known to have records is waited for, and between measurements
PAUSE = 0.02  # seconds between looks at what may come
REFRESH = 3_600.0  # seconds; Kafka forgets progress that is not committed again within days


class Promise(Struct):
    """What is committed with a partition's offset."""

    seen: int = -1  # the largest event time or watermark before it; what comes later is not older, but for ``lateness``


class Held(NamedTuple):
    """A record that was read, and waits for its turn."""

    record: Record
    event: Event | BadRecordError
    time: int  # what it lets event time come to; -1: it has none, or one that does not count


class Source:
    """One of the two topics: its partitions merged by event time."""

    def __init__(self, log: Log, topics: Topics, topic: str, owner: str, rule: TimeRule) -> None:
        """Go on from what ``owner`` last committed."""
        self.topic, self._log, self._topics, self._rule = topic, log, topics, rule
        known = log.progress(owner, topic)
        bounds = log.bounds(topic)
        starts = {p: known[p].offset if p in known else bounds[p].first for p in bounds}
        if beyond := [p for p in bounds if starts[p] > bounds[p].end]:
            raise JoinerError(f"{topic}: partitions {beyond} end before what was copied of them; is it another log, or an older copy?")
        self.seen = {p: msgspec.json.decode(known[p].metadata, type=Promise).seen if p in known else -1 for p in bounds}
        self._held: dict[int, deque[Held]] = {p: deque() for p in bounds}
        self._unread: set[int] = set()  # partitions of which there is more than what is held
        self._reader = log.reader(topic, starts)
        self.close = self._reader.close

    def read(self) -> None:
        """Hold at least one record of each partition that has one."""
        if not any(self._held.values()) and not self._poll(0):
            return
        ends = {p: bounds.end for p, bounds in self._log.bounds(self.topic).items()}
        while (lacking := self._behind(ends) & {p for p, held in self._held.items() if not held}) and self._poll(PATIENCE):
            pass
        self._unread = self._behind(ends) - lacking

    def take(self, limit: int) -> Iterator[Held]:
        """Give what is held, in the order of event time, as long as all partitions that have something take part."""
        turns = [(self._turn(p), p) for p, held in self._held.items() if held]
        heapify(turns)
        while turns and limit:
            _, p = turns[0]
            held = self._held[p].popleft()
            self.seen[p] = max(self.seen[p], held.time)
            limit -= 1
            yield held
            if self._held[p]:
                heapreplace(turns, (self._turn(p), p))
            elif p in self._unread:
                return
            else:
                heappop(turns)

    def offsets(self) -> dict[int, int]:
        """Give the offset of each partition up to which all was taken."""
        return {p: self._held[p][0].record.offset if self._held[p] else position for p, position in self._reader.positions().items()}

    def progress(self) -> dict[Place, Progress]:
        """Say what to commit once all that was taken is copied."""
        return {
            (self.topic, p): Progress(offset, msgspec.json.encode(Promise(self.seen[p])).decode()) for p, offset in self.offsets().items()
        }

    def _turn(self, partition: int) -> int:
        return max(self.seen[partition], self._held[partition][0].time)

    def _behind(self, ends: dict[int, int]) -> set[int]:
        return {p for p, position in self._reader.positions().items() if position < ends[p]}

    def _poll(self, wait: float) -> bool:
        records = self._reader.poll(BATCH, wait)
        for record in records:
            self._held[record.partition].append(self._decoded(record))
        return bool(records)

    def _decoded(self, record: Record) -> Held:
        try:
            event = self._event(record)
        except BadRecordError as error:
            return Held(record, error, -1)
        if isinstance(event, str):
            return Held(record, event, -1)
        try:
            return Held(record, event, observed_time(event, record, self._rule))
        except BadRecordError:  # the joiner will set it aside
            return Held(record, event, -1)

    def _event(self, record: Record) -> Event:
        if size_of(record) > LARGEST:
            raise BadRecordError("record", f"{size_of(record)} bytes", f"at most {LARGEST} bytes")
        return event_of(record, self._topics)


class Rekeyer:
    """Copies both topics, for the one joiner of a model."""

    def __init__(self, log: Log, topics: Topics, settings: JoinSettings, metrics: JoinerMetrics, writer: Writer) -> None:
        """Go on from the last commit.

        Raises:
            JoinerError: the log does not fit the progress.
        """
        self._log, self._topics, self._metrics, self._writer = log, topics._replace(by_id=False), metrics, writer
        self._copies = topics._replace(by_id=True)
        self._partitions = len(log.bounds(self._copies.impressions))
        self._forwarded: dict[str, int] = {}  # topic → the latest watermark that went on
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._committed_at = self._measured_at = -REFRESH
        owner = owner_of(topics)
        with ExitStack() as stack:
            self._sources = []
            for topic, copy in zip(inputs(self._topics), inputs(self._copies), strict=True):
                if not log.progress(owner, topic) and any(bounds.end for bounds in log.bounds(copy).values()):
                    raise JoinerError(f"{copy!r} holds copies, but there is no progress of {owner!r}: expected both or neither")
                self._sources.append(stack.enter_context(closing(Source(log, self._topics, topic, owner, TimeRule.of(settings)))))
            self.close = stack.pop_all().close

    def catch_up(self, should_stop: Callable[[], bool]) -> None:
        """Copy all that the topics hold now."""
        ends = {source.topic: self._log.bounds(source.topic) for source in self._sources}
        while not should_stop() and any(
            offset < ends[source.topic][p].end for source in self._sources for p, offset in source.offsets().items()
        ):
            if not self.step():
                time.sleep(PAUSE)

    def step(self) -> bool:
        """Copy what there is to read of both topics, in one transaction; say whether there was anything."""
        messages: list[Message] = []
        for source in self._sources:
            source.read()
            for held in source.take(BATCH):
                self._counts["record", source.topic] += 1
                messages += self._copied(source, held)
        some = bool(self._counts)
        if some or time.monotonic() - self._committed_at >= REFRESH:
            self._writer.commit(messages, {place: entry for source in self._sources for place, entry in source.progress().items()})
            self._committed_at = time.monotonic()
            self._metrics.count(self._counts)
            self._counts.clear()
        if time.monotonic() - self._measured_at >= PATIENCE:
            self._measure()
        return some

    def _copied(self, source: Source, held: Held) -> list[Message]:
        """Make what a record becomes: a copy, or none; a watermark, for every partition."""
        record, event = held.record, held.event
        if isinstance(event, BadRecordError):
            self._counts["dead_letter", event.reason] += 1
            return [dead_letter(record, "rekey", event, self._topics)]
        topic = self._copies.clicks if source.topic == self._topics.clicks else self._copies.impressions
        headers = (*record.headers, (APPENDED, str(record.timestamp).encode()))
        impression_id = id_of(event)
        if impression_id is not None:
            key = impression_id.encode()
            return [Message(topic, key, record.value, headers, partition_of(key, self._partitions, "murmur2"))]
        if held.time < 0:  # for the joiner to set aside
            return [Message(topic, record.key, record.value, headers, 0)]
        common = min(source.seen.values())
        if common <= self._forwarded.get(topic, -1):
            return []
        self._forwarded[topic] = common
        return [Message(topic, None, encode(Watermark(common)), headers, p) for p in range(self._partitions)]

    def _measure(self) -> None:
        self._measured_at = time.monotonic()
        for source in self._sources:
            bounds = self._log.bounds(source.topic)
            self._metrics.lag.labels(source.topic).set(sum(max(0, bounds[p].end - offset) for p, offset in source.offsets().items()))


def owner_of(topics: Topics) -> str:
    """Name what copies the topics of a model."""
    return f"{topics.prefix}.rekey"


def at_the_end(log: Log, topics: Topics) -> dict[Place, Progress]:
    """Return the progress of having copied all that the topics hold, without knowing what it was."""
    metadata = msgspec.json.encode(Promise()).decode()
    return {(topic, p): Progress(bounds.end, metadata) for topic in inputs(topics) for p, bounds in log.bounds(topic).items()}


def as_appended(record: Record) -> Record:
    """Give a copy the append time of its original; what the joiner itself has written among the copies has its own."""
    written = dict(record.headers).get(APPENDED, b"")  # the last of that name: an original may have borne one
    return record._replace(timestamp=int(written)) if written.isdigit() else record
