"""A sample of a recorded log, column by column: the different values of each, and which row has which.

Values are held as codes, so that hundreds of thousands of rows fit in memory: a value once, and four bytes a row and column.
"""

import math
from array import array
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.files.block import Row
from stream.files.layout import Logged
from stream.files.left_out import LeftOut
from stream.files.opened import Recorded
from stream.files.rows import read
from stream.settings import DataSettings

ROWS = 250_000  # that are read of a longer file
MOST_NAMES = 1_000  # that an object may bring after the first row: with more, its names are data, and it is left whole
_CHUNK = 512
_MISSING = (None, "")


class Column:
    """One column of the sample: R rows with D different values, not counting the missing value."""

    def __init__(self, name: str, missing: int = 0) -> None:
        """Begin with ``missing`` rows without a value."""
        self.name = name
        self.has_lists = False
        self.has_objects = False
        self._values: dict[Any, int] = {}
        self._codes = array("i")
        self.extend([None] * missing)

    def extend(self, values: list[Any]) -> None:
        """Add the values of some rows."""
        try:
            known, code = self._values, self._values.setdefault
            self._codes.extend([code(value, len(known)) for value in values])
        except TypeError:  # lists or objects
            self.extend([self._hashable(value) for value in values])

    def _hashable(self, value: Any) -> Any:
        if isinstance(value, list):
            self.has_objects |= any(isinstance(each, dict | list | tuple) for each in value)
            self.has_lists = True
            return tuple(map(str, value)) or None
        if isinstance(value, dict):
            self.has_objects = True
            return str(value)
        return value

    @cached_property
    def values(self) -> list[Any]:
        """The D different values, in the order of their first rows."""
        values = [value for value in self._values if value not in _MISSING and value == value]  # noqa: PLR0124 - NaN is missing too
        others = [value for value in values if not (isinstance(value, str) and value.strip().lower() == "nan")]
        is_numeric = 0 < len(others) < len(values) and all(map(is_number, others))
        return others if is_numeric else values  # a numeric field takes the text "NaN" as missing, too

    @cached_property
    def codes(self) -> NDArray[np.int64]:
        """(R,) the index of each row's value in ``values``, -1 where it is missing."""
        indices = {value: index for index, value in enumerate(self.values)}
        return np.array([indices.get(value, -1) for value in self._values], np.int64)[np.frombuffer(self._codes, np.int32)]

    @cached_property
    def filled(self) -> NDArray[np.bool_]:
        """(R,) whether a row has a value."""
        return self.codes >= 0

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """(D,) the number of rows with each value."""
        return np.bincount(self.codes[self.filled], minlength=len(self.values))

    @cached_property
    def numbers(self) -> NDArray[np.float64] | None:
        """(D,) the values as numbers; None if one of them is no number."""
        if self.has_lists or self.has_objects or not self.values or any(isinstance(value, bool) for value in self.values):
            return None
        try:
            numbers = np.array([float(value) for value in self.values])
        except (ValueError, OverflowError):
            return None
        return numbers if np.isfinite(numbers).all() else None

    @cached_property
    def is_integer(self) -> bool:
        """Whether its values are numbers, and all are whole."""
        return self.numbers is not None and bool((self.numbers == np.round(self.numbers)).all())

    @property
    def rises(self) -> bool:
        """Whether its numbers never fall from one row to the next."""
        return self.numbers is not None and bool((np.diff(self.numbers[self.codes[self.filled]]) >= 0).all())


def is_number(value: Any) -> bool:
    """Return whether a value is a number, or a text that is."""
    try:
        return not isinstance(value, bool) and math.isfinite(float(value))
    except (TypeError, ValueError, OverflowError):
        return False


class Sample:
    """The first R rows of a recorded log."""

    def __init__(self) -> None:
        self.rows = 0
        self.columns: list[Column] = []
        self._names: Counter[str] = Counter()  # that an object has brought after the first row
        self._labels, self._times = array("b"), array("q")

    def add(self, chunk: list[Logged]) -> None:
        """Add some rows; a new column has no values before them."""
        known = {column.name: column for column in self.columns}
        for row in chunk:
            if not row.features.keys() <= known.keys():
                known = self._with(row.features, known)
        for name, column in known.items():
            column.extend([row.features.get(name) for row in chunk])
        self.columns = list(known.values())
        self._labels.extend([row.label for row in chunk])
        self._times.extend([row.time for row in chunk])
        self.rows += len(chunk)

    def _with(self, features: Row, known: dict[str, Column]) -> dict[str, Column]:
        """Return the columns with those that a row begins; an object that has brought too many is one, known to be that alone."""
        new = {name: Column(name, self.rows) for name in features if name not in known and self._names[_outer(name)] <= MOST_NAMES}
        if known:
            self._names.update(map(_outer, new))
        whole = {outer for outer in map(_outer, new) if self._names[outer] > MOST_NAMES}
        columns = {name: column for name, column in (known | new).items() if _outer(name) not in whole}
        for name in whole:
            columns[name] = Column(name, self.rows)
            columns[name].has_objects = True
        return columns

    @property
    def whole(self) -> bool:
        """Whether it holds the whole file."""
        return self.rows < ROWS

    @cached_property
    def labels(self) -> NDArray[np.float64]:
        """(R,) 1 where it was clicked, else 0."""
        return np.array(self._labels, np.float64)

    @cached_property
    def times(self) -> NDArray[np.int64]:
        """(R,) the time of each row, epoch ms."""
        return np.array(self._times, np.int64)

    @property
    def span(self) -> int:
        """From the earliest to the latest time, in ms."""
        return max(self._times) - min(self._times)


def _outer(name: str) -> str:
    """Return the name of the object that a value is in; its own if it is in none."""
    return name.partition(".")[0]


def chunks(recorded: Recorded, data: DataSettings, left_out: LeftOut | None = None) -> Iterator[list[Logged]]:
    """Yield the rows of a sample, some at a time.

    Raises:
        stream.files.opened.FileError: it can't be read.
    """
    rows = islice(read(recorded, data, left_out), ROWS)
    while chunk := list(islice(rows, _CHUNK)):
        yield chunk
