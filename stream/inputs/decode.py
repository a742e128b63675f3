"""Decode a record of the joiner's inputs: which impression it is about, and how far it advances event time."""

from typing import TypeAlias

from stream.inputs.event_time import TimeRule
from stream.log.contract import Record
from stream.log.topics import Topics
from stream.records.events import BadRecordError, Click, Impression, Watermark, decode_click, decode_impression

Event: TypeAlias = Impression | Click | Watermark | str  # a string: the tombstone of that id


def input_topics(topics: Topics) -> tuple[str, str]:
    """Return the two topics that are joined."""
    return topics.impressions, topics.clicks


def event_of(record: Record, topics: Topics) -> Event:
    """Decode a record of either input.

    Raises:
        BadRecordError: the record can't be used.
    """
    if record.topic == topics.clicks:
        return decode_click(record.json)
    return id_of_key(record.key) if record.value is None else decode_impression(record.json)


def id_of_key(key: bytes | None) -> str:
    """Decode the key of a tombstone.

    Raises:
        BadRecordError: it is no id.
    """
    if not key:
        raise BadRecordError("key", key, "the id of the impression that is to be forgotten")
    try:
        return key.decode()
    except UnicodeDecodeError as error:
        raise BadRecordError("key", key, "an impression's id in UTF-8") from error


def observed_time(event: Impression | Click | Watermark, record: Record, times: TimeRule) -> int:
    """Return how far an event advances event time.

    Raises:
        FutureTimeError: its time is later than its append time allows.
        TimeUnitError: its time is in seconds.
    """
    if isinstance(event, Watermark):
        return times.observed(event.watermark, record, "watermark")
    return times.observed(event.time, record)


def id_of(event: Event) -> str | None:
    """Return the id of the impression that an event is about; None for a watermark.

    >>> id_of(Click("i-1", 1))
    'i-1'
    """
    if isinstance(event, Watermark):
        return None
    return event if isinstance(event, str) else event.impression_id
