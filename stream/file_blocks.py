"""A recorded file as blocks of neighbouring rows, each taken row by row, or in columns by arrow where that gives the same values.

Whether it does is decided block by block, before arrow's result is used: what arrow can't read, or may read otherwise (a stray quote, a
lone carriage return, a number too large for it, a record on two lines), is taken row by row. Memory is bounded by the block.
"""

import codecs
import csv
import io
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
import pyarrow.json as arrow_json
from pyarrow.parquet import ParquetFile

CRITEO_COLUMNS = ["click", *(f"I{number}" for number in range(1, 14)), *(f"C{number}" for number in range(1, 27))]
COMPRESSED = (".gz", ".zst")
_BLOCK, _PIECE = 1 << 20, 1 << 13  # bytes of lines in a block; bytes read at once, so that an error comes after the rows before it
LONGEST = 1 << 22  # bytes of a line, and of those that one row of CSV goes on over: a file that never ends one takes no more memory
_ROWS = 8_192  # of a Parquet file in a block
_EXACT = 2.0**53  # floats from here on may stand for other integers
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")  # in JSON, half a pair or a whole one
_QUOTE, _NEWLINE, _RETURN = b'"\n\r'

Row: TypeAlias = dict[Any, Any]
Arrays: TypeAlias = dict[str, pa.Array]


class FileError(Exception):
    """A recorded log can't be read."""


class Block(Protocol):
    """Some neighbouring rows; one of its methods is called, and all is taken before the next block."""

    def rows(self) -> Iterator[Row]:
        """Yield all columns of each row."""
        ...

    def columns(self, names: Collection[str | None]) -> tuple[int, Arrays] | None:
        """Return how many rows there are, and those of the columns that exist; None: only its rows are sure."""
        ...


def blocks(path: Path, file_format: str) -> Iterator[Block]:
    """Yield the rows of a file, block by block.

    Raises:
        FileError: the file is not of the format.
        OSError: it can't be read.
        ValueError: it is damaged; reading a block raises it, too.
        csv.Error: as ValueError.
    """
    return _READERS[file_format](path)


class _Separated:
    """CSV or TSV; ``names`` are the columns of a file without a header."""

    def __init__(self, path: Path, stream: Any, delimiter: str, names: list[str] | None) -> None:
        self.path, self.delimiter = path, delimiter
        self.line = 0  # lines read before the block
        raw = _whole_lines(stream, codecs.getincrementaldecoder("utf-8-sig")())
        self.raw: Iterator[bytes] = chain([next(raw, b"").removeprefix(codecs.BOM_UTF8)], raw)
        self.names = names or self._header()

    def _header(self) -> list[str]:
        text = _text(next(self.raw))
        reader = csv.reader(text, delimiter=self.delimiter, strict=True)
        names = next(reader, [])
        if not names or len(set(names)) < len(names):
            raise FileError(f"{self.path}: got the columns {names}, expected a header of different names")
        self.line = reader.line_num
        self.raw = chain([text.read().encode()], self.raw)
        return names

    def blocks(self) -> Iterator[Block]:
        return (_SeparatedBlock(self, raw) for raw in self.raw)


