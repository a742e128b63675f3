"""CSV and TSV: blocks of lines, each in columns where arrow splits them into the values that Python's csv does."""

import codecs
import csv
import io
from collections.abc import Collection, Iterator, Sequence
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv

from stream.files.block import Arrays, Block, Row, Unreadable
from stream.files.lines import BLOCK, check_length, whole_lines
from stream.files.opened import Stream

_QUOTE, _NEWLINE, _RETURN = b'"\n\r'


_DELIMITERS = ",;|\t"


class Separated:
    """CSV or TSV.

    Args:
        stream: The text.
        delimiter: None: a comma, or what the first line has instead.
        names: The columns of a file without a header.
    """

    def __init__(self, stream: Stream, delimiter: str | None = None, names: Sequence[str] = ()) -> None:
        self.line = 0  # lines read before the block
        raw = whole_lines(stream, codecs.getincrementaldecoder("utf-8-sig")())
        first = next(raw, b"").removeprefix(codecs.BOM_UTF8)
        self.delimiter = delimiter or _delimiter(_text(first).readline())
        self.raw: Iterator[bytes] = chain([first], raw)
        self.names = list(names) or self._header()

    def _header(self) -> list[str]:
        text = _text(next(self.raw))
        reader = csv.reader(text, delimiter=self.delimiter, strict=True)
        names = next(filter(None, reader), None)  # after empty lines
        if names is None:
            raise ValueError("nothing (expected a header, then rows)")
        if len(set(names)) < len(names):
            raise ValueError(f"the columns {names} (expected a header of different names; --names gives those of a file without one)")
        self.line = reader.line_num
        self.raw = chain([text.read().encode()], self.raw)
        return names

    def blocks(self) -> Iterator[Block]:
        """Yield the rows, block by block."""
        return (_SeparatedBlock(self, raw) for raw in self.raw)


def _delimiter(line: str) -> str:
    return next((each for each in _DELIMITERS if each in line), ",")


class _SeparatedBlock:
    def __init__(self, file: Separated, raw: bytes) -> None:
        self._file, self._raw, self._before = file, raw, file.line

    def rows(self) -> Iterator[Row | Unreadable]:
        names, width, last = self._file.names, len(self._file.names), 0

        def following() -> Iterator[str]:
            begun, size = last, len(self._raw)
            while reader.line_num > last and (raw := next(self._file.raw, b"")):  # a quoted value goes on in the next block
                size = len(raw) + (size if begun == last else 0)
                begun = last
                check_length(size - BLOCK)
                yield from _text(raw)

        reader = csv.reader(chain(_text(self._raw), following()), delimiter=self._file.delimiter, strict=True)
        for values in reader:
            last = reader.line_num
            self._file.line = self._before + last
            if len(values) != width:
                if not values:  # an empty line
                    continue
                yield Unreadable(f"got {len(values)} values in line {self._file.line}, expected {width}")
            else:
                yield dict(zip(names, values, strict=True))

    def columns(self, names: Collection[str]) -> tuple[int, Arrays] | None:
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
        self._file.line = self._before + self._raw.count(b"\n")
        return table.num_rows, {name: table[name].chunk(0) for name in wanted}


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


def _text(raw: bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8", newline="")
