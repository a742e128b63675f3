"""Rebuild the state that the joiner had at its last commit, by reading again what may still matter.

The log is the only state. A resume point, committed with each input's next offset, says from where to read and what came before.
"""

from collections.abc import Collection, Mapping
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

import msgspec

from stream.inputs.decode import input_topics
from stream.inputs.event_time import TimeRule
from stream.inputs.placement import FIRST, Placement
from stream.join.dispatch import new_join, take
from stream.join.gaps import find_gap, report_gap, without_what_is_gone
from stream.join.matching.input_state import FORMAT, ResumePoint
from stream.join.matching.window import Join
from stream.join.progress import AFRESH, check_time, not_as_committed, progress, read_progress
from stream.join.share import Share, is_flinks, joiner_of
from stream.log.contract import Bounds, Log, Progress, Record, TopicPartition
from stream.log.reading import read_all
from stream.log.topics import JoinerError, TooMuchWaitsError, Topics
from stream.records.events import BadRecordError
from stream.settings import JoinSettings

BATCH = 5_000  # records read at once
BEFORE = 20  # records before the start to look at: those that ended the join before the restart end it again


class RecoveredState(NamedTuple):
    """The join of each partition, the next offset of each partition by topic, and how keys choose partitions."""

    joins: dict[int, Join]
    starts: dict[str, dict[int, int]]
    placement: Placement


def recover(log: Log, topics: Topics, settings: JoinSettings, share: Share | None = None, *, accept_gap: bool = False) -> RecoveredState:
    """Rebuild the state that was last committed.

    Args:
        log: The log.
        topics: The topics to join.
        settings: How to join.
        share: Which partitions; None: all.
        accept_gap: Go on where records that were not joined yet, or may still matter, were deleted.

    Raises:
        JoinerError: the topics don't fit each other, or the log does not fit the progress or has lost what comes after it.
        OffsetGoneError: records have been deleted meanwhile; try again.
    """
    committed = _all_committed(log, topics, settings, share, accept_gap=accept_gap)
    impressions, clicks = committed.values()
    joins = {p: new_join(settings, impressions[p][1], clicks[p][1]) for p in impressions}
    points = [point for entries in committed.values() for _, point in entries.values()]
    known = next((point.partitioner for point in points if point.partitioner), None)
    placement = Placement(
        topics, len(log.bounds(topics.impressions)), known or log.partitioner, settled=any(point.settled for point in points)
    )
    for topic, entries in committed.items():
        _read_again(log, topics, topic, entries, joins, settings, placement if known else None)
    for join in joins.values():
        join.resume()
    starts = {topic: {p: offset for p, (offset, _) in entries.items()} for topic, entries in committed.items()}
    for topic, start in starts.items():
        placement.tally([] if placement.settled else _records_around(log, topic, start, BEFORE if known else 0))
    return RecoveredState(joins, starts, placement)


def progress_of(
    log: Log, topics: Topics, settings: JoinSettings, share: Share | None, *, name: str = "", accept_gap: bool = False
) -> dict[TopicPartition, Progress]:
    """Return what was last committed of the partitions of a share (None: of all), as that of this share, or of what is named in its place.

    Raises:
        JoinerError: as :func:`recover`.
    """
    committed = _all_committed(log, topics, settings, share, accept_gap=accept_gap)
    return {
        (topic, p): progress(offset, msgspec.structs.replace(point, share=name or str(share)))
        for topic, entries in committed.items()
        for p, (offset, point) in entries.items()
    }


def progress_from_now(log: Log, topics: Topics, settings: JoinSettings, share: Share | None = None) -> dict[TopicPartition, Progress]:
    """Return the progress of a joiner that is at the ends of both inputs and knows nothing of what they held."""
    _check_partitions(log, topics)
    return {
        (topic, p): progress(bounds.end, ResumePoint(bounds.end, policy=settings.label_policy, share=str(share or "")))
        for topic in input_topics(topics)
        for p, bounds in _bounds(log, topic, share).items()
    }


def _bounds(log: Log, topic: str, share: Share | None) -> dict[int, Bounds]:
    """Return the bounds of the partitions of a share."""
    return {p: bounds for p, bounds in log.bounds(topic).items() if share is None or p in share.partitions}


def _all_committed(
    log: Log, topics: Topics, settings: JoinSettings, share: Share | None, *, accept_gap: bool
) -> dict[str, dict[int, tuple[int, ResumePoint]]]:
    """Return what was committed of each partition of both inputs, checked."""
    _check_partitions(log, topics)
    known = {topic: log.progress(joiner_of(topics), topic) for topic in input_topics(topics)}
    committed = {topic: _committed(log, topic, entries, settings, share, accept_gap=accept_gap) for topic, entries in known.items()}
    _check_whole(log, topics, known.values(), share)
    _check_times(committed, settings)
    return committed


