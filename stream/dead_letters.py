"""Set records aside with the reason, read them, and write them back to their topics once the reason is gone.

A retry writes each record back once: how far it came is committed with what it wrote, in one transaction, and the next retry goes on
from there. A record that still can't be used is set aside anew, as another dead letter. A misrouted record goes to its own partition.
An event of a site's own topic is mapped, and what it is mapped to written to ours: nothing is ever written to a site's topic.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from itertools import islice
from typing import NamedTuple

from stream.inputs.decode import event_of, id_of, input_topics
from stream.inputs.mapping import Mapper
from stream.inputs.placement import MisroutedError
from stream.inputs.settings import InputSettings
from stream.log.contract import Log, LogError, Message, OffsetGoneError, Progress, Record
from stream.log.message import partition_of, size_of
from stream.log.reading import read_all
from stream.log.topics import CONTROL, Topics
from stream.records.events import BadRecordError

logger = logging.getLogger(__name__)

LARGEST_DEAD_LETTER = 900_000  # bytes of the record, for a log that takes 1,000,000 with the reason
_LONGEST = 10_000  # characters of the reason: it may contain a feature's name, as long as a record
BATCH, MOST_BYTES = 1_000, 32_000_000  # records, and bytes of what they become, written back in one transaction
_PATIENCE = 1.0  # seconds that a poll waits for a record that is known to be there
_HEADER = "__connect.errors."
_APPENDED = re.compile(r"(?<=append time), -?[0-9]+\Z")  # which another record has another of


class NoSuchDeadLetterError(LogError):
    """There is no dead letter at that offset."""


class DeadLetter(NamedTuple):
    """A record that was set aside: the record, the topic, partition and offset that it had, and why."""

    record: Record
    topic: str
    partition: int
    offset: int
    stage: str
    kind: str  # the error's class
    message: str

    @property
    def reason(self) -> str:
        """Return the message, without what differs from record to record."""
        before, _, after = self.message.partition("got ")
        _, expected, rest = after.rpartition(", expected")  # in linear time, whatever a feature is called
        return f"{before}got …{expected}{_APPENDED.sub('', rest)}" if expected else self.message

    @property
    def original_headers(self) -> tuple[tuple[str, bytes], ...]:
        """Return the headers that the record had."""
        return tuple((name, text) for name, text in self.record.headers if not name.startswith(_HEADER))


class Retried(NamedTuple):
    """What a retry did."""

    written: int  # records that are in their topics again
    gone: int  # records too large for a dead letter, which retention has deleted from their topics


def dead_letter(record: Record, stage: str, error: Exception, topics: Topics) -> Message:
    """Return a dead letter: the record's bytes as they are, and the reason in Kafka Connect's headers.

    Args:
        record: What could not be used.
        stage: The process that set it aside: ``rekey``, ``join``, ``learn``, or ``learn.ARM`` of an arm other than control.
        error: Why.
        topics: The names of the topics.
    """
    context = {
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "stage": stage,
        "exception.class.name": type(error).__name__,
        "exception.message": str(error)[:_LONGEST],
    }
    named = tuple((_HEADER + name, text.encode(errors="backslashreplace")) for name, text in context.items())
    if size_of(record) > LARGEST_DEAD_LETTER:  # with the headers it would not fit in the log: the headers alone say where it is
        return Message(topics.dead_letters, None, None, named, partition=0)
    return Message(topics.dead_letters, record.key, record.value, record.headers + named, partition=0)


def learn_stage(topics: Topics) -> str:
    """Return the stage of the learner of these topics."""
    return "learn" if topics.arm == CONTROL else f"learn.{topics.arm}"


def dead_letters(log: Log, topics: Topics, start: int = 0) -> Iterator[DeadLetter]:
    """Yield the dead letters from offset ``start`` up to what is now the end; skip records that are none."""
    bounds = log.bounds(topics.dead_letters)[0]
    records = read_all(log, topics.dead_letters, {0: max(start, bounds.first)}, {0: bounds.end})
    yield from filter(None, map(_parse, records))


def set_aside(log: Log, topics: Topics, start: Mapping[int, int], end: Mapping[int, int]) -> Iterator[tuple[int, int]]:
    """Yield partition and offset of each example from ``start`` up to ``end`` that a learner has set aside."""
    for letter in dead_letters(log, topics):
        within = start.get(letter.partition, 0) <= letter.offset < end.get(letter.partition, 0)
        if within and (letter.topic, letter.stage) == (topics.examples, learn_stage(topics)):
            yield letter.partition, letter.offset


def dead_letter_at(log: Log, topics: Topics, offset: int) -> DeadLetter:
    """Return the dead letter at an offset.

    Raises:
        NoSuchDeadLetterError: there is none.
    """
    bounds = log.bounds(topics.dead_letters)[0]
    found = next(dead_letters(log, topics, offset), None) if bounds.first <= offset < bounds.end else None
    if found is None or found.record.offset != offset:
        raise NoSuchDeadLetterError(
            f"{topics.dead_letters} holds the offsets {bounds.first} to {bounds.end - 1}, got {offset}, expected that of a dead letter"
        )
    return found


def retried_until(log: Log, topics: Topics) -> int:
    """Return the offset of the first dead letter that was not retried."""
    known = log.progress(_owner(topics), topics.dead_letters)
    return known[0].offset if 0 in known else 0


def retry(log: Log, topics: Topics, inputs: InputSettings = InputSettings()) -> Retried:  # noqa: B008 - it is immutable
    """Write back what was set aside since the last retry, but what a learner of an arm did: control's has the same record, or learned it.

    Raises:
        FencedError: another retry has begun meanwhile; what this one wrote counts.
    """
    counts: Counter[bool] = Counter()
    with closing(log.writer(_owner(topics))) as writer:
        letters = dead_letters(log, topics, retried_until(log, topics))
        while batch := list(islice(letters, BATCH)):
            messages, size = list[Message](), 0
            for letter in batch:
                record = None if letter.stage.startswith("learn.") else _original(log, letter)
                written = _written_back(log, topics, inputs, letter, record) if record else []
                messages += written
                size += sum(len(message.value or b"") for message in written)
                if letter is batch[-1] or size > MOST_BYTES:
                    writer.commit(messages, {(topics.dead_letters, 0): Progress(letter.record.offset + 1)})
                    messages, size = [], 0
                if not letter.stage.startswith("learn."):
                    counts[record is not None] += 1
    return Retried(counts[True], counts[False])


def _owner(topics: Topics) -> str:
    return f"{topics.prefix}.retry"


def _original(log: Log, letter: DeadLetter) -> Record | None:
    """Return the record as it was. One without bytes was too large for a dead letter, or had none: read it from its topic."""
    record = letter.record._replace(topic=letter.topic, partition=letter.partition, offset=letter.offset, headers=letter.original_headers)
    if record.value is not None:
        return record
    try:
        with closing(log.reader(letter.topic, {letter.partition: letter.offset})) as reader:
            found = reader.poll(1, _PATIENCE)
    except OffsetGoneError:
        return None
    return found[0] if found and found[0].offset == letter.offset else None


def _written_back(log: Log, topics: Topics, inputs: InputSettings, letter: DeadLetter, record: Record) -> list[Message]:
    """Return what a record is written back as: itself, or, if it is of a site's own topic, what it is mapped to."""
    if letter.stage != "rekey" or letter.topic in input_topics(topics):
        return [Message(letter.topic, record.key, record.value, record.headers, _target_partition(log, topics, letter, record))]
    try:
        mapped = Mapper(inputs, letter.topic).map(record.json)
    except BadRecordError as error:
        return [dead_letter(record, letter.stage, error, topics)]
    return [Message((topics.impressions, topics.clicks)[each.is_click], each.impression_id.encode(), each.value) for each in mapped]


def _target_partition(log: Log, topics: Topics, letter: DeadLetter, record: Record) -> int:
    """Return the partition to write back to: the one it came from, or, if it was misrouted, that of its impression's id."""
    if letter.kind == MisroutedError.__name__:
        with suppress(BadRecordError):
            impression_id = id_of(event_of(record._replace(topic=letter.topic), topics))
            if impression_id is not None:
                return partition_of(impression_id.encode(), len(log.bounds(letter.topic)), log.partitioner)
    return letter.partition


def _parse(record: Record) -> DeadLetter | None:
    context = {name.removeprefix(_HEADER): text.decode(errors="replace") for name, text in record.headers if name.startswith(_HEADER)}
    try:
        return DeadLetter(
            record,
            context["topic"],
            int(context["partition"]),
            int(context["offset"]),
            context["stage"],
            context["exception.class.name"],
            context["exception.message"],
        )
    except (KeyError, ValueError):
        logger.warning(
            "Skipping offset %s of %s, which is no dead letter: its headers are %s", record.offset, record.topic, sorted(context)
        )
        return None
