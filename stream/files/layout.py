"""What the columns of a recorded log are, and what their values say: labels and times, as people write them."""

import operator
import re
import reprlib
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple, Self

from model.encoding.keys import Value
from stream.files.block import Row
from stream.files.blocks import format_of
from stream.files.opened import FileError
from stream.records.times import LATEST_TIME, ms_of
from stream.settings import DataSettings

_LABELS = {"0": 0, "1": 1, "-1": -1, "0.0": 0, "1.0": 1, "-1.0": -1}
_LABELS |= {"false": 0, "true": 1, "f": 0, "t": 1, "no": 0, "yes": 1, "n": 0, "y": 1}
_COMPARE = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt, "!=": operator.ne, "=": operator.eq}
_UNITS = ((1e14, 1), (1e17, 1e-3), (1e20, 1e-6))  # a time below is in ms (from 1973 on), µs or ns
_SECONDS = 1e11  # a time below is in seconds (until 5138)
_A_TIME = "epoch seconds, ms, µs or ns, or ISO 8601"
_A_DATE_AND_CLOCK = "a date, and an hour or a clock's time"
_A_LABEL = "0 or 1, -1 or 1, yes or no, true or false; [data] positive, --positive '= clicked', says which others are clicks"
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_EMPTY = (None, "")


class BadRowError(FileError):
    """A row lacks its label or time, or has a wrong one."""

    def __init__(self, path: Path, row: int, column: str, value: object, expected: str) -> None:
        super().__init__(f"{path}: row {row}, column {column!r}: got {reprlib.repr(value)}, expected {expected}")
        self.row, self.column, self.value, self.expected = row, column, value, expected


class Logged(NamedTuple):
    """One row: an impression and whether it was clicked."""

    number: int  # from 1
    time: int  # epoch ms; the row's number if the file has no time
    label: int  # 0 or 1
    features: dict[str, Value]  # every other column
    clicked_at: int | None  # epoch ms, if it was clicked and the file says when
    page: tuple[Any, ...] | None = None  # its values in the columns that a page's rows have equal; None: a page of its own


class Layout(NamedTuple):
    """What the columns of a file are; those without a role are features."""

    format: str
    label: "Role"
    time: "Role"
    click: "Role"
    together: tuple[str, ...]

    @classmethod
    def of(cls, path: Path, data: DataSettings) -> Self:
        """Return the layout that the settings and the file's name tell.

        Raises:
            FileError: the name does not tell the format.
        """
        file_format = format_of(path) if data.format == "auto" else data.format
        label = Role(path, (data.label,), _compared(data.positive), f"a value to compare by {data.positive!r}") if data.positive else None
        return cls(
            file_format,
            label or Role(path, (data.label,), _Labels(), _A_LABEL),
            _time(path, file_format, data),
            Role(path, (data.click_time,) if data.click_time else (), epoch_ms, _A_TIME),
            data.together,
        )

    @property
    def roles(self) -> frozenset[str]:
        """Return the names of the columns that are no features."""
        return frozenset((*self.label.names, *self.time.names, *self.click.names))

    def logged(self, number: int, row: int, features: Row) -> Logged | None:
        """Return a row; None: its label is empty.

        Args:
            number: The row's in the log.
            row: The row's in its file.
            features: All its columns; those with a role are removed from it.

        Raises:
            BadRowError: its label or time is missing or wrong.
        """
        page = tuple([features.get(name) for name in self.together]) if self.together else None
        if is_empty(features.get(self.label.names[0], ABSENT)):
            return None
        clicked = self.label.pop(features, row)
        at = self.time.pop(features, row) if self.time.names else number
        clicked_at = None
        for name in self.click.names:
            clicked_at = self.click.pop(features, row) if clicked and not is_empty(features.get(name)) else None
            features.pop(name, None)
        return Logged(number, at, clicked, features, clicked_at, page)


ABSENT = object()  # what a row without a column has there


def is_empty(value: object) -> bool:
    """Return whether a cell says nothing: a label that nobody gave, or a click without a time of its own."""
    return value in _EMPTY or value != value  # noqa: PLR0124 - NaN


