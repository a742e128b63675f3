"""Where the joiner was: from its last commit to the state it had then, by reading again what may still matter.

Nothing is kept but the log. A note committed with each input's next offset says from where to read, and what came before that.
"""

import time
from collections.abc import Mapping
from contextlib import closing, suppress
from typing import NamedTuple

import msgspec

from stream.event_time import TimeRule
from stream.events import BadRecordError
from stream.inputs import inputs
from stream.join.dispatch import new_join, take
from stream.join.input_state import ResumePoint
from stream.join.window import Join
from stream.log.contract import Bounds, Log, Progress, Record
from stream.log.topics import JoinerError, Topics
from stream.placement import FIRST, Placement
from stream.settings import JoinSettings

BATCH = 5_000  # records read at once
_DAY = 86_400_000  # ms: our clock may be wrong, too
BEFORE = 20  # records before the start that are looked at: those that have ended the join before, end it again


class Rejoined(NamedTuple):
    """Every partition's state, from where to read on (the next offset of each partition, by topic), and how records are placed."""

    joins: dict[int, Join]
    starts: dict[str, dict[int, int]]
    placement: Placement


def rejoin(log: Log, topics: Topics, owner: str, settings: JoinSettings) -> Rejoined:
    """Rebuild the state that ``owner`` last committed.

    Raises:
        JoinerError: the topics don't fit each other, or the log does not fit the progress.
        OffsetGoneError: retention has deleted records that still matter.
    """
    _check_partitions(log, topics)
    committed = {topic: _committed(log, topic, owner, settings.label_policy) for topic in inputs(topics)}
    impressions, clicks = committed.values()
    if not log.progress(owner, topics.impressions) and any(bounds.end for bounds in log.bounds(topics.examples).values()):
        message = f"{topics.examples!r} holds examples, but there is no progress of {owner!r}: expected both or neither. Joining from "
        raise JoinerError(message + "the start would write every example twice; use another prefix, or leave it behind: --from-now")
    _check_times(committed, settings)
    joins = {p: new_join(settings, impressions[p][1], clicks[p][1]) for p in impressions}
    known = next((note.partitioner for entries in committed.values() for _, note in entries.values() if note.partitioner), None)
    placement = Placement(topics, len(joins), known or log.partitioner)
    for topic, entries in committed.items():
        _read_again(log, topics, topic, entries, joins, TimeRule.of(settings), placement if known else None)
    for join in joins.values():
        join.resume()
    starts = {topic: {p: offset for p, (offset, _) in entries.items()} for topic, entries in committed.items()}
    for topic, start in starts.items():
        placement.tally(_look_around(log, topic, start))
    return Rejoined(joins, starts, placement)


def progress(next_offset: int, note: ResumePoint) -> Progress:
    """Write a note beside an offset."""
    return Progress(next_offset, msgspec.json.encode(note).decode())


def from_now(log: Log, topics: Topics, settings: JoinSettings) -> dict[tuple[str, int], Progress]:
    """Return the progress of a joiner that has read both inputs to their ends, and knows nothing of what they held."""
    _check_partitions(log, topics)
    return {
        (topic, p): progress(bounds.end, ResumePoint(bounds.end, policy=settings.label_policy))
        for topic in inputs(topics)
        for p, bounds in log.bounds(topic).items()
    }


def _check_times(committed: Mapping[str, Mapping[int, tuple[int, ResumePoint]]], settings: JoinSettings) -> None:
    """Refuse to go on from a time that has not come yet: an earlier version believed an event whose clock was wrong."""
    latest = int(time.time() * 1000) + _DAY
    for topic, entries in committed.items():
        for p, (_, note) in entries.items():
            come = max(note.seen, note.cursor[0])
            if come > latest and not settings.accept_future:
                message = f"{topic} partition {p} has come as far as {come}, expected at most the present: nothing would be in time. "
                raise JoinerError(message + "`sml join --from-now --until-caught-up`, once, leaves behind what it holds and begins anew")


def _check_partitions(log: Log, topics: Topics) -> None:
    counts = {topic: len(log.bounds(topic)) for topic in (topics.impressions, topics.clicks, topics.examples)}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{topic} {count}" for topic, count in counts.items())
        raise JoinerError(f"expected equal numbers of partitions, got {found}")


def _committed(log: Log, topic: str, owner: str, policy: str) -> dict[int, tuple[int, ResumePoint]]:
    """Give the next offset and the note of each partition; where nothing was committed, its first offset."""
    known = log.progress(owner, topic)
    return {
        p: _entry(f"{topic} partition {p}", known[p], bounds) if p in known else (bounds.first, ResumePoint(bounds.first, policy=policy))
        for p, bounds in log.bounds(topic).items()
    }


def _entry(where: str, known: Progress, bounds: Bounds) -> tuple[int, ResumePoint]:
    try:
        note = msgspec.json.decode(known.metadata, type=ResumePoint)
    except msgspec.DecodeError as error:
        raise JoinerError(f"{where}: expected the joiner's note beside its offset, got {known.metadata!r}") from error
    if known.offset > bounds.end:
        raise JoinerError(f"{where}: read up to offset {known.offset}, but the log ends at {bounds.end}; is it another log, or an older copy?")
    return known.offset, note


def _look_around(log: Log, topic: str, start: Mapping[int, int]) -> list[Record]:
    """Give the last records before the start and the next that the topic holds already, enough to tell how it was written."""
    bounds = log.bounds(topic)
    back = max(1, BEFORE // len(start))
    records: list[Record] = []
    with closing(log.reader(topic, {p: max(bounds[p].first, offset - back) for p, offset in start.items()})) as reader:
        while len(records) < FIRST and any(position < bounds[p].end for p, position in reader.positions().items()):
            records += reader.poll(FIRST - len(records), timeout=1.0)
    return records


def _read_again(
    log: Log,
    topics: Topics,
    topic: str,
    committed: Mapping[int, tuple[int, ResumePoint]],
    joins: Mapping[int, Join],
    times: TimeRule,
    placement: Placement | None,
) -> None:
    """Take what lies between the notes and the offsets, in silence: bad records were set aside by whoever read them first."""
    behind = {p: note.rewind for p, (offset, note) in committed.items() if note.rewind < offset}
    if not behind:
        return
    with closing(log.reader(topic, behind)) as reader:
        while any(position < committed[p][0] for p, position in reader.positions().items()):
            for record in reader.poll(BATCH, timeout=1.0):
                if record.offset < committed[record.partition][0]:
                    with suppress(BadRecordError):
                        take(joins[record.partition], topics, record, times, placement)
