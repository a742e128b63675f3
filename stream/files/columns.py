"""Recorded logs in columns: what :func:`stream.files.rows.read` reads, the same values in the same order, but each value of a column once.

A block that can't be taken in columns, or holds a row that can't be read, is taken row by row; so every error is that of its row.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from model.encoding.features import Column, Encoded, Encoder, Examples
from stream.files.block import Arrays
from stream.files.layout import Logged, Role, is_empty, joined
from stream.files.left_out import LeftOut
from stream.files.opened import Recorded
from stream.files.rows import Reading, readings
from stream.settings import DataSettings


@dataclass(frozen=True, slots=True)
class LoggedBlock:
    """N neighbouring rows."""

    numbers: Sequence[int]  # (N,), in the log, from 1
    times: list[int]  # (N,), epoch ms; a row's number if the file has no time
    labels: NDArray[np.float32]  # (N,), 1 for a click, else 0
    features: Examples | Encoded
    pages: Sequence[tuple[Any, ...] | None]  # (N,), as of Logged

    @classmethod
    def of(cls, rows: Sequence[Logged]) -> Self:
        """Return rows as a block."""
        labels = np.array([row.label for row in rows], np.float32)
        numbers, times = [row.number for row in rows], [row.time for row in rows]
        return cls(numbers, times, labels, [row.features for row in rows], [row.page for row in rows])

    def encoded(self, encoder: Encoder) -> Encoded:
        """Return the keys of its features."""
        return self.features if isinstance(self.features, Encoded) else encoder.encode(self.features, self.times)

    def __len__(self) -> int:
        """Return N."""
        return len(self.times)


def read_blocks(recorded: Recorded, data: DataSettings, fields: Collection[str], left_out: LeftOut | None = None) -> Iterator[LoggedBlock]:
    """Read a recorded log in its own order, and of its features those of ``fields`` at least; ``left_out`` is told which rows are left out.

    Raises:
        FileError: as :func:`stream.files.rows.read`.
        BadRowError: a row's label or time is missing or wrong.
    """
    for reading in readings(recorded, data, left_out or LeftOut(data.max_bad)):
        wanted = {*fields, *reading.layout.roles, *data.together}
        for block in reading.blocks():
            with reading:
                found = block.columns(wanted)
            if found:
                n, arrays = found
                constant = {name: _constant(value, n) for name, value in reading.parts.items() if name in wanted and name not in arrays}
                logged = _in_columns(reading, n, arrays | constant)
            if found and logged:
                reading.count(len(logged))
            else:
                logged = LoggedBlock.of(list(reading.logged(block)))
            if len(logged):
                yield logged


def _constant(value: str | None, n: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(np.zeros(n, np.int32), pa.array([value], pa.string()))


def _in_columns(reading: Reading, n: int, arrays: Arrays) -> LoggedBlock | None:
    """Return ``n`` rows, the next ones; None if one of them has to be looked at."""
    layout, first = reading.layout, reading.number + 1
    try:
        columns = {name: _column(array) for name, array in arrays.items()}
        labels = _parsed(layout.label, columns)
        times = _parsed(layout.time, columns).tolist() if layout.time.names else list(range(first, first + n))
        _check_clicks(layout.click, columns, labels)
        pages = list(zip(*(_values(arrays, name, n) for name in layout.together), strict=True)) if layout.together else [None] * n
    except (KeyError, TypeError, ValueError, OverflowError):  # of parsing; and the encoding of a text
        return None
    features = {name: column for name, column in columns.items() if name not in layout.roles}
    return LoggedBlock(range(first, first + n), times, labels.astype(np.float32), features, pages)


def _column(array: Any) -> Column:
    """Return the values of an array, as its rows have them."""
    if not pa.types.is_dictionary(array.type):
        if pa.types.is_nested(array.type):
            return Column(array.to_pylist())
        array = array.dictionary_encode("encode")
    return Column(array.dictionary.to_pylist(), _indices(array.indices))


def _indices(array: Any) -> NDArray[Any]:
    """Return an array of whole numbers as numpy's; arrow's own ``to_numpy`` would load pandas, where it is installed.

    Raises:
        ValueError: one is missing.
    """
    if array.null_count:
        raise ValueError("a missing index")
    kind, (_, values) = np.dtype(str(array.type)), array.buffers()
    return np.frombuffer(values or b"", kind, len(array), array.offset * kind.itemsize)


def _values(arrays: Arrays, name: str, n: int) -> list[Any]:
    """Return the value of each row."""
    if name not in arrays:
        return [None] * n
    array = arrays[name]
    values: list[Any] = (array.dictionary_decode() if pa.types.is_dictionary(array.type) else array).to_pylist()
    return values


def _parsed(role: Role, columns: dict[str, Column]) -> NDArray[np.int64]:
    """Return what each row has in a role's columns, parsed, ``(N,)``; each different value is parsed once."""
    if len(role.names) == 1:
        values, indices = columns[role.names[0]]
    else:
        values, indices = _together([columns[name] for name in role.names])
    return np.array([role.parse(value) for value in values], np.int64)[slice(None) if indices is None else indices]


def _together(columns: list[Column]) -> tuple[list[Any], NDArray[np.int64]]:
    """Return the different combinations of the columns' values, joined, and which of them each row has."""
    codes = np.stack([np.arange(len(column.values)) if column.indices is None else column.indices for column in columns])
    different, indices = np.unique(codes, axis=1, return_inverse=True)
    return [joined([column.values[code] for column, code in zip(columns, each, strict=True)]) for each in different.T], indices.ravel()


def _check_clicks(role: Role, columns: dict[str, Column], labels: NDArray[np.int64]) -> None:
    """Parse the times of the clicks, so that a wrong one is found."""
    column = columns.get(role.names[0]) if role.names else None
    if column:
        used = np.flatnonzero(labels) if column.indices is None else np.unique(column.indices[labels > 0])
        for value in (column.values[index] for index in used.tolist()):
            if not is_empty(value):
                role.parse(value)
