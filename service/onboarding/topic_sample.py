"""The newest events of a topic, to infer their shape from."""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, NamedTuple, Self

import msgspec

from service.onboarding.sample import Sample
from stream.files.layout import Logged
from stream.inputs.mapping import Mapped, Mapper
from stream.inputs.settings import InputSettings
from stream.log.contract import Log, LogError, UnknownTopicError
from stream.log.reading import read_all
from stream.records.events import UNREADABLE, BadRecordError, Impression, decode_impression

EVENTS = 5_000  # the newest of a topic that are looked at
_BYTES = 64_000_000  # of their values
_SECONDS = 60.0  # for reading them
_ADDRESS = re.compile(r"(kafka://[^/\s]+|sqlite:///.+)/([A-Za-z0-9._-]+)")


class TopicError(LogError):
    """Nothing can be inferred from a topic."""


class Address(NamedTuple):
    """A topic of a log."""

    url: str
    topic: str

    def __str__(self) -> str:
        """Return it as it is written."""
        return f"{self.url}/{self.topic}"

    @classmethod
    def of(cls, text: str) -> Self | None:
        """Return the address that a text is; None: it is none, but the name of a file.

        >>> Address.of("kafka://broker:9092/site.views")
        Address(url='kafka://broker:9092', topic='site.views')
        """
        found = _ADDRESS.fullmatch(text)
        return cls(found[1], found[2]) if found else None


class TopicSample(NamedTuple):
    """Some events of a topic."""

    topic: str
    events: Sequence[dict[str, Any]]
    others: int  # records that hold no JSON object

    @classmethod
    def read(cls, log: Log, topic: str) -> Self:
        """Read the newest events of ``topic``.

        Raises:
            TopicError: it does not exist, or holds none.
            LogError: it can't be read.
        """
        try:
            bounds = log.bounds(topic)
        except UnknownTopicError as error:
            raise TopicError(f"topic {topic!r} does not exist") from error
        share = max(1, EVENTS // len(bounds))
        start = {p: found.newest(share) for p, found in bounds.items()}
        events, others, size = [], 0, 0
        for record in islice(read_all(log, topic, start, {p: found.end for p, found in bounds.items()}, timeout=_SECONDS), EVENTS):
            event = _decoded(record.value)
            size += len(record.value or b"")
            if isinstance(event, dict):
                events.append(event)
            else:
                others += 1
            if size > _BYTES:
                break
        if not events:
            raise TopicError(f"topic {topic!r}: got {others} records, expected some with JSON objects")
        return cls(topic, events, others)


def shown(inputs: InputSettings, views: TopicSample, clicks: TopicSample) -> Sample:
    """Return what ``inputs`` makes of the views, each item being clicked if a click of the sample names it.

    Raises:
        TopicError: the views show nothing.
    """
    clicked = {each.impression_id for each in _mapped(inputs, clicks) if each.is_click}
    impressions = {each.impression_id: decode_impression(each.value) for each in _mapped(inputs, views) if not each.is_click}
    found = [(name, each) for name, each in impressions.items() if isinstance(each, Impression)]
    if not found:
        raise TopicError(f"topic {views.topic!r}: got events that show nothing, expected some that do")
    sample = Sample()
    sample.add([Logged(n, each.time, int(name in clicked), each.features, None) for n, (name, each) in enumerate(found, 1)])
    return sample


def _mapped(inputs: InputSettings, sample: TopicSample) -> Iterator[Mapped]:
    """Yield what the events of a sample are mapped to; those that can't be are passed over."""
    if sample.topic not in inputs.topics:
        return
    mapper = Mapper(inputs, sample.topic)
    for event in sample.events:
        with suppress(BadRecordError):
            yield from mapper.map(msgspec.json.encode(event))


def _decoded(value: bytes | None) -> Any:
    try:
        return msgspec.json.decode(value or b"")
    except UNREADABLE:
        return None
