"""What the pointers of ``[input]`` lead to in an event: texts, times and features, or the error that names setting, pointer and value."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

import msgspec

from stream.inputs.pointers import ABSENT, WrongTypeError, find
from stream.records.events import LARGEST_EVENT, BadRecordError, Feature, Id
from stream.records.nested import EXPECTED, NestedError, members
from stream.records.times import LATEST_TIME, expected_time, ms_of

_OF_A_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_UNITS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
_A_FEATURE = "a text, number, boolean or null, or a list of these"

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


class Pointer(NamedTuple):
    """A setting that is a pointer. It is looked up in a whole event, or in a part of it, to which the pointer ``base`` leads."""

    setting: str
    pointer: str
    tokens: tuple[str, ...]

    def find(self, document: Document, base: str = "") -> Any:
        """Return what is there."""
        try:
            return find(document, self.tokens)
        except WrongTypeError as error:
            raise self.error(error.value, "objects and arrays on the way", base) from error

    def text(self, document: Document, base: str = "") -> str:
        """Return the text, or the whole number, that is there."""
        found = self.find(document, base)
        text = str(found) if isinstance(found, int) and not isinstance(found, bool) else found
        return str(self.checked(text, Id, "a text of 1 to 1,000 characters, or a whole number", base))

    def time(self, document: Document, unit: str) -> int:
        """Return the time that is there, epoch ms."""
        found = self.find(document)
        try:
            time = milliseconds(found, unit)
        except (TypeError, ValueError, OverflowError, msgspec.ValidationError) as error:
            raise self.error(found, f"epoch {_UNITS[unit]} (time_unit), or ISO 8601") from error
        if not 0 <= time <= LATEST_TIME:
            raise self.error(found, expected_time(time) if unit == "ms" and time > 0 else f"epoch {_UNITS[unit]}")
        return time

    def checked(self, value: Any, kind: Any, expected: str, base: str = "") -> Any:
        """Return what was found there, if it is of a kind."""
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            raise self.error(value, expected, base) from error

    def error(self, value: object, expected: str, base: str = "") -> MappingError:
        """Return what is wrong with the value that is there."""
        return MappingError(self.setting, base + self.pointer, value, expected)


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


def features(pointers: Mapping[str, Pointer], document: Document, base: str = "") -> dict[str, Feature]:
    """Return the features that are found; one that is missing is left out."""
    found: dict[str, Feature] = {}
    size = 0
    for outer, pointer in pointers.items():
        value = pointer.find(document, base)
        if value is ABSENT:
            continue
        for name, feature in _members(outer, value, pointer, base):
            size += len(name)
            if size > LARGEST_EVENT:
                raise pointer.error(f"names of {size:,} characters", f"at most {LARGEST_EVENT:,} in all features", base)
            if name in found:
                raise pointer.error(name, "no feature twice", base)
            found[name] = feature
    return found


def _members(outer: str, value: Any, pointer: Pointer, base: str) -> Iterator[tuple[str, Feature]]:
    """Yield a value under its name, or those of an object under ``NAME.MEMBER``."""
    try:
        for name, feature in members(outer, value):
            if isinstance(feature, list) and any(isinstance(each, dict | list) for each in feature):
                raise pointer.error({name: feature}, f"{_A_FEATURE}; or pointers to what is in it", base)
            yield name, feature
    except NestedError as error:
        raise pointer.error(str(error), EXPECTED, base) from error
