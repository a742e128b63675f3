"""Records are set aside with the reason, can be looked at, and go back to where they came from once the reason is gone.

A retry writes each record back once: how far it came is committed with what it wrote, in one transaction, and the next goes on from
there. A record that still can't be used is set aside anew, as another dead letter; one that lay in a wrong partition goes to its own.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from typing import NamedTuple

from stream.events import BadRecordError
from stream.inputs import event_of, id_of
from stream.log.contract import Log, LogError, Message, OffsetGoneError, Progress, Record
from stream.log.message import partition_of, size_of
from stream.log.topics import Topics
from stream.placement import MisroutedError

logger = logging.getLogger(__name__)

LARGEST_DEAD_LETTER = 900_000  # bytes of the record, for a log that takes 1,000,000 with the reason
_LONGEST = 10_000  # characters of the reason: it may name a feature, whose name may be as long as a record
_AT_ONCE = 1_000  # records read, and written back, at once
_PATIENCE = 1.0  # seconds that a poll waits for records that are known to be there
_HEADER = "__connect.errors."


class NoSuchDeadLetterError(LogError):
    """There is no dead letter at that offset, or it is not one."""


class DeadLetter(NamedTuple):
    """A record that was set aside: where it stands, where it stood, and why."""

    record: Record
    topic: str
    partition: int
    offset: int
    stage: str
    kind: str  # the error's class
    message: str

    @property
    def reason(self) -> str:
        """The message, without what differs from record to record."""
        return re.sub(r"got .*, expected", "got …, expected", self.message, flags=re.DOTALL)

    @property
    def original_headers(self) -> tuple[tuple[str, bytes], ...]:
        """The headers that the record had."""
        return tuple((name, text) for name, text in self.record.headers if not name.startswith(_HEADER))


class Retried(NamedTuple):
    """What a retry did."""

    written: int  # records that stand in their topics again
    gone: int  # records too large for a dead letter, that retention has deleted from where they came


def dead_letter(record: Record, stage: str, error: Exception, topics: Topics) -> Message:
    """Set a record aside: its bytes untouched, and why, in the headers of Kafka Connect.

    Args:
        record: What could not be used.
        stage: The process that set it aside: ``rekey``, ``join`` or ``learn``.
        error: Why.
        topics: Names the topic of dead letters.
    """
    told = {
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "stage": stage,
        "exception.class.name": type(error).__name__,
        "exception.message": str(error)[:_LONGEST],
    }
    named = tuple((_HEADER + name, text.encode(errors="backslashreplace")) for name, text in told.items())
    if size_of(record) > LARGEST_DEAD_LETTER:  # with the headers it would not fit the log: they alone say where it stands
        return Message(topics.dead_letters, None, None, named, partition=0)
    return Message(topics.dead_letters, record.key, record.value, record.headers + named, partition=0)


def dead_letters(events: Log, topics: Topics, start: int = 0) -> Iterator[DeadLetter]:
    """Give the dead letters from offset ``start`` up to what is now the end; a record that is none is passed over."""
    bounds = events.bounds(topics.dead_letters)[0]
    with closing(events.reader(topics.dead_letters, {0: max(start, bounds.first)})) as reader:
        while reader.positions()[0] < bounds.end:
            yield from filter(None, map(_opened, reader.poll(_AT_ONCE, _PATIENCE)))


def set_aside(events: Log, topics: Topics, start: Mapping[int, int], end: Mapping[int, int]) -> Iterator[tuple[int, int]]:
    """Yield partition and offset of each example from ``start`` up to ``end`` that a learner has set aside."""
    for letter in dead_letters(events, topics):
        within = start.get(letter.partition, 0) <= letter.offset < end.get(letter.partition, 0)
        if within and (letter.topic, letter.stage) == (topics.examples, "learn"):
            yield letter.partition, letter.offset


def dead_letter_at(events: Log, topics: Topics, offset: int) -> DeadLetter:
    """Give the dead letter at an offset.

    Raises:
        NoSuchDeadLetterError: there is none.
    """
    bounds = events.bounds(topics.dead_letters)[0]
    found = next(dead_letters(events, topics, offset), None) if bounds.first <= offset < bounds.end else None
    if found is None or found.record.offset != offset:
        message = (
            f"{topics.dead_letters} holds the offsets {bounds.first} to {bounds.end - 1}, got {offset}, expected that of a dead letter"
        )
        raise NoSuchDeadLetterError(message)
    return found


def retried_until(events: Log, topics: Topics) -> int:
    """Give the offset of the first dead letter that was not retried."""
    known = events.progress(_owner(topics), topics.dead_letters)
    return known[0].offset if 0 in known else 0


def retry(events: Log, topics: Topics) -> Retried:
    """Write back what was set aside since the last retry.

    Raises:
        FencedError: another retry has begun meanwhile; what this one wrote counts.
    """
    counts: Counter[bool] = Counter()
    with closing(events.writer(_owner(topics))) as writer:
        batch: list[DeadLetter] = []
        letters = dead_letters(events, topics, retried_until(events, topics))
        while batch := [letter for letter, _ in zip(letters, range(_AT_ONCE), strict=False)]:
            messages = [_original(events, topics, letter) for letter in batch]
            progress = {(topics.dead_letters, 0): Progress(batch[-1].record.offset + 1)}
            writer.commit([message for message in messages if message], progress)
            counts.update(message is not None for message in messages)
    return Retried(counts[True], counts[False])


def _owner(topics: Topics) -> str:
    return f"{topics.prefix}.retry"


def _original(events: Log, topics: Topics, letter: DeadLetter) -> Message | None:
    """Give the record as it was; one without bytes was too large for a dead letter, or had none, and is read where it stood."""
    record, headers = letter.record, letter.original_headers
    if record.value is None:
        try:
            with closing(events.reader(letter.topic, {letter.partition: letter.offset})) as reader:
                there = reader.poll(1, _PATIENCE)
        except OffsetGoneError:
            return None
        if not there or there[0].offset != letter.offset:
            return None
        record, headers = there[0], there[0].headers
    return Message(letter.topic, record.key, record.value, headers, _home(events, topics, letter, record))


def _home(events: Log, topics: Topics, letter: DeadLetter, record: Record) -> int:
    """Choose where a record goes back to: to where it came from, or, if it was misrouted, to where its impression's id belongs."""
    if letter.kind == MisroutedError.__name__:
        with suppress(BadRecordError):
            impression_id = id_of(event_of(record._replace(topic=letter.topic), topics))
            if impression_id is not None:
                return partition_of(impression_id.encode(), len(events.bounds(letter.topic)), events.partitioner)
    return letter.partition


def _opened(record: Record) -> DeadLetter | None:
    told = {name.removeprefix(_HEADER): text.decode(errors="replace") for name, text in record.headers if name.startswith(_HEADER)}
    try:
        return DeadLetter(
            record,
            told["topic"],
            int(told["partition"]),
            int(told["offset"]),
            told["stage"],
            told["exception.class.name"],
            told["exception.message"],
        )
    except (KeyError, ValueError):
        logger.warning(
            "passing over offset %s of %s, which is no dead letter: its headers are %s", record.offset, record.topic, sorted(told)
        )
        return None