class _SeparatedBlock:
    def __init__(self, file: _Separated, raw: bytes) -> None:
        self._file, self._raw = file, raw

    def rows(self) -> Iterator[Row]:
        names, width, before, last = self._file.names, len(self._file.names), self._file.line, 0

        def following() -> Iterator[str]:
            begun, size = last, len(self._raw)
            while reader.line_num > last and (raw := next(self._file.raw, b"")):  # a quoted value goes on in the next block
                size = len(raw) + (size if begun == last else 0)
                begun = last
                _check_length(size - _BLOCK)
                yield from _text(raw)

        reader = csv.reader(chain(_text(self._raw), following()), delimiter=self._file.delimiter, strict=True)
        for values in reader:
            last = reader.line_num
            self._file.line = before + last
            if len(values) != width:
                if not values:  # an empty line
                    continue
                raise FileError(f"{self._file.path}: got {len(values)} values in line {self._file.line}, expected {width}")
            yield dict(zip(names, values, strict=True))

    def columns(self, names: Collection[str | None]) -> tuple[int, Arrays] | None:
        wanted = [name for name in self._file.names if name in names]
        if not wanted or not _is_plain(self._raw, ord(self._file.delimiter)):
            return None
        text = pa.dictionary(pa.int32(), pa.string())
        try:
            table = arrow_csv.read_csv(
                pa.BufferReader(self._raw),
                arrow_csv.ReadOptions(column_names=self._file.names, use_threads=False, block_size=len(self._raw) + 1),
                arrow_csv.ParseOptions(delimiter=self._file.delimiter),
                arrow_csv.ConvertOptions(column_types=dict.fromkeys(wanted, text), include_columns=wanted, check_utf8=False),
            )
        except pa.ArrowInvalid:
            return None
        self._file.line += self._raw.count(b"\n")
        return table.num_rows, {name: table[name].chunk(0) for name in wanted}


class _JsonBlock:
    def __init__(self, raw: bytes, decoder: msgspec.json.Decoder[Row], texts: set[str]) -> None:
        self._raw, self._decoder = raw, decoder
        self._texts = texts  # columns of texts that arrow would take for times; found so far in the file

    def rows(self) -> Iterator[Row]:
        for line in io.BytesIO(self._raw):
            if not line.isspace():
                yield self._decoder.decode(line)

    def columns(self, names: Collection[str | None]) -> tuple[int, Arrays] | None:
        raw = self._raw.rstrip(b"\n")
        lines = raw.count(b"\n") + 1
        # Each line begins and ends an object, and there are as many rows as lines: then each line is one object.
        if raw[:1] != b"{" or raw[-1:] != b"}" or raw.count(b"}\n{") + 1 != lines or not _is_text(raw) or _SURROGATE.search(raw):
            return None
        try:
            table = self._table(raw)
            if times := {name for name, kind in zip(table.column_names, table.schema.types, strict=True) if pa.types.is_timestamp(kind)}:
                self._texts |= times
                table = self._table(raw)
        except pa.ArrowInvalid:
            return None
        if table.num_rows != lines or not all(map(_is_as_written, table.columns)):
            return None
        return lines, {name: table[name].chunk(0) for name in table.column_names if name in names}

    def _table(self, raw: bytes) -> pa.Table:
        return arrow_json.read_json(
            pa.BufferReader(raw),
            arrow_json.ReadOptions(use_threads=False, block_size=len(raw) + 1),
            arrow_json.ParseOptions(explicit_schema=pa.schema([(name, pa.string()) for name in sorted(self._texts)])),
        )


class _ParquetBlock:
    def __init__(self, batch: pa.RecordBatch) -> None:
        self._batch = batch

    def rows(self) -> Iterator[Row]:
        names = self._batch.schema.names
        columns = [_plain(column).to_pylist() for column in self._batch.columns]
        for values in zip(*columns, strict=True):
            yield dict(zip(names, values, strict=True))

    def columns(self, names: Collection[str | None]) -> tuple[int, Arrays] | None:
        if len(set(self._batch.schema.names)) < self._batch.num_columns:
            return None
        try:
            arrays = {name: _plain(column) for name, column in zip(self._batch.schema.names, self._batch.columns, strict=True)}
            for array in arrays.values():
                array.validate(full=True)
        except pa.ArrowInvalid:
            return None
        return self._batch.num_rows, {name: array for name, array in arrays.items() if name in names}


