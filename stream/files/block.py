"""Some neighbouring rows of a recorded file, to be taken row by row, or in columns by arrow where that gives the same values."""

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple, Protocol, TypeAlias

import pyarrow as pa

Row: TypeAlias = dict[Any, Any]
Arrays: TypeAlias = dict[str, pa.Array]


class Unreadable(NamedTuple):
    """What stands in the place of a row that can't be read."""

    reason: str


class Block(Protocol):
    """Some neighbouring rows; one of its methods is called, and all is taken before the next block."""

    def rows(self) -> Iterator[Row | Unreadable]:
        """Yield all columns of each row."""
        ...

    def columns(self, names: Collection[str], /) -> tuple[int, Arrays] | None:
        """Return how many rows there are, and those of the columns that exist; None: only its rows are sure."""
        ...


class OnlyRows:
    """A block whose rows can't be taken in columns."""

    def __init__(self, rows: Iterator[Row | Unreadable]) -> None:
        self._rows = rows

    def rows(self) -> Iterator[Row | Unreadable]:
        """Yield all columns of each row."""
        return self._rows

    def columns(self, _: Collection[str], /) -> None:
        """Return None."""
