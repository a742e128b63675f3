"""Read recorded logs row by row in constant memory: CSV, TSV, JSON lines, Parquet, each also compressed by gzip or zstd.

The Kaggle files of Avazu (``train.csv``) and Criteo (``train.txt``) are formats of their own. No row is ever skipped silently:
a row that can't be read stops the reading with its number, its column, what was received and what was expected.
"""

import csv
import io
import os
import reprlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import msgspec
import pyarrow as pa
from pyarrow.parquet import ParquetFile

from model.keys import Value
from stream.settings import DataSettings

CRITEO_COLUMNS = ["click", *(f"I{number}" for number in range(1, 14)), *(f"C{number}" for number in range(1, 27))]
_COMPRESSED = (".gz", ".zst")
_SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".parquet": "parquet", ".pq": "parquet"}
_LABELS = {"0": 0, "1": 1, 0: 0, 1: 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1, "False": 0, "True": 1}  # 0 also matches False and 0.0
_SECONDS_END = 100_000_000_000  # below it (year 5138) a time is in seconds, from it on (1973) in ms
_MS_END = 1_000 * _SECONDS_END
_A_TIME = "epoch seconds or milliseconds, or ISO 8601"
_EMPTY = (None, "")

Columns: TypeAlias = dict[Any, Any]


class FileError(Exception):
    """A recorded log can't be read."""


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
    file_format = format_of(path) if data.format == "auto" else data.format
    avazu = file_format == "avazu"
    label = _Column(path, data.label, _LABELS.__getitem__, "0 or 1")
    time_name = data.time or ("hour" if avazu else None)
    time = _Column(path, time_name, _yymmddhh, "YYMMDDHH") if avazu else _Column(path, time_name, epoch_ms, _A_TIME)
    click = _Column(path, data.click_time, epoch_ms, _A_TIME)
    for number, features in rows(path, file_format):
        page = tuple([features.get(name) for name in data.together]) if data.together else None
        clicked = label.pop(features, number)
        at = time.pop(features, number) if time.name else number
        clicked_at = click.pop(features, number) if click.name and clicked and features.get(click.name) not in _EMPTY else None
        features.pop(click.name, None)
        yield Logged(number, at, clicked, features, clicked_at, page)


class _Column(NamedTuple):
    """A column that is no feature, and how its values are parsed."""

    path: Path
    name: str | None
    parse: Callable[[Any], int]
    expected: str

    def pop(self, features: Columns, row: int) -> int:
        """Remove the column from a row's features and return its parsed value."""
        value = features.pop(self.name, None)
        try:
            return self.parse(value)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise BadRowError(self.path, row, str(self.name), value, self.expected) from error


def rows(path: Path, file_format: str) -> Iterator[tuple[int, Columns]]:
    """Yield each row's number, from 1, and all its columns.

    Raises:
        FileError: it can't be read; the message names the last row that could.
    """
    number = 0
    try:
        for number, row in enumerate(_READERS[file_format](path), 1):
            yield number, row
    except FileError:
        raise
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error  # arrow's own text repeats the file's name
        raise FileError(f"{path}: got {reason} after row {number}, expected a file to read") from error
    except (ValueError, csv.Error) as error:  # of arrow, msgspec and the decoder of UTF-8 too
        raise FileError(f"{path}: got {error} after row {number}, expected {file_format}") from error


def columns(path: Path, data: DataSettings) -> list[str]:
    """Return the names of the first row's columns.

    Raises:
        FileError: it can't be read, or has no row.
    """
    file_format = format_of(path) if data.format == "auto" else data.format
    for _, row in rows(path, file_format):
        return list(row)
    raise FileError(f"{path}: got no row, expected one at least")


def format_of(path: Path) -> str:
    """Return the format that the file's name tells.

    >>> format_of(Path("log.csv.gz"))
    'csv'

    Raises:
        FileError: the name does not tell it.
    """
    name = path.name.lower()
    for compressed in _COMPRESSED:
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
            return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000)
    if isinstance(value, bool) or not 0 <= value < _MS_END:
        raise ValueError("no time")
    return round(value * 1_000) if value < _SECONDS_END else int(value)


@lru_cache
def _yymmddhh(value: str) -> int:
    return round(datetime.strptime(value, "%y%m%d%H").replace(tzinfo=UTC).timestamp() * 1_000)


def _open(path: Path) -> Any:
    """Open ``path`` for reading, decompressed; a truncated file is an error, not an end."""
    return pa.input_stream(str(path), compression="detect" if path.name.lower().endswith(_COMPRESSED) else None)


def _separated(path: Path, delimiter: str, names: list[str] | None = None) -> Iterator[Columns]:
    """Read CSV or TSV; ``names`` are the columns of a file without a header."""
    with _open(path) as stream, io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        names = names or next(reader, [])
        width = len(names)
        if not names or len(set(names)) < width:
            raise FileError(f"{path}: got the columns {names}, expected a header of different names")
        for values in reader:
            if len(values) != width:
                if not values:  # an empty line
                    continue
                raise FileError(f"{path}: got {len(values)} values in line {reader.line_num}, expected {width}")
            yield dict(zip(names, values, strict=True))


def _json_lines(path: Path) -> Iterator[Columns]:
    decoder = msgspec.json.Decoder(dict[str, Any])
    with _open(path) as stream, io.BufferedReader(stream) as lines:
        for line in lines:
            if not line.isspace():
                yield decoder.decode(line)


def _parquet(path: Path) -> Iterator[Columns]:
    with _seekable(path) as file, closing(ParquetFile(file)) as table:
        names = table.schema_arrow.names
        for batch in table.iter_batches(batch_size=8_192):
            columns = [_plain(column).to_pylist() for column in batch.columns]
            for values in zip(*columns, strict=True):
                yield dict(zip(names, values, strict=True))


@contextmanager
def _seekable(path: Path) -> Iterator[BinaryIO]:
    """Open ``path``, decompressed into a temporary file if need be: Parquet is read from its end."""
    if not path.name.lower().endswith(_COMPRESSED):
        with path.open("rb") as file:
            yield file
        return
    with _open(path) as stream, tempfile.TemporaryFile() as file:
        shutil.copyfileobj(stream, file)
        yield file


def _plain(column: Any) -> Any:
    """Convert times to epoch ms, decimals to floats and bytes to text, which a field can take."""
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return column.cast(pa.timestamp("ms", getattr(kind, "tz", None)), safe=False).cast(pa.int64())
    if pa.types.is_decimal(kind):
        return column.cast(pa.float64())
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return column.cast(pa.string())
    return column


_READERS: dict[str, Callable[[Path], Iterator[Columns]]] = {
    "csv": partial(_separated, delimiter=","),
    "tsv": partial(_separated, delimiter="\t"),
    "avazu": partial(_separated, delimiter=","),
    "criteo": partial(_separated, delimiter="\t", names=CRITEO_COLUMNS),
    "jsonl": _json_lines,
    "parquet": _parquet,
}
