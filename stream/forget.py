"""Ask for a value to be forgotten, and look for what is left of it.

The request goes to the learner through ``examples`` (:mod:`stream.learn.forgotten`). Impressions that hold the value get a
record with their key and no value after them: the joiner then makes no example of one that waits, and a log that is compacted deletes it.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from model.encoding.features import Encoder
from model.encoding.keys import FeatureError, Value, key_of
from model.settings import Field
from stream.learn.forgotten import Forgotten
from stream.log.contract import Log, Message, Record
from stream.log.reading import read_all
from stream.log.topics import Topics
from stream.records.events import BadRecordError, Forget, Impression, decode_impression, encode

_BATCH = 1_000  # records


class ForgetError(ValueError):
    """A value can't be forgotten."""


class _Found(NamedTuple):
    partition: int
    impression: Impression


def fields_to_forget(fields: Sequence[Field], named: str | None, personal: Sequence[str]) -> list[Field]:
    """Return the field that is named, or else those that the settings list as personal.

    Raises:
        ForgetError: there is none, or a cross is made of it, whose rows can't be found by one of their two values.
    """
    names = [named] if named else list(personal)
    known = [field for field in fields if field.name in names]
    if not known:
        got = repr(named) if named else "none, and privacy.fields is empty"
        raise ForgetError(f"field: got {got}, expected one of {', '.join(field.name for field in fields)}")
    if crosses := [cross.name for cross in fields for field in known if cross.kind == "cross" and field.name in cross.of]:
        got = ", ".join(field.name for field in known)
        raise ForgetError(
            f"field: got {got}, expected a field of which no cross is made, and {', '.join(crosses)} is: its rows can't be found"
        )
    return known


def ask(log: Log, topics: Topics, fields: Sequence[Field], value: Value, until: int, by: str | None = None) -> list[Forget]:
    """Write a request to forget ``value`` in each of ``fields``, and return the requests.

    Args:
        log: The log.
        topics: The model's topics.
        fields: Which of the model's fields to forget it in.
        value: The value.
        until: The time, epoch ms, up to which impressions with the value are not learned any more.
        by: Who asks.

    Raises:
        ForgetError: a field has no row for the value alone; nothing was written.
    """
    requests = [Forget.of(key, until, by and by[:200]) for key in keys_of(fields, value)]
    log.append([Message(topics.examples, None, encode(request), partition=0) for request in requests])
    return requests


def keys_of(fields: Sequence[Field], value: Value) -> list[int]:
    """Return the keys of ``value`` in each of ``fields``.

    Raises:
        ForgetError: a field has no row for the value alone.
    """
    try:
        return [key_of(field, value) for field in fields]
    except FeatureError as error:
        raise ForgetError(str(error)) from error


def delete_impressions(log: Log, topics: Topics, fields: Sequence[Field], requests: Sequence[Forget]) -> int:
    """Write a null value for each impression that a request is about, and return how many there are."""
    count = 0
    for batch in _impressions(log, topics, fields, requests):
        log.append([Message(topics.impressions, each.impression_id.encode(), None, partition=partition) for partition, each in batch])
        count += len(batch)
    return count


def count_impressions(log: Log, topics: Topics, fields: Sequence[Field], requests: Sequence[Forget]) -> int:
    """Return how many impressions that a request is about the log still holds."""
    return sum(map(len, _impressions(log, topics, fields, requests)))


def _impressions(log: Log, topics: Topics, fields: Sequence[Field], requests: Sequence[Forget]) -> Iterator[list[_Found]]:
    """Yield the impressions that hold the value, some at a time."""
    encoder, forgotten = Encoder(fields), Forgotten({request.key: request.until for request in requests})
    records = read_all(log, topics.impressions)
    while batch := list(islice(records, _BATCH)):
        events = [_Found(record.partition, event) for record in batch if isinstance(event := _decoded(record), Impression)]
        features, bad = encoder.encode([event.features for _, event in events], [event.time for _, event in events])
        good = [each for n, each in enumerate(events) if n not in bad]
        holders = forgotten.holders(features, np.array([event.time for _, event in good], np.int64))
        yield [good[n] for n in holders]


def _decoded(record: Record) -> object:
    try:
        return decode_impression(record.json)
    except BadRecordError:
        return None
