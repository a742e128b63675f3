"""Recorded logs in columns: what :func:`stream.files.read` reads, the same values in the same order, but each value of a column once.

A block that can't be taken in columns, or holds a row that can't be read, is taken row by row; so every error is that of its row.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from model.features import Column, Encoded, Encoder, Examples
from stream.file_blocks import Arrays, blocks
from stream.files import Layout, Logged, Reading, Role, absent
from stream.settings import DataSettings


@dataclass(frozen=True, slots=True)
class LoggedBlock:
    """N neighbouring rows."""

    times: list[int]  # (N,), epoch ms; a row's number if the file has no time
    labels: NDArray[np.float32]  # (N,), 1 for a click, else 0
    features: Examples | Encoded
    pages: Sequence[tuple[Any, ...] | None]  # (N,), as of Logged

    @classmethod
    def of(cls, rows: Sequence[Logged]) -> Self:
        """Return rows as a block."""
        labels = np.array([row.label for row in rows], np.float32)
        return cls([row.time for row in rows], labels, [row.features for row in rows], [row.page for row in rows])

    def encoded(self, encoder: Encoder) -> Encoded:
        """Return the keys of its features."""
        return self.features if isinstance(self.features, Encoded) else encoder.encode(self.features, self.times)

    def __len__(self) -> int:
        """Return N."""
        return len(self.times)


def read_blocks(path: Path, data: DataSettings, fields: Collection[str]) -> Iterator[LoggedBlock]:
    """Read a recorded log in its own order, and of its features those of ``fields`` at least.

    Raises:
        FileError: it can't be read, or its name does not tell its format.
        BadRowError: a row's label or time is missing or wrong.
    """
    layout = Layout.of(path, data)
    wanted: set[str | None] = {*fields, *layout.roles, *layout.together}
    with Reading(path, layout.format) as reading:
        for block in blocks(path, layout.format):
            found = block.columns(wanted)
            logged = _in_columns(layout, reading.row, *found) if found else None
            if not logged:
                rows: list[Logged] = []
                for row in block.rows():
                    reading.row += 1
                    rows.append(layout.logged(reading.row, row))
                logged = LoggedBlock.of(rows)
            else:
                reading.row += len(logged)
            if len(logged):
                yield logged


def _in_columns(layout: Layout, before: int, n: int, arrays: Arrays) -> LoggedBlock | None:
    """Return ``n`` rows, those after row ``before``; None if there is one that can't be read."""
    try:
        columns = {name: _column(array) for name, array in arrays.items()}
        labels = _parsed(layout.label, columns)
        times = _parsed(layout.time, columns).tolist() if layout.time.name else list(range(before + 1, before + n + 1))
        _check_clicks(layout.click, columns, labels)
        pages = list(zip(*(_values(arrays, name, n) for name in layout.together), strict=True)) if layout.together else [None] * n
    except (KeyError, TypeError, ValueError, OverflowError):  # of parsing; and the encoding of a text
        return None
    features = {name: column for name, column in columns.items() if name not in layout.roles}
    return LoggedBlock(times, labels.astype(np.float32), features, pages)


def _column(array: Any) -> Column:
    """Return the values of an array, as its rows have them."""
    if not pa.types.is_dictionary(array.type):
        if pa.types.is_nested(array.type):
            return Column(array.to_pylist())
        array = array.dictionary_encode("encode")
    return Column(array.dictionary.to_pylist(), array.indices.to_numpy())


def _values(arrays: Arrays, name: str, n: int) -> list[Any]:
    """Return the value of each row."""
    if name not in arrays:
        return [None] * n
    array = arrays[name]
    values: list[Any] = (array.dictionary_decode() if pa.types.is_dictionary(array.type) else array).to_pylist()
    return values


def _parsed(role: Role, columns: dict[str, Column]) -> NDArray[np.int64]:
    """Return what each row has in a column, parsed, ``(N,)``."""
    values, indices = columns[str(role.name)]
    return np.array([role.parse(value) for value in values], np.int64)[slice(None) if indices is None else indices]


def _check_clicks(role: Role, columns: dict[str, Column], labels: NDArray[np.int64]) -> None:
    """Parse the times of the clicks, so that a wrong one is found."""
    column = columns.get(str(role.name)) if role.name else None
    if column:
        used = np.flatnonzero(labels) if column.indices is None else np.unique(column.indices[labels > 0])
        for value in (column.values[index] for index in used.tolist()):
            if not absent(value):
                role.parse(value)