class Role(NamedTuple):
    """Columns that are no feature, and how their values, with a space between them, are parsed; none: nothing has the role."""

    path: Path
    names: tuple[str, ...]
    parse: Callable[[Any], int]
    expected: str

    def pop(self, features: Row, row: int) -> int:
        """Remove the columns from a row's features and return what they say."""
        values = [features.pop(name, None) for name in self.names]
        value = joined(values)
        try:
            return self.parse(value)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise BadRowError(self.path, row, ", ".join(self.names), value, self.expected) from error


def joined(values: Sequence[Any]) -> Any:
    """Return one value as it is, several as a text."""
    return values[0] if len(values) == 1 else " ".join("" if value is None else str(value) for value in values)


class _Labels:
    """Parse labels that say yes or no; those of one file say no by 0 or by -1, not by both."""

    def __init__(self) -> None:
        self._no: int | None = None

    def __call__(self, value: Any) -> int:
        label = _LABELS[value.strip().lower()] if isinstance(value, str) else int(value) if value in (0, 1, -1) else None
        if label is None or (label < 1 and self._no not in (None, label)):
            raise ValueError("no label")
        if label < 1:
            self._no = label
        return max(label, 0)


def _compared(positive: str) -> Callable[[Any], int]:
    """Return what parses a value, and says whether it is, say, ``>= 4`` or ``= oui``."""
    sign = re.match("[<>!=]+", positive)
    compare, other = _COMPARE[sign[0]], positive[sign.end() :].strip()  # type: ignore[index,union-attr]  # the settings check it
    if not _NUMBER.fullmatch(other):
        return lambda value: int(compare(str.strip(value), other))
    number = float(other)

    def parse(value: Any) -> int:
        if (found := float(value)) != found:
            raise ValueError("no number")
        return int(compare(found, number))

    return parse


def _time(path: Path, file_format: str, data: DataSettings) -> Role:
    """Return the columns of the time, and how they are parsed."""
    if file_format == "avazu":
        return Role(path, data.time_columns or ("hour",), partial(_by_format, "%y%m%d%H"), "YYMMDDHH")
    if data.time_format:
        return Role(path, data.time_columns, partial(_by_format, data.time_format), data.time_format)
    several = len(data.time_columns) > 1
    return Role(
        path,
        data.time_columns,
        _date_and_clock if several else epoch_ms,
        f"{_A_DATE_AND_CLOCK if several else _A_TIME}; [data] time_format, --time-format, tells another form",
    )


def epoch_ms(value: Any) -> int:
    """Parse a time: epoch seconds, ms, µs or ns, by magnitude, or ISO 8601 (UTC unless it says otherwise).

    >>> epoch_ms("1650812741"), epoch_ms(1650812741436), epoch_ms(1650812741436000), epoch_ms("2022-04-24T15:05:41.436Z")
    (1650812741000, 1650812741436, 1650812741436, 1650812741436)

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(value, str):
        try:
            value = float(value)  # exact: ms have 13 digits
        except ValueError:
            return _ms(datetime.fromisoformat(value.removesuffix(" UTC")))  # as BigQuery writes it
    if not isinstance(value, bool) and value >= 0:
        if value < _SECONDS:
            return int(round(value * 1_000_000) // 1_000)  # a float has seconds to the µs
        for below, ms in _UNITS:
            if value < below:
                return int(value * ms)
    raise ValueError("no time")


@lru_cache
def _by_format(form: str, value: Any) -> int:
    return _ms(datetime.strptime(str(value), form))  # noqa: DTZ007 - UTC unless it says otherwise


@lru_cache
def _date_and_clock(value: str) -> int:
    """Parse ``2026-11-01 7``, ``20261101 730`` or ``2026-11-01 07:30``."""
    date, _, clock = value.partition(" ")
    return _ms(datetime.fromisoformat(f"{date}T{clock.zfill(2 if len(clock) < 3 else 4)}"))  # noqa: PLR2004 - digits of an hour


def _ms(moment: datetime) -> int:
    at = ms_of(moment)
    if not 0 <= at <= LATEST_TIME:
        raise ValueError("no time")
    return at