def _check_times(committed: Mapping[str, Mapping[int, tuple[int, ResumePoint]]], settings: JoinSettings) -> None:
    """Refuse to go on from a time in the future: an earlier version of the joiner believed wrong clocks."""
    for topic, entries in committed.items():
        for p, (_, point) in entries.items():
            check_time(f"{topic} partition {p}", max(point.seen, point.cursor[0]), TimeRule.of(settings))


def _check_whole(log: Log, topics: Topics, known: Collection[Mapping[int, Progress]], share: Share | None) -> None:
    """Refuse examples of a partition whose inputs have no progress: one that was added later has neither."""
    unknown = [p for p, bounds in _bounds(log, topics.examples, share).items() if bounds.end and not all(p in entries for entries in known)]
    if unknown:
        raise JoinerError(
            f"{topics.examples!r} holds examples, but there is no progress of {joiner_of(topics)!r} in partitions {unknown}: expected both "
            "or neither. Joining from the start would write every example twice; use another prefix, or leave it behind: --from-now"
        )


def _check_partitions(log: Log, topics: Topics) -> None:
    counts = {topic: len(log.bounds(topic)) for topic in (topics.impressions, topics.clicks, topics.examples)}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{topic} {count}" for topic, count in counts.items())
        raise JoinerError(f"expected equal numbers of partitions, got {found}")


def _committed(
    log: Log, topic: str, known: Mapping[int, Progress], settings: JoinSettings, share: Share | None, *, accept_gap: bool
) -> dict[int, tuple[int, ResumePoint]]:
    """Return the next offset and the resume point of each partition; its first offset if nothing was committed."""
    entries = {}
    for p, bounds in _bounds(log, topic, share).items():
        if p not in known:
            entries[p] = bounds.first, ResumePoint(bounds.first, policy=settings.label_policy)
            continue
        where = f"{topic} partition {p}"
        offset, point = _entry(where, known[p], bounds)
        if gap := find_gap(where, offset, point, bounds):
            report_gap(gap, accept_gap=accept_gap)
        entries[p] = max(offset, bounds.first), without_what_is_gone(point, bounds, settings)
    return entries


def _entry(where: str, known: Progress, bounds: Bounds) -> tuple[int, ResumePoint]:
    if is_flinks(known):
        raise JoinerError(
            f"{where}: got {known.metadata!r} beside its offset, by which a job of Flink's joins it, expected a joiner's resume point: "
            f"what waits is in that job's checkpoints. Start the job from the newest one; or end it for good, and then {AFRESH}"
        )
    point = read_progress(where, known, bounds, ResumePoint)
    if point.format != FORMAT:
        raise JoinerError(f"{where}: got progress of format {point.format}, expected {FORMAT}: a later version of this program wrote it")
    taken = known.offset if point.taken is None else point.taken
    if not 0 <= point.rewind <= taken <= known.offset:
        raise not_as_committed(where, known, "0 <= rewind <= taken <= the offset")
    if min(point.seen, *point.cursor) < -1 or point.appended < 0:
        raise not_as_committed(where, known, "times and a cursor of at least -1, appended of at least 0")
    return known.offset, point


def _records_around(log: Log, topic: str, start: Mapping[int, int], before: int) -> list[Record]:
    """Return the last records before the start and the next that the topic already holds: enough to tell how it was written."""
    bounds = log.bounds(topic)
    back = -(-before // len(start))
    first = {p: max(bounds[p].first, offset - back) for p, offset in start.items()}
    end = {p: bounds[p].end for p in start}
    return list(islice(read_all(log, topic, first, end, batch=FIRST), FIRST))


def _read_again(
    log: Log,
    topics: Topics,
    topic: str,
    committed: Mapping[int, tuple[int, ResumePoint]],
    joins: Mapping[int, Join],
    settings: JoinSettings,
    placement: Placement | None,
) -> None:
    """Take what is between the resume points and the offsets again, in silence: bad records were set aside the first time."""
    times = TimeRule.of(settings)
    behind = {p: point.rewind for p, (offset, point) in committed.items() if point.rewind < offset}
    if not behind:
        return
    for number, record in enumerate(read_all(log, topic, behind, {p: committed[p][0] for p in behind}, batch=BATCH)):
        if number % BATCH == 0:
            check_memory(joins.values(), settings)
        with suppress(BadRecordError):
            take(joins[record.partition], topics, record, times, placement)


def check_memory(joins: Collection[Join], settings: JoinSettings) -> None:
    """Make sure that what waits fits in the memory that was set apart for it.

    Raises:
        TooMuchWaitsError: it does not.
    """
    memory = sum(join.memory for join in joins)
    if memory > settings.most_waiting:
        waiting = sum(join.waiting for join in joins)
        raise TooMuchWaitsError(
            f"{waiting:,} impressions wait for their labels, with their clicks {memory:,} bytes, expected at most {settings.most_waiting:,}"
            ", as join.most_waiting says: raise it, or shorten click_window, or stop who writes so many; the joiner then goes on from here"
        )
