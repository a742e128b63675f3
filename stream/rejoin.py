"""Where the joiner was: from its last commit to the state it had then, by reading again what may still matter.

Nothing is kept but the log. A note committed with each input's next offset says from where to read, and what came before that.
"""

import time
from collections.abc import Mapping
from contextlib import closing, suppress
from typing import NamedTuple

import msgspec

from stream.eager import EagerJoin
from stream.event_time import TimeRule
from stream.events import BadRecordError, Click, Impression, Watermark, decode_click, decode_impression
from stream.join import Join
from stream.log import Bounds, Log, LogError, Progress, Record
from stream.settings import JoinSettings
from stream.sight import Note
from stream.topics import Topics

BATCH = 5_000  # records read at once
_DAY = 86_400_000  # ms: our clock may be wrong, too


class JoinerError(LogError):
    """The joiner can't go on from what the log holds."""


class Rejoined(NamedTuple):
    """Every partition's state, and from where to read on: the next offset of each partition, by topic."""

    joins: dict[int, Join]
    starts: dict[str, dict[int, int]]


def rejoin(log: Log, topics: Topics, owner: str, settings: JoinSettings) -> Rejoined:
    """Rebuild the state that ``owner`` last committed.

    Raises:
        JoinerError: the topics don't fit each other, or the log does not fit the progress.
        OffsetGoneError: retention has deleted records that still matter.
    """
    _check_partitions(log, topics)
    committed = {topic: _committed(log, topic, owner, settings.label_policy) for topic in (topics.impressions, topics.clicks)}
    impressions, clicks = committed.values()
    if not log.progress(owner, topics.impressions) and any(bounds.end for bounds in log.bounds(topics.examples).values()):
        message = f"{topics.examples!r} holds examples, but there is no progress of {owner!r}: expected both or neither. "
        raise JoinerError(message + "Joining from the start would write every example a second time; use another prefix")
    _check_times(committed, settings)
    joins = {p: new_join(settings, impressions[p][1], clicks[p][1]) for p in impressions}
    for topic, entries in committed.items():
        _read_again(log, topics, topic, entries, joins, TimeRule.of(settings))
    for join in joins.values():
        join.resume()
    starts = {topic: {p: offset for p, (offset, _) in entries.items()} for topic, entries in committed.items()}
    return Rejoined(joins, starts)


def new_join(settings: JoinSettings, impressions: Note, clicks: Note) -> Join:
    """Give the join that the settings ask for.

    Raises:
        JoinerError: the notes were written under another policy.
    """
    policy = settings.label_policy
    if impressions.policy != policy:
        message = f"expected progress under label_policy {policy!r}, got {impressions.policy!r}: what waits would be lost, or come twice. "
        raise JoinerError(message + "Another policy needs another prefix")
    window, lateness, skew = (round(1000 * seconds) for seconds in (settings.click_window, settings.lateness, settings.clock_skew))
    if policy == "window":
        return Join(window, lateness, impressions, clicks, learn_late=settings.late_clicks == "learn", clock_skew=skew)
    return EagerJoin(policy, window, lateness, impressions, clicks, clock_skew=skew)


def take(join: Join, topics: Topics, record: Record, times: TimeRule) -> None:
    """Give a record of either input to the join of its partition.

    Raises:
        BadRecordError: it can't be used.
    """
    if record.topic == topics.clicks:
        click = decode_click(record.value)
        join.click(record, click, _observed(click, record, times))
    elif record.value is None:
        join.forget(record.offset, _impression_id(record.key))
    else:
        impression = decode_impression(record.value)
        join.impression(record, impression, _observed(impression, record, times))


def _observed(event: Impression | Click | Watermark, record: Record, times: TimeRule) -> int:
    if isinstance(event, Watermark):
        return times.observed(event.watermark, record, "watermark")
    return times.observed(event.time, record)


def progress(next_offset: int, note: Note) -> Progress:
    """Write a note beside an offset."""
    return Progress(next_offset, msgspec.json.encode(note).decode())


def _impression_id(key: bytes | None) -> str:
    if not key:
        raise BadRecordError("key", key, "the id of the impression that is to be forgotten")
    try:
        return key.decode()
    except UnicodeDecodeError as error:
        raise BadRecordError("key", key, "an impression's id in UTF-8") from error


def from_now(log: Log, topics: Topics, settings: JoinSettings) -> dict[tuple[str, int], Progress]:
    """Return the progress of a joiner that has read both inputs to their ends, and knows nothing of what they held."""
    _check_partitions(log, topics)
    return {
        (topic, p): progress(bounds.end, Note(bounds.end, policy=settings.label_policy))
        for topic in (topics.impressions, topics.clicks)
        for p, bounds in log.bounds(topic).items()
    }


def _check_times(committed: Mapping[str, Mapping[int, tuple[int, Note]]], settings: JoinSettings) -> None:
    """Refuse to go on from a time that has not come yet: an earlier version believed an event whose clock was wrong."""
    latest = int(time.time() * 1000) + _DAY
    for topic, entries in committed.items():
        for p, (_, note) in entries.items():
            if note.seen > latest and not settings.accept_future:
                message = (
                    f"{topic} partition {p} has come as far as {note.seen}, expected at most the present: no impression will be in time. "
                )
                raise JoinerError(message + "`sml join --from-now --until-caught-up`, once, leaves what it holds behind and begins anew")


def _check_partitions(log: Log, topics: Topics) -> None:
    counts = {topic: len(log.bounds(topic)) for topic in (topics.impressions, topics.clicks, topics.examples)}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{topic} {count}" for topic, count in counts.items())
        message = f"expected equal numbers of partitions, got {found}"
        raise JoinerError(message)


def _committed(log: Log, topic: str, owner: str, policy: str) -> dict[int, tuple[int, Note]]:
    """Give the next offset and the note of each partition; where nothing was committed, its first offset."""
    known = log.progress(owner, topic)
    return {
        p: _entry(f"{topic} partition {p}", known[p], bounds) if p in known else (bounds.first, Note(bounds.first, policy=policy))
        for p, bounds in log.bounds(topic).items()
    }


def _entry(where: str, known: Progress, bounds: Bounds) -> tuple[int, Note]:
    try:
        note = msgspec.json.decode(known.metadata, type=Note)
    except msgspec.DecodeError as error:
        message = f"{where}: expected the joiner's note beside its offset, got {known.metadata!r}"
        raise JoinerError(message) from error
    if known.offset > bounds.end:
        message = f"{where}: read up to offset {known.offset}, but the log ends at {bounds.end}; is it another log, or an older copy?"
        raise JoinerError(message)
    return known.offset, note


def _read_again(
    log: Log, topics: Topics, topic: str, committed: Mapping[int, tuple[int, Note]], joins: Mapping[int, Join], times: TimeRule
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
                        take(joins[record.partition], topics, record, times)
