"""A site's own events -> impressions and clicks, as ``[input]`` says where they are found.

An event is mapped whole or not at all: one that can't be is a dead letter with its original bytes. What is mapped is a function of its
value and the settings alone, ids included, so an event that comes again gives the same impressions, which the joiner tells as duplicates.
Whatever the bytes, mapping returns what the joiner can decode or raises :class:`BadRecordError`, in bounded memory.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

import msgspec

from stream.events import (
    LARGEST_EVENT,
    LARGEST_RECORD,
    UNREADABLE,
    BadRecordError,
    Click,
    ClickValue,
    Feature,
    Id,
    Impression,
    encode,
)
from stream.input_settings import ClickInput, ImpressionInput, InputSettings, TopicSettings
from stream.pointers import ABSENT, WrongTypeError, escape, find, parse
from stream.times import LATEST_TIME, expected_time, ms_of

MOST_ITEMS = 1_000  # of one event
LARGEST_MAPPED = 10_000_000  # bytes of all that one event is mapped to: what its items share is repeated in each
MOST_NESTED = 16  # objects within each other that become features
LONGEST_NAME = 1_000  # characters of a feature's name: those of nested objects repeat the outer names

_OF_A_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_UNITS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
_A_FEATURE = "a text, number, boolean or null, or a list of these"

Event: TypeAlias = Impression | Click
Document: TypeAlias = Any  # decoded JSON


class MappingError(BadRecordError):
    """An event does not hold at a pointer what ``[input]`` says."""

    def __init__(self, setting: str, pointer: str, value: object, expected: str) -> None:
        """Name the setting, the pointer, what is there and what was expected."""
        super().__init__(pointer, "nothing" if value is ABSENT else value, f"{expected}, as input.{setting}")
        self._setting = setting.partition(".")[2].partition(".")[0]

    @property
    def reason(self) -> str:
        """Return the setting at fault: names in the data are without number."""
        return self._setting or "record"


class Mapped(NamedTuple):
    """An impression or a click, as a record."""

    is_click: bool
    impression_id: str
    value: bytes


class _Place(NamedTuple):
    """A setting that is a pointer."""

    setting: str
    pointer: str
    tokens: tuple[str, ...]

    def find(self, document: Document, base: str = "") -> Any:
        """Return what is there; ``base`` is the pointer to the document itself."""
        try:
            return find(document, self.tokens)
        except WrongTypeError as error:
            raise self.error(error.value, "objects and arrays on the way", base) from error

    def error(self, value: object, expected: str, base: str = "") -> MappingError:
        return MappingError(self.setting, base + self.pointer, value, expected)


class _Mapper:
    """What impressions and clicks have in common."""

    kind: str

    def __init__(self, settings: TopicSettings) -> None:
        self._where = [(self._place("where", pointer), value) for pointer, value in settings.where.items()]
        self._id, self._time, self._unit = self._place("id", settings.id), self._place("time", settings.time), settings.time_unit
        self._item_id = None if settings.item_id is None else self._place("item_id", settings.item_id)

    def takes(self, document: Document) -> bool:
        """Return whether the event is of this kind: one in which a pointer leads nowhere is not."""
        try:
            return all(_same(find(document, place.tokens), value) for place, value in self._where)
        except WrongTypeError:
            return False

    def time(self, document: Document) -> int:
        """Return the event's time, epoch ms."""
        found = self._time.find(document)
        try:
            time = milliseconds(found, self._unit)
        except (TypeError, ValueError, OverflowError, msgspec.ValidationError) as error:
            raise self._time.error(found, f"epoch {_UNITS[self._unit]} (time_unit), or ISO 8601") from error
        if not 0 <= time <= LATEST_TIME:
            raise self._time.error(found, expected_time(time) if self._unit == "ms" and time > 0 else f"epoch {_UNITS[self._unit]}")
        return time

    @property
    def time_pointer(self) -> str:
        """The pointer to the time."""
        return self._time.pointer

    def _place(self, setting: str, pointer: str) -> _Place:
        return _Place(f"{self.kind}.{setting}", pointer, parse(pointer))

    def _name(self, document: Document, item: Document, base: str = "", index: int | None = None) -> str:
        """Return the impression's id: that of the event, with the item's where there is one."""
        of_event = _text(self._id, document)
        if self._item_id is None and index is None:
            return of_event
        of_item = str(index) if self._item_id is None else _text(self._item_id, item, base)
        name = f"{escape(of_event)}/{of_item}"
        return str(_checked(self._item_id or self._id, name, Id, "an id of at most 1,000 characters, with that of its page", base))


