"""JSON lines, and a JSON array of objects; what an object within them holds is a column, ``OUTER.MEMBER``."""

import codecs
import io
import json
import re
import reprlib
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as arrow_json

from stream.files.block import Arrays, Block, OnlyRows, Row, Unreadable
from stream.files.lines import BLOCK, check_length, whole_lines
from stream.files.opened import Stream, opened
from stream.records.nested import EXPECTED, NestedError, flattened

_OPENING, _COMMA, _CLOSING, _EMPTY = map(re.compile, (r"\s*\[\s*", r"\s*,\s*", r"\s*\]\s*", r"\s*\[\s*\]\s*"))
_EXACT = 2.0**53  # floats from here on may stand for other integers
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")  # in JSON, half a pair or a whole one
_MOST_CELLS, _OF_A_COLUMN = 4_000_000, 400  # of a table, some 70 MB; the memory of a column without rows, in cells
_Scalar: TypeAlias = str | int | float | bool | None
_FLAT = msgspec.json.Decoder(dict[str, _Scalar | list[_Scalar]])


def json_blocks(path: Path, encoding: str | None) -> Iterator[Block]:
    """Yield the objects of a text, one a line or all in one array, block by block.

    Raises:
        ValueError: an array does not end.
    """
    decoder, tables = msgspec.json.Decoder(Row), _Tables()
    with opened(path, encoding) as stream:
        head = stream.read(BLOCK).removeprefix(codecs.BOM_UTF8).lstrip()
    with opened(path, encoding) as stream:
        if head.startswith(b"["):
            yield from (OnlyRows(_decoded(each, decoder) for each in elements) for elements in _elements(stream))
        else:
            yield from (_LinesBlock(raw, decoder, tables) for raw in whole_lines(stream))


class _LinesBlock:
    def __init__(self, raw: bytes, decoder: msgspec.json.Decoder[Row], tables: "_Tables") -> None:
        self._raw, self._decoder, self._tables = raw, decoder, tables

    def rows(self) -> Iterator[Row | Unreadable]:
        return (_decoded(line, self._decoder) for line in io.BytesIO(self._raw) if not line.isspace())

    def columns(self, names: Collection[str]) -> tuple[int, Arrays] | None:
        raw = self._raw.rstrip(b"\n")
        lines = raw.count(b"\n") + 1
        # Each line begins and ends an object, and there are as many rows as lines: then each line is one object.
        if raw[:1] != b"{" or raw[-1:] != b"}" or raw.count(b"}\n{") + 1 != lines or not _is_text(raw) or _SURROGATE.search(raw):
            return None
        try:
            table = self._tables.of(raw, lines)
        except (pa.ArrowException, msgspec.DecodeError, RecursionError):
            return None
        if table is None or table.num_rows != lines or not all(map(_is_as_written, table.columns)):
            return None
        return lines, {name: table[name].chunk(0) for name in table.column_names if name in names}


class _Tables:
    """What arrow makes of the blocks of one file.

    Left alone, arrow makes a column as long as the block of every name, and follows brackets in brackets until the stack ends. So a
    block is read into the columns of those before it, where another name or a bracket is an error; only after one is it looked at first.
    """

    def __init__(self) -> None:
        self._known = pa.schema([])

    def of(self, raw: bytes, lines: int) -> pa.Table | None:
        """Return a block as a table; None: it would be too large."""
        if _is_too_large(len(self._known), lines):
            self._known = pa.schema([])
        with suppress(pa.ArrowInvalid):
            return _table(raw, self._known, "error")
        if _is_too_large(len(set[str]().union(*_FLAT.decode_lines(raw))), lines):
            return None
        inferred = _table(raw, None, "infer").schema
        found = pa.schema([(field.name, _read_as(field.type)) for field in inferred])
        try:
            self._known = pa.unify_schemas([self._known, found], promote_options="permissive")
        except pa.ArrowTypeError:  # a number where there were texts
            self._known = found
        return _table(raw, found, "error")


def _read_as(inferred: pa.DataType) -> pa.DataType:
    """Return the type as which arrow reads a column as it is written.

    Where it infers a type, it takes a text for a time, and misreads a list that begins with null: ``[null, 1]`` as ``[1, 0]``. Told that
    lists hold nothing but null, it makes them too short.
    """
    if pa.types.is_list(inferred):
        return pa.list_(pa.string() if pa.types.is_null(inferred.value_type) else _read_as(inferred.value_type))
    return pa.string() if pa.types.is_timestamp(inferred) else inferred


def _is_too_large(columns: int, lines: int) -> bool:
    return columns * (lines + _OF_A_COLUMN) > _MOST_CELLS


def _table(raw: bytes, schema: pa.Schema | None, other: str) -> pa.Table:
    return arrow_json.read_json(
        pa.BufferReader(raw),
        arrow_json.ReadOptions(use_threads=False, block_size=len(raw) + 1),
        arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior=other),
    )


def _decoded(raw: bytes | str, decoder: msgspec.json.Decoder[Row]) -> Row | Unreadable:
    try:
        return flattened(decoder.decode(raw))
    except NestedError as error:
        return Unreadable(f"got {error}, expected {EXPECTED}")
    except (ValueError, RecursionError) as error:
        return _as_python_writes(raw) or Unreadable(f"got {error}, expected a JSON object")


def _as_python_writes(raw: bytes | str) -> Row | None:
    """Return an object that holds NaN or Infinity, which are no JSON, but what Python's ``json`` writes; None: it is none."""
    text = raw if isinstance(raw, str) else raw.decode(errors="replace")
    if "NaN" not in text and "Infinity" not in text:
        return None
    with suppress(ValueError, RecursionError):
        if isinstance(found := json.loads(raw), dict):
            return flattened(found)
    return None


def _elements(stream: Stream) -> Iterator[list[str]]:
    """Yield the elements of an array, some at a time."""
    decoder, scan = codecs.getincrementaldecoder("utf-8-sig")(), json.JSONDecoder().raw_decode
    text, before = "", _OPENING
    piece = b"["
    while piece:
        piece = stream.read(BLOCK)
        text += decoder.decode(piece, final=not piece)
        found, at = list[str](), 0
        while separator := before.match(text, at):
            try:
                _, end = scan(text, separator.end())
            except ValueError:
                break  # it goes on in the next piece, or the array ends here
            found.append(text[separator.end() : end])
            at, before = end, _COMMA
        yield found
        text = text[at:]
        check_length(len(text) - BLOCK)
    if not (_EMPTY if before is _OPENING else _CLOSING).fullmatch(text):
        raise ValueError(f"{reprlib.repr(text)} at the end of an array")


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_as_written(column: pa.ChunkedArray) -> bool:
    """Return whether arrow's values have the keys of the JSON values: it takes integers for floats."""
    kind = column.type
    if pa.types.is_list(kind):
        return _is_as_written(pc.list_flatten(column))
    if pa.types.is_floating(kind):
        return bool(pc.all(pc.less(pc.abs(column), _EXACT), skip_nulls=True, min_count=0).as_py())
    return bool(pa.types.is_string(kind) or pa.types.is_int64(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind))
