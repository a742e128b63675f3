"""What becomes of rows that can't be read: they are counted, and too many end the reading."""

from collections.abc import Iterator

from stream.files.opened import FileError

_ENOUGH = 10_000  # rows, before which no share of them says anything: wrong rows come together
_SHOWN = 5


class LeftOut:
    """The rows of a recorded log that are left out.

    Args:
        most: The share of rows that may be unreadable.

    Attributes:
        rows: All rows so far.
        unreadable: Those that can't be read.
        unlabelled: Those whose label is empty.
    """

    def __init__(self, most: float) -> None:
        self.rows = self.unreadable = self.unlabelled = 0
        self._most, self._first = most, list[FileError]()

    def add(self, error: FileError) -> None:
        """Count an unreadable row.

        Raises:
            FileError: there are too many by now.
        """
        self.unreadable += 1
        if len(self._first) < _SHOWN:
            self._first.append(error)
        self._check(max(self.rows, _ENOUGH))

    def finish(self) -> None:
        """Say that there are no more rows.

        Raises:
            FileError: too many were unreadable.
        """
        self._check(self.rows)

    def _check(self, rows: int) -> None:
        if self.unreadable <= self._most * rows:
            return
        if self.unreadable == 1:
            raise self._first[0]
        told = f"got {self.unreadable:,} rows of {self.rows:,} that can't be read, expected {self._most:.1%} at most (--max-bad); the first"
        raise FileError("\n".join([told, *self._shown()])) from self._first[0]

    def _shown(self) -> Iterator[str]:
        """Yield the first errors, each expectation once."""
        known = set[str]()
        for error in self._first:
            got, _, expected = str(error).partition(", expected ")
            yield got if expected in known else str(error)
            known.add(expected)

    def counts(self) -> dict[str, int]:
        """Return how many rows were left out, and why."""
        return {"unreadable": self.unreadable, "unlabelled": self.unlabelled}

    def notes(self) -> Iterator[str]:
        """Yield what was left out, in words."""
        if self.unreadable:
            yield f"{self.unreadable:,} of {self.rows:,} rows can't be read and were left out: " + "; ".join(self._shown())
        if self.unlabelled:
            yield f"{self.unlabelled:,} of {self.rows:,} rows have no label and were left out"
