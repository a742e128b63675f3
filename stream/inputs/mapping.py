"""A site's own events → impressions and clicks, as ``[input]`` says where they are found.

An event is mapped whole or not at all: one that can't be is a dead letter with its original bytes. What is mapped is a function of its
value and the settings alone, ids included, so an event that comes again gives the same impressions, which the joiner tells as duplicates.
Whatever the bytes, mapping returns what the joiner can decode or raises :class:`BadRecordError`, in bounded memory.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeAlias

import msgspec

from stream.inputs.pointers import ABSENT, WrongTypeError, escape, find, parse
from stream.inputs.settings import ClickInput, ImpressionInput, InputSettings, TopicSettings
from stream.inputs.values import Document, MappingError, Pointer, features
from stream.records.events import LARGEST_EVENT, LARGEST_RECORD, UNREADABLE, BadRecordError, Click, ClickValue, Id, Impression, encode

MOST_ITEMS = 1_000  # of one event
LARGEST_MAPPED = 10_000_000  # bytes of all that one event is mapped to: what its items share is repeated in each

Event: TypeAlias = Impression | Click


class Mapped(NamedTuple):
    """An impression or a click, as a record."""

    is_click: bool
    impression_id: str
    value: bytes


class _Mapper:
    """What impressions and clicks have in common."""

    kind: str

    def __init__(self, settings: TopicSettings) -> None:
        self._where = [(self._pointer("where", pointer), value) for pointer, value in settings.where.items()]
        self._id, self._time, self._unit = self._pointer("id", settings.id), self._pointer("time", settings.time), settings.time_unit
        self._item_id = None if settings.item_id is None else self._pointer("item_id", settings.item_id)

    def takes(self, document: Document) -> bool:
        """Return whether the event is of this kind: one in which a pointer leads nowhere is not."""
        try:
            return all(_same(find(document, pointer.tokens), value) for pointer, value in self._where)
        except WrongTypeError:
            return False

    def time(self, document: Document) -> int:
        """Return the event's time, epoch ms."""
        return self._time.time(document, self._unit)

    @property
    def time_pointer(self) -> str:
        """The pointer to the time."""
        return self._time.pointer

    def _pointer(self, setting: str, pointer: str) -> Pointer:
        return Pointer(f"{self.kind}.{setting}", pointer, parse(pointer))

    def _name(self, document: Document, item: Document, base: str = "", index: int | None = None) -> str:
        """Return the impression's id: that of the event, with the item's where there is one."""
        of_event = self._id.text(document)
        if self._item_id is None and index is None:
            return of_event
        of_item = str(index) if self._item_id is None else self._item_id.text(item, base)
        name = f"{escape(of_event)}/{of_item}"
        expected = "an id of at most 1,000 characters, with that of its page"
        return str((self._item_id or self._id).checked(name, Id, expected, base))


class _Impressions(_Mapper):
    kind = "impressions"

    def __init__(self, settings: ImpressionInput) -> None:
        super().__init__(settings)
        self._items = None if settings.items is None else self._pointer("items", settings.items)
        self._features = self._pointers("features", settings.features)
        self._item_features = self._pointers("item_features", settings.item_features)

    def events(self, document: Document) -> Iterator[Event]:
        """Yield the impressions of an event."""
        time, shared = self.time(document), features(self._features, document)
        if self._items is None:
            yield Impression(self._name(document, document), time, shared)
            return
        items = self._items.find(document)
        if not isinstance(items, list) or len(items) > MOST_ITEMS:
            raise self._items.error(f"{len(items):,} items" if isinstance(items, list) else items, f"an array of at most {MOST_ITEMS:,}")
        for index, item in enumerate(items):
            base = f"{self._items.pointer}/{index}"
            every = shared | (own := features(self._item_features, item, base))
            if len(every) < len(shared) + len(own):
                raise self._items.error(sorted(shared.keys() & own.keys()), "features and item_features to differ in their names")
            yield Impression(self._name(document, item, base, index), time, every)

    def _pointers(self, setting: str, pointers: Mapping[str, str]) -> dict[str, Pointer]:
        return {name: self._pointer(f"{setting}.{name}", pointer) for name, pointer in pointers.items()}


class _Clicks(_Mapper):
    kind = "clicks"

    def __init__(self, settings: ClickInput) -> None:
        super().__init__(settings)
        self._value = None if settings.value is None else self._pointer("value", settings.value)

    def events(self, document: Document) -> Iterator[Event]:
        """Yield the click of an event."""
        worth = None
        if self._value and (found := self._value.find(document)) not in (ABSENT, None):
            worth = float(self._value.checked(found, ClickValue, "a number from 0 to below 2⁵³"))
        yield Click(self._name(document, document), self.time(document), worth)


class Mapper:
    """Maps the records of one topic: events of a kind that no setting names are passed over."""

    def __init__(self, settings: InputSettings, topic: str) -> None:
        """Prepare to map ``topic``.

        Raises:
            BadRecordError: the settings do not name it.
        """
        self._kinds: list[_Impressions | _Clicks] = []
        if settings.impressions and settings.impressions.topic == topic:
            self._kinds.append(_Impressions(settings.impressions))
        if settings.clicks and settings.clicks.topic == topic:
            self._kinds.append(_Clicks(settings.clicks))
        if not self._kinds:
            raise BadRecordError("topic", topic, "one that [input] names")

    def time_of(self, value: bytes | None) -> tuple[int, str] | None:
        """Return the time of what a record's value is mapped to, epoch ms, and the pointer to it; None: it is mapped to nothing.

        Raises:
            BadRecordError: it can't be read, or has no time.
        """
        document = _document(value)
        return max(((kind.time(document), kind.time_pointer) for kind in self._kinds if kind.takes(document)), default=None)

    def map(self, value: bytes | None) -> list[Mapped]:
        """Return the events of a record's value.

        Raises:
            BadRecordError: it can't be mapped.
        """
        document, mapped, size = _document(value), [], 0
        for kind in self._kinds:
            for event in kind.events(document) if kind.takes(document) else ():
                encoded = encode(event)
                size += len(encoded)
                if len(encoded) > LARGEST_EVENT or size > LARGEST_MAPPED:
                    expected = f"at most {LARGEST_EVENT:,} of one impression, and {LARGEST_MAPPED:,} of all"
                    raise MappingError(kind.kind, "", f"{len(encoded):,} bytes", expected)
                mapped.append(Mapped(isinstance(event, Click), event.impression_id, encoded))
        return mapped


def _document(value: bytes | None) -> Document:
    if value is None or len(value) > LARGEST_RECORD:
        raise BadRecordError("record", value and f"{len(value)} bytes", f"a JSON object of at most {LARGEST_RECORD} bytes")
    try:
        document = msgspec.json.decode(value)
    except msgspec.ValidationError as error:
        raise BadRecordError("record", value, "numbers in the range of a double") from error
    except UNREADABLE as error:
        raise BadRecordError("record", value, "a JSON object in UTF-8") from error
    if not isinstance(document, dict):
        raise BadRecordError("record", document, "a JSON object")
    return document


def _same(found: object, wanted: object) -> bool:
    """Return whether two values of JSON are equal: true is not 1."""
    return found == wanted and isinstance(found, bool) == isinstance(wanted, bool)
