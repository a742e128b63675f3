"""Re-keying: impressions and clicks are copied to the partitions of their impression ids, and the copies are joined.

So the originals may have any keys and any partitions, as in Kafka Streams' repartitioning. A site's own topics, named in ``[input]``, are
read beside them, and mapped on the way (:mod:`stream.inputs.mapping`). It rests on three facts:

1. copies, dead letters and how far each partition was copied are one transaction: each record is copied once, whatever is killed;
2. partitions that have records to read are merged by event time: one that is far ahead would make the others late;
3. a copy has the append time of its original, and a watermark is passed on only as far as every partition has come.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing

from stream.dead_letters import dead_letter
from stream.inputs.decode import id_of, input_topics
from stream.inputs.event_time import TimeRule
from stream.inputs.mapping import Mapper
from stream.inputs.settings import InputSettings
from stream.join.merged import BATCH, PATIENCE, CopyPoint, Decoder, MergedTopics, Pending
from stream.join.metrics import JoinerMetrics
from stream.join.progress import progress
from stream.log.contract import Headers, Log, Message, Progress, Record, TopicPartition, Writer
from stream.log.message import partition_of
from stream.log.topics import JoinerError, Topics
from stream.records.events import BadRecordError, Watermark, encode
from stream.settings import JoinSettings

APPENDED = "sml.append-time"  # the header of a copy: when the log took the original, epoch ms
DIGITS = 20  # more are no time, and past some thousands no number to Python

MOST_BYTES = 32_000_000  # of copies in one transaction, and what one record more is mapped to
PAUSE = 0.02  # seconds between polls when there was nothing to copy
REFRESH = 3_600.0  # seconds; Kafka forgets progress that is not committed again within days


class Rekeyer:
    """Copies the topics, for the one joiner of a model."""

    def __init__(
        self,
        log: Log,
        topics: Topics,
        settings: JoinSettings,
        metrics: JoinerMetrics,
        writer: Writer,
        inputs: InputSettings,
        *,
        accept_gap: bool = False,
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
            rule = TimeRule.of(settings)
            for group in _groups(self._topics, inputs):
                decoders = {topic: Decoder(log, self._topics, topic, inputs, rule) for topic in group}
                merged = MergedTopics(log, decoders, owner, rule, accept_gap=accept_gap)
                self._originals.append(stack.enter_context(closing(merged)))
            self.close = stack.pop_all().close

    def catch_up(self, should_stop: Callable[[], bool]) -> None:
        """Copy all that the topics hold now."""
        ends = {each: end for original in self._originals for each, end in original.ends().items()}
        while not should_stop() and any(offset < ends[each] for original in self._originals for each, offset in original.offsets().items()):
            if not self.step():
                time.sleep(PAUSE)

    def step(self) -> bool:
        """Copy what there is to read of all topics, in one transaction; return whether there is more."""
        messages: list[Message] = []
        for original in self._originals:
            original.read()
            size = 0
            for pending in original.take(BATCH):
                self._counts["record", pending.record.topic] += 1
                copies = self._messages(original, pending)
                messages += copies
                size += sum(len(copy.value or b"") for copy in copies)
                if size >= MOST_BYTES:
                    break
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

    def _messages(self, original: MergedTopics, pending: Pending) -> list[Message]:
        """Return what a record becomes: a copy, what it is mapped to, a dead letter, or a watermark for every partition of the copies."""
        record, event = pending.record, pending.event
        if isinstance(event, Mapper):
            return self._mapped(record, event)
        if isinstance(event, BadRecordError):
            return [self._set_aside(record, event)]
        topic = self._copies.clicks if record.topic == self._topics.clicks else self._copies.impressions
        headers = (*record.headers, _appended(record))
        impression_id = id_of(event)
        if impression_id is not None:
            return [self._copy(topic, impression_id, record.value, headers)]
        if pending.time < 0:  # for the joiner to set aside
            return [Message(topic, record.key, record.value, headers, 0)]
        common = min(original.seen.values())
        if common <= self._forwarded.get(topic, -1):
            return []
        self._forwarded[topic] = common
        return [Message(topic, None, encode(Watermark(common)), headers, p) for p in range(self._partitions)]

    def _mapped(self, record: Record, mapper: Mapper) -> list[Message]:
        """Return what a record of the site's is mapped to: all of it, or a dead letter. Its headers are not ours, and stay behind."""
        try:
            mapped = mapper.map(record.json)
        except BadRecordError as error:
            return [self._set_aside(record, error)]
        if not mapped:
            self._counts["anomaly", "passed_over"] += 1
        topics, headers = (self._copies.impressions, self._copies.clicks), (_appended(record),)
        return [self._copy(topics[each.is_click], each.impression_id, each.value, headers) for each in mapped]

    def _copy(self, topic: str, impression_id: str, value: bytes | None, headers: Headers) -> Message:
        key = impression_id.encode()
        return Message(topic, key, value, headers, partition_of(key, self._partitions, "murmur2"))

    def _set_aside(self, record: Record, error: BadRecordError) -> Message:
        self._counts["dead_letter", error.reason] += 1
        return dead_letter(record, "rekey", error, self._topics)

    def _measure(self) -> None:
        self._measured_at = time.monotonic()
        for original in self._originals:
            ends, offsets = original.ends(), original.offsets()
            for topic in original.topics:
                behind = sum(max(0, ends[each] - offset) for each, offset in offsets.items() if each[0] == topic)
                self._metrics.lag.labels(topic).set(behind)


def originals(topics: Topics, inputs: InputSettings) -> tuple[str, ...]:
    """Return the topics that are copied: ours, and a site's own."""
    return (*input_topics(topics), *inputs.topics)


def _groups(topics: Topics, inputs: InputSettings) -> Sequence[Sequence[str]]:
    """Return the topics of impressions and those of clicks, or all together where a topic holds both: each is read once."""
    impressions = [topics.impressions, *([inputs.impressions.topic] if inputs.impressions else [])]
    clicks = [topics.clicks, *([inputs.clicks.topic] if inputs.clicks else [])]
    return [list(dict.fromkeys(impressions + clicks))] if set(impressions) & set(clicks) else [impressions, clicks]


def _appended(record: Record) -> tuple[str, bytes]:
    return APPENDED, str(record.timestamp).encode()


def rekeyer_of(topics: Topics) -> str:
    """Return the name under which the topics of a model are copied."""
    return f"{topics.prefix}.rekey"


def progress_at_end(log: Log, names: Sequence[str]) -> dict[TopicPartition, Progress]:
    """Return the progress of a rekeyer that is at the ends of the topics and knows nothing of what they held."""
    return {(topic, p): progress(bounds.end, CopyPoint()) for topic in names for p, bounds in log.bounds(topic).items()}


def with_original_append_time(record: Record) -> Record:
    """Return a copy with the append time of its original; what the joiner itself wrote among the copies keeps its own."""
    written = dict(record.headers).get(APPENDED, b"")  # the last of that name: an original may have had one
    return record._replace(timestamp=int(written)) if written.isdigit() and len(written) < DIGITS else record
