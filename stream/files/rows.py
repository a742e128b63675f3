"""Read recorded logs row by row in constant memory.

No row is ever left out silently: one that can't be read is counted, and named by its number, its column, what was received and what was
expected. The Kaggle files of Avazu (``train.csv``) and Criteo (``train.txt``) are formats of their own.
"""

import csv
from collections.abc import Iterator
from itertools import islice
from lzma import LZMAError
from types import TracebackType
from typing import Self
from zipfile import BadZipFile

import pyarrow as pa

from stream.files.block import Block, Row, Unreadable
from stream.files.blocks import blocks
from stream.files.layout import BadRowError, Layout, Logged
from stream.files.left_out import LeftOut
from stream.files.opened import File, FileError, Recorded, files, name_of, reason
from stream.settings import DataSettings

_DAMAGED = (ValueError, EOFError, MemoryError, RecursionError, LZMAError, BadZipFile, csv.Error, pa.ArrowException)


def read(recorded: Recorded, data: DataSettings, left_out: LeftOut | None = None) -> Iterator[Logged]:
    """Read a recorded log in its own order; ``left_out`` is told which rows are left out.

    Raises:
        FileError: it can't be read, too many of its rows can't, or its name does not tell its format.
        BadRowError: a row's label or time is missing or wrong.
    """
    for reading in readings(recorded, data, left_out or LeftOut(data.max_bad)):
        for block in reading.blocks():
            yield from reading.logged(block)


def readings(recorded: Recorded, data: DataSettings, left_out: LeftOut) -> Iterator["Reading"]:
    """Yield each file of a recorded log, to be read to its end before the next.

    Raises:
        FileError: there is none, the name does not tell the format, or too many of its rows can't be read.
    """
    for file in files(recorded):
        yield Reading(file, data, left_out)
    left_out.finish()


class Reading:
    """One file of a recorded log, while it is read; names it, and the last row that could be read, in what goes wrong.

    Attributes:
        layout: What its columns are.
        row: The number of the last row so far, from 1.
    """

    def __init__(self, file: File, data: DataSettings, left_out: LeftOut) -> None:
        self.layout = Layout.of(file.path, data)
        self.row = 0
        self.parts = file.parts
        self._path, self._data, self._left_out, self._before = file.path, data, left_out, left_out.rows

    @property
    def number(self) -> int:
        """The number of the last row in the whole log."""
        return self._before + self.row

    def count(self, rows: int) -> None:
        """Take note of rows that were read."""
        self.row += rows
        self._left_out.rows += rows

    def blocks(self) -> Iterator[Block]:
        """Yield its rows, block by block."""
        with self:
            yield from blocks(self._path, self.layout.format, self._data)

    def rows(self, block: Block) -> Iterator[Row]:
        """Yield all columns of the rows of a block that can be read."""
        with self:
            for row in block.rows():
                self.count(1)
                if isinstance(row, Unreadable):
                    self._left_out.add(FileError(f"{self._path}: row {self.row}: {row.reason}"))
                else:
                    yield {**self.parts, **row} if self.parts else row

    def logged(self, block: Block) -> Iterator[Logged]:
        """Yield the rows of a block that have a label and a time."""
        for row in self.rows(block):
            try:
                logged = self.layout.logged(self.number, self.row, row)
            except BadRowError as error:
                self._left_out.add(error)
                continue
            if logged:
                yield logged
            else:
                self._left_out.unlabelled += 1

    def __enter__(self) -> Self:
        """Return this."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Raise a FileError for what the system, arrow, a decoder or an unpacker raises."""
        if isinstance(error, OSError):
            raise FileError(f"{self._path}: got {reason(error)} after row {self.row}, expected a file to read") from error
        if isinstance(error, _DAMAGED):
            raise FileError(f"{self._path}: got {reason(error)} after row {self.row}, expected {self.layout.format}") from error


def columns(recorded: Recorded, data: DataSettings) -> list[str]:
    """Return the names of the first row's columns; raise as :func:`first_rows`."""
    return list(first_rows(recorded, data, 1)[0])


def first_rows(recorded: Recorded, data: DataSettings, most: int) -> list[Row]:
    """Return all columns of the first rows, ``most`` at most, of one block.

    Raises:
        FileError: it can't be read, or has no row.
    """
    for reading in readings(recorded, data, LeftOut(data.max_bad)):
        for block in reading.blocks():
            if rows := list(islice(reading.rows(block), most)):
                return rows
    raise FileError(f"{name_of(recorded)}: got no row, expected one at least")