def _is_plain(raw: bytes, delimiter: int) -> bool:
    """Return whether arrow splits these lines into the values that Python's csv does, or fails."""
    marks = np.frombuffer(b"\n" + raw + b"\n", np.uint8)
    ends = np.flatnonzero(marks == _NEWLINE)
    if raw.startswith(codecs.BOM_UTF8) or raw.count(b"\r") > raw.count(b"\r\n") or np.diff(ends).max() > csv.field_size_limit():
        return False
    quotes = np.flatnonzero(marks == _QUOTE)
    opening, closing = quotes[::2], quotes[1::2]  # a doubled quote closes and opens
    around = np.zeros(256, np.bool_)
    around[[delimiter, _QUOTE, _NEWLINE, _RETURN]] = True
    return bool(
        len(opening) == len(closing)
        and around[marks[opening - 1]].all()
        and around[marks[closing + 1]].all()
        and not (np.searchsorted(quotes, ends) % 2).any()  # no value goes on in the next line
    )


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_as_written(column: pa.ChunkedArray) -> bool:
    """Return whether arrow's values have the keys of the JSON values: it takes texts for times, and integers for floats."""
    kind = column.type
    if pa.types.is_list(kind):
        return _is_as_written(pc.list_flatten(column))
    if pa.types.is_floating(kind):
        return bool(pc.all(pc.less(pc.abs(column), _EXACT), skip_nulls=True, min_count=0).as_py())
    return bool(pa.types.is_string(kind) or pa.types.is_int64(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind))


def _whole_lines(stream: Any, decoder: codecs.IncrementalDecoder | None = None) -> Iterator[bytes]:
    """Yield blocks of whole lines, what comes before an error first; ``decoder`` checks the encoding."""
    pieces: list[bytes] = []
    size = 0
    try:
        while piece := stream.read(_PIECE):
            if decoder:
                decoder.decode(piece)
            pieces.append(piece)
            size += len(piece)
            if size >= _BLOCK and (end := _end_of_lines(piece)):
                yield b"".join([*pieces[:-1], piece[:end]])
                pieces, size = [piece[end:]], len(piece) - end
            _check_length(size - _BLOCK)
        if decoder:
            decoder.decode(b"", final=True)
    except (OSError, ValueError):
        raw = b"".join(pieces)
        if end := _end_of_lines(raw):
            yield raw[:end]
        raise
    if pieces:
        yield b"".join(pieces)


def _check_length(size: int) -> None:
    if size > LONGEST:
        raise ValueError(f"a row of more than {LONGEST:,} bytes")


def _end_of_lines(raw: bytes) -> int:
    """Return where the last whole line ends; a carriage return at the very end may be half a line end."""
    return raw.rfind(b"\n") + 1 or raw.rfind(b"\r", 0, -1) + 1


def _text(raw: bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8", newline="")


def _open(path: Path) -> Any:
    """Open ``path`` for reading, decompressed; a truncated file is an error, not an end."""
    return pa.input_stream(str(path), compression="detect" if path.name.lower().endswith(COMPRESSED) else None)


def _separated(path: Path, delimiter: str, names: list[str] | None = None) -> Iterator[Block]:
    with _open(path) as stream:
        yield from _Separated(path, stream, delimiter, names).blocks()


def _json_lines(path: Path) -> Iterator[Block]:
    decoder, texts = msgspec.json.Decoder(Row), set[str]()
    with _open(path) as stream:
        for raw in _whole_lines(stream):
            yield _JsonBlock(raw, decoder, texts)


def _parquet(path: Path) -> Iterator[Block]:
    with _seekable(path) as file, closing(ParquetFile(file)) as table:
        for batch in table.iter_batches(batch_size=_ROWS):
            yield _ParquetBlock(batch)


@contextmanager
def _seekable(path: Path) -> Iterator[BinaryIO]:
    """Open ``path``, decompressed into a temporary file if need be: Parquet is read from its end."""
    if not path.name.lower().endswith(COMPRESSED):
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


_READERS: dict[str, Callable[[Path], Iterator[Block]]] = {
    "csv": partial(_separated, delimiter=","),
    "tsv": partial(_separated, delimiter="\t"),
    "avazu": partial(_separated, delimiter=","),
    "criteo": partial(_separated, delimiter="\t", names=CRITEO_COLUMNS),
    "jsonl": _json_lines,
    "parquet": _parquet,
}
