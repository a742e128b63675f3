"""Read recorded logs row by row in constant memory: CSV, TSV, JSON lines, Parquet, each also compressed by gzip or zstd.

The Kaggle files of Avazu (``train.csv``) and Criteo (``train.txt``) are formats of their own. No row is ever skipped silently:
a row that can't be read stops the reading with its number, its column, what was received and what was expected.
"""

import csv
import os
import reprlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import pyarrow as pa

from model.keys import Value
from stream.events import LATEST_TIME
from stream.file_blocks import COMPRESSED, FileError, Row, blocks
from stream.settings import DataSettings

_SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".parquet": "parquet", ".pq": "parquet"}
_LABELS = {"0": 0, "1": 1, 0: 0, 1: 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1, "False": 0, "True": 1}  # 0 also matches False and 0.0
_SECONDS_END = 100_000_000_000  # below it (year 5138) a time is in seconds, from it on (1973) in ms
_MS_END = 1_000 * _SECONDS_END
_A_TIME = "epoch seconds or milliseconds, or ISO 8601"
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


def read(path: Path, data: DataSettings) -> Iterator[Logged]:
    """Read a recorded log in its own order.

    Raises:
        FileError: it can't be read, or its name does not tell its format.
        BadRowError: a row's label or time is missing or wrong.
    """
    layout = Layout.of(path, data)
    for number, features in rows(path, layout.format):
        yield layout.logged(number, features)


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
        file_format = _format(path, data)
        avazu = file_format == "avazu"
        parse, expected = (_yymmddhh, "YYMMDDHH") if avazu else (epoch_ms, _A_TIME)
        return cls(
            file_format,
            Role(path, data.label, _LABELS.__getitem__, "0 or 1"),
            Role(path, data.time or ("hour" if avazu else None), parse, expected),
            Role(path, data.click_time, epoch_ms, _A_TIME),
            data.together,
        )

    @property
    def roles(self) -> frozenset[str | None]:
        """Return the names of the columns that are no features."""
        return frozenset((self.label.name, self.time.name, self.click.name))

    def logged(self, number: int, features: Row) -> Logged:
        """Return a row, whose columns are all in ``features``; those with a role are removed from it.

        Raises:
            BadRowError: its label or time is missing or wrong.
        """
        page = tuple([features.get(name) for name in self.together]) if self.together else None
        clicked = self.label.pop(features, number)
        at = self.time.pop(features, number) if self.time.name else number
        clicked_at = self.click.pop(features, number) if self.click.name and clicked and not absent(features.get(self.click.name)) else None
        features.pop(self.click.name, None)
        return Logged(number, at, clicked, features, clicked_at, page)


def absent(time: object) -> bool:
    """Return whether a click has no time of its own."""
    return time in _EMPTY


class Role(NamedTuple):
    """A column that is no feature, and how its values are parsed."""

    path: Path
    name: str | None
    parse: Callable[[Any], int]
    expected: str

    def pop(self, features: Row, row: int) -> int:
        """Remove the column from a row's features and return its parsed value."""
        value = features.pop(self.name, None)
        try:
            return self.parse(value)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise BadRowError(self.path, row, str(self.name), value, self.expected) from error


def rows(path: Path, file_format: str) -> Iterator[tuple[int, Row]]:
    """Yield each row's number, from 1, and all its columns.

    Raises:
        FileError: it can't be read; the message names the last row that could.
    """
    with Reading(path, file_format) as reading:
        for block in blocks(path, file_format):
            for row in block.rows():
                reading.row += 1
                yield reading.row, row


class Reading:
    """Names the file, and the last row that could be read, in what goes wrong while it is read.

    Attributes:
        row: the number of the last row so far.
    """

    def __init__(self, path: Path, file_format: str) -> None:
        self.row = 0
        self._path, self._format = path, file_format

    def __enter__(self) -> Self:
        """Return this."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Raise a FileError for what arrow, msgspec, csv, the system or the decoder of UTF-8 raises."""
        if isinstance(error, OSError):
            reason = os.strerror(error.errno) if error.errno else error  # arrow's own text repeats the file's name
            raise FileError(f"{self._path}: got {reason} after row {self.row}, expected a file to read") from error
        if isinstance(error, ValueError | RecursionError | csv.Error | pa.ArrowException):
            raise FileError(f"{self._path}: got {error} after row {self.row}, expected {self._format}") from error


def columns(path: Path, data: DataSettings) -> list[str]:
    """Return the names of the first row's columns.

    Raises:
        FileError: it can't be read, or has no row.
    """
    for _, row in rows(path, _format(path, data)):
        return list(row)
    raise FileError(f"{path}: got no row, expected one at least")


def _format(path: Path, data: DataSettings) -> str:
    return format_of(path) if data.format == "auto" else data.format


def format_of(path: Path) -> str:
    """Return the format that the file's name tells.

    >>> format_of(Path("log.csv.gz"))
    'csv'

    Raises:
        FileError: the name does not tell it.
    """
    name = path.name.lower()
    for compressed in COMPRESSED:
        name = name.removesuffix(compressed)
    suffix = Path(name).suffix
    if suffix not in _SUFFIXES:
        known = ", ".join(_SUFFIXES)
        raise FileError(f"{path}: got the name {path.name!r}, expected one that ends in {known} (and .gz or .zst), or a format")
    return _SUFFIXES[suffix]


def epoch_ms(value: Any) -> int:
    """Parse a time: epoch seconds, epoch milliseconds or ISO 8601 (UTC unless it says otherwise).

    >>> epoch_ms("1650812741"), epoch_ms(1650812741436), epoch_ms("2022-04-24T15:05:41.436Z")
    (1650812741000, 1650812741436, 1650812741436)

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(value, str):
        try:
            value = float(value)  # exact: ms have 13 digits
        except ValueError:
            moment = datetime.fromisoformat(value)
            at = round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000)
            if not 0 <= at <= LATEST_TIME:
                raise ValueError("no time") from None
            return at
    if isinstance(value, bool) or not 0 <= value < _MS_END:
        raise ValueError("no time")
    return round(value * 1_000) if value < _SECONDS_END else int(value)


@lru_cache
def _yymmddhh(value: str) -> int:
    return round(datetime.strptime(value, "%y%m%d%H").replace(tzinfo=UTC).timestamp() * 1_000)
