"""A joiner at work, from a commit to losing the log: it reads both inputs, decides, and writes what is decided in one transaction."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from itertools import groupby
from operator import attrgetter
from typing import Protocol

import msgspec

from stream.dead_letters import dead_letter
from stream.inputs.event_time import TimeRule
from stream.join.dispatch import take
from stream.join.idleness import Idleness
from stream.join.matching.input_state import InputState
from stream.join.matching.waiting import as_written
from stream.join.metrics import JoinerMetrics
from stream.join.progress import progress
from stream.join.recovery import BATCH, check_memory, recover
from stream.join.share import Share
from stream.log.contract import Log, Message, Progress, Record, TopicPartition, Writer
from stream.log.topics import Topics
from stream.records.events import BadRecordError, Example, Watermark, encode
from stream.records.heartbeat import Heartbeat, Pacemaker, is_heartbeat, message
from stream.settings import JoinSettings
from stream.traces import Tracing, Waiting

logger = logging.getLogger(__name__)

POLL_WAIT = 0.01  # seconds to wait for one input while the other may have records
INTERVAL = 1.0  # seconds between measurements, and between commits of progress without output
OF_HEARTBEAT = 2  # offsets that a heartbeat takes at most: its record, and Kafka's marker where Flink writes it in a transaction
REFRESH = 3_600.0  # seconds; Kafka forgets progress that is not committed again within days


class Joining(Protocol):
    """What is joined, and how: see :class:`stream.join.joiner.Joiner`."""

    log: Log
    topics: Topics
    settings: JoinSettings
    metrics: JoinerMetrics
    clock: Callable[[], float]
    accept_gap: bool
    tracing: Tracing | None
    share: Share | None


class JoinSession:
    """Joining from a commit on, for as long as the log can be reached."""

    def __init__(self, joiner: Joining, writer: Writer, *, with_heartbeats: bool = False) -> None:
        """Go on from the last commit; send heartbeats, if asked to."""
        self._log, self._topics, self._metrics, self._writer = joiner.log, joiner.topics, joiner.metrics, writer
        self._settings = joiner.settings
        self._share = joiner.share
        self._joins, starts, self._placement = recover(
            joiner.log, joiner.topics, joiner.settings, joiner.share, accept_gap=joiner.accept_gap
        )
        self._inputs: dict[TopicPartition, InputState] = {
            (self._topics.impressions, p): join.impressions for p, join in self._joins.items()
        }
        self._inputs |= {(self._topics.clicks, p): join.clicks for p, join in self._joins.items()}
        self._times, self._clock = TimeRule.of(joiner.settings), joiner.clock
        self._idleness = Idleness(joiner.settings.idle_after, self._clock)
        for partition, state in self._inputs.items():
            self._idleness.mark_active(partition, state.read)
        self._pacemaker = Pacemaker(self._topics.impressions, tuple(self._joins)) if with_heartbeats else None
        self._traced = Waiting(joiner.tracing)
        self._heartbeats: list[tuple[int, Heartbeat]] = []  # that came back and are to be passed on, each with its partition
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._decided: list[Example] = []  # since the last commit
        self._committed: dict[TopicPartition, int] = {}
        self._committed_at = self._measured_at = self._clock() - REFRESH
        with ExitStack() as stack:
            self._readers = {topic: stack.enter_context(closing(joiner.log.reader(topic, start))) for topic, start in starts.items()}
            self.close = stack.pop_all().close
        logger.info("Joining %d partitions from %s, with %d impressions waiting", len(self._joins), starts, self._waiting())

    def ends(self) -> dict[TopicPartition, int]:
        """Return the end of each partition of both inputs, as it is now."""
        bounds = {topic: self._log.bounds(topic) for topic in self._readers}
        return {(topic, p): bounds[topic][p].end for topic, p in self._inputs}

    def has_reached(self, ends: dict[TopicPartition, int]) -> bool:
        """Return whether all is read up to ``ends``."""
        positions = self._positions()
        return all(positions[partition] >= end for partition, end in ends.items())

    def step(self, *, with_idle: bool = True) -> None:
        """Read some records, of both inputs if both have some, and write what they decide in one transaction.

        ``with_idle``: also write a watermark to each idle partition.
        """
        messages: list[Message] = []
        for wait in (POLL_WAIT, 0.0):
            records = self._poll(wait)
            if not records:
                break
            messages += self._take(records)
            check_memory(self._joins.values(), self._settings)
        messages += self._idle_watermarks() if with_idle else []
        self.write(messages)
        if self._pacemaker and (heartbeat := self._pacemaker.due()):
            self._log.append(heartbeat)  # as clients write: in a transaction it would take longer than the events that it stands for
        if self._clock() - self._measured_at >= INTERVAL:
            self._measure()

    def write(self, messages: list[Message], *, final: bool = False) -> None:
        """Commit ``messages``, all examples that are decided, and the progress, in transactions of bounded size."""
        while True:
            examples, late = self._take_ready()
            messages += late
            is_last = len(examples) < BATCH
            heartbeats = self._take_heartbeats() if is_last else []  # after all that is decided by now
            if messages or examples or heartbeats or self._is_due(at_once=final):
                self._commit(messages, examples + heartbeats)
            if is_last:
                return
            messages = []

    def _poll(self, wait: float) -> list[Record]:
        """Read the input that is behind in event time, else the other: records of the one ahead would only wait in memory."""
        behind, ahead = sorted(self._readers, key=lambda topic: min(self._inputs[topic, p].read for p in self._joins))
        first, second = self._readers[behind], self._readers[ahead]
        return first.poll(BATCH, 0) or second.poll(BATCH, 0) or (first.poll(BATCH, wait) if wait else [])

    def _take(self, records: Sequence[Record]) -> list[Message]:
        """Pass each record to the join of its partition; return the dead letters."""
        self._placement.tally(records)
        dead_letters = []
        for partition, group in groupby(records, attrgetter("topic", "partition")):
            events = [record for record in group if not self._is_heartbeat(record)]
            for record in events:
                try:
                    take(self._joins[record.partition], self._topics, record, self._times, self._placement)
                    if record.headers:
                        self._traced.note(record)
                except BadRecordError as error:
                    dead_letters.append(self._dead_letter(record, error))
            if events:
                self._counts["record", partition[0]] += len(events)
                self._idleness.mark_active(partition, self._inputs[partition].read)
        return dead_letters

    def _is_heartbeat(self, record: Record) -> bool:
        """Return whether a record is a heartbeat; one that we have sent is passed on."""
        if not is_heartbeat(record):
            return False
        if self._pacemaker and (heartbeat := self._pacemaker.received(record)):
            self._heartbeats.append((record.partition, heartbeat))
        else:
            self._counts["anomaly", "foreign_heartbeat"] += 1
        return True

    def _take_heartbeats(self) -> list[Message]:
        heartbeats, self._heartbeats = self._heartbeats, []
        return [message(heartbeat.after_hop(time.time()), self._topics.examples, p) for p, heartbeat in heartbeats]

    def _dead_letter(self, record: Record, error: BadRecordError) -> Message:
        self._counts["dead_letter", error.reason] += 1
        return dead_letter(record, "join", error, self._topics)

    def _idle_watermarks(self) -> list[Message]:
        """Return a watermark for each partition that is idle, read to its end, and keeps an impression waiting."""
        messages = []
        for topic, p in self._idleness.take_idle():
            watermark = self._idleness.watermark()
            if watermark is None or watermark <= self._inputs[topic, p].seen or not self._joins[p].waiting:
                continue
            unread = self._log.bounds(topic)[p].end - self._positions()[topic, p]
            if unread <= 0:
                self._counts["watermark", topic] += 1
                messages.append(Message(topic, None, encode(Watermark(watermark)), self._times.headers, p))
            elif unread <= OF_HEARTBEAT:
                self._idleness.keep_idle((topic, p))
        return messages

    def _take_ready(self) -> tuple[list[Message], list[Message]]:
        """Take the examples that are decided by now, a batch at most, and dead letters for the impressions that were late."""
        messages: list[Message] = []
        dead_letters: list[Message] = []
        for p, join in self._joins.items():
            examples = join.take_ready(BATCH - len(messages))
            dead_letters += [self._dead_letter(record, error) for record, error in join.take_late_impressions()]
            for example in examples:
                self._counts["example", str(example.label)] += 1
                key = example.impression_id.encode()
                headers = self._times.headers
                if self._traced.contexts:
                    headers += self._traced.joined(key)
                messages.append(Message(self._topics.examples, key, encode(as_written(example)), headers, p))
            self._decided += examples
        return messages, dead_letters

    def _is_due(self, *, at_once: bool) -> bool:
        """Return whether to commit although there is nothing to write but progress."""
        age = self._clock() - self._committed_at
        return age >= REFRESH or ((at_once or age >= INTERVAL) and self._positions() != self._committed)

    def _commit(self, messages: list[Message], examples: list[Message]) -> None:
        positions = self._positions()
        with self._metrics.commit_seconds.time():
            self._writer.commit(messages + examples, self._progress(positions))
        self._committed, self._committed_at = positions, self._clock()
        for counts in (self._counts, *(join.counts for join in self._joins.values())):
            self._metrics.count(counts)
            counts.clear()
        self._metrics.record_examples(self._decided, at_once=self._settings.label_policy != "window")
        self._decided.clear()

    def _progress(self, positions: dict[TopicPartition, int]) -> dict[TopicPartition, Progress]:
        entries: dict[TopicPartition, Progress] = {}
        for p, join in self._joins.items():
            impressions, clicks = (self._topics.impressions, p), (self._topics.clicks, p)
            points = join.resume_points(positions[impressions], positions[clicks])
            for partition, point in zip((impressions, clicks), points, strict=True):
                checked = msgspec.structs.replace(
                    point, partitioner=self._placement.partitioner, settled=self._placement.settled, share=str(self._share or "")
                )
                entries[partition] = progress(positions[partition], checked)
        return entries

    def _positions(self) -> dict[TopicPartition, int]:
        return {(topic, p): offset for topic, reader in self._readers.items() for p, offset in reader.positions().items()}

    def _waiting(self) -> int:
        return sum(join.waiting for join in self._joins.values())

    def _measure(self) -> None:
        self._measured_at = self._clock()
        ends, positions = self.ends(), self._positions()
        for topic in self._readers:
            lags = (max(0, ends[each] - position) for each, position in positions.items() if each[0] == topic)
            self._metrics.lag.labels(topic).set(sum(lags))
        self._metrics.waiting.set(self._waiting())
        self._metrics.waiting_bytes.set(sum(join.memory for join in self._joins.values()))
        self._metrics.waiting_limit.set(self._settings.most_waiting)
        if self._idleness.latest is not None:
            behind = min(join.watermark for join in self._joins.values())
            self._metrics.watermark_lag.set((self._idleness.latest - behind) / 1000)