class _Impressions(_Mapper):
    kind = "impressions"

    def __init__(self, settings: ImpressionInput) -> None:
        super().__init__(settings)
        self._items = None if settings.items is None else self._place("items", settings.items)
        self._features = self._places("features", settings.features)
        self._item_features = self._places("item_features", settings.item_features)

    def events(self, document: Document) -> Iterator[Event]:
        """Yield the impressions of an event."""
        time, shared = self.time(document), _features(self._features, document)
        if self._items is None:
            yield Impression(self._name(document, document), time, shared)
            return
        items = self._items.find(document)
        if not isinstance(items, list) or len(items) > MOST_ITEMS:
            raise self._items.error(f"{len(items):,} items" if isinstance(items, list) else items, f"an array of at most {MOST_ITEMS:,}")
        for index, item in enumerate(items):
            base = f"{self._items.pointer}/{index}"
            features = shared | (own := _features(self._item_features, item, base))
            if len(features) < len(shared) + len(own):
                raise self._items.error(sorted(shared.keys() & own.keys()), "features and item_features to differ in their names")
            yield Impression(self._name(document, item, base, index), time, features)

    def _places(self, setting: str, pointers: Mapping[str, str]) -> dict[str, _Place]:
        return {name: self._place(f"{setting}.{name}", pointer) for name, pointer in pointers.items()}


class _Clicks(_Mapper):
    kind = "clicks"

    def __init__(self, settings: ClickInput) -> None:
        super().__init__(settings)
        self._value = None if settings.value is None else self._place("value", settings.value)

    def events(self, document: Document) -> Iterator[Event]:
        """Yield the click of an event."""
        worth = None
        if self._value and (found := self._value.find(document)) not in (ABSENT, None):
            worth = float(_checked(self._value, found, ClickValue, "a number from 0 to below 2⁵³"))
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


def _text(place: _Place, document: Document, base: str = "") -> str:
    found = place.find(document, base)
    text = str(found) if isinstance(found, int) and not isinstance(found, bool) else found
    return str(_checked(place, text, Id, "a text of 1 to 1,000 characters, or a whole number", base))


def _checked(place: _Place, value: Any, kind: Any, expected: str, base: str = "") -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise place.error(value, expected, base) from error


def milliseconds(value: Any, unit: str) -> int:
    """Return a time in epoch ms.

    Raises:
        TypeError, ValueError, OverflowError, msgspec.ValidationError: it is none.
    """
    if isinstance(value, str) and not value.isdecimal():
        return ms_of(msgspec.convert(value, datetime))
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError
    of_a_second = _OF_A_SECOND[unit]
    return round(1_000 * value / of_a_second) if isinstance(value, float) else 1_000 * int(value) // of_a_second


def _features(places: Mapping[str, _Place], document: Document, base: str = "") -> dict[str, Feature]:
    """Return the features that are found; one that is missing is left out."""
    found: dict[str, Feature] = {}
    size = 0
    for outer, place in places.items():
        value = place.find(document, base)
        if value is ABSENT:
            continue
        for name, feature in _flat(outer, value, place, base):
            size += len(name)
            if size > LARGEST_EVENT:
                raise place.error(f"names of {size:,} characters", f"at most {LARGEST_EVENT:,} in all features", base)
            if name in found:
                raise place.error(name, "no feature twice", base)
            found[name] = feature
    return found


def _flat(name: str, value: Any, place: _Place, base: str, depth: int = 0) -> Iterator[tuple[str, Feature]]:
    """Yield a value under its name, or those of an object under ``NAME.MEMBER``."""
    if len(name) > LONGEST_NAME or depth > MOST_NESTED:
        raise place.error(name, f"names of at most {LONGEST_NAME:,} characters, {MOST_NESTED} objects within each other", base)
    if isinstance(value, dict):
        for member, inner in value.items():
            yield from _flat(f"{name}.{member}", inner, place, base, depth + 1)
    elif isinstance(value, list) and any(isinstance(each, dict | list) for each in value):
        raise place.error({name: value}, f"{_A_FEATURE}; or pointers to what is in it", base)
    else:
        yield name, value
