"""The sums of an experiment, in an SQLite file of their own: a row a unit, and how far the log was read, in one transaction.

So a record counts once, whatever is killed. Memory does not grow with the units (a million take 67 MB of disk, see
benchmarks/experiments): a row is read and written where it lies. Sums over units are taken when they are asked for, in the order of the
units' keys, so that they do not depend on the order in which the log was read.
"""

import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import numpy as np

from experiments import bins
from experiments.comparison import Arm
from experiments.moments import BEFORE, COLUMNS, OF_UNIT, Floats, Moments, moments
from stream.experiment.counting import Counting, Shown
from stream.experiment.plan import NEVER, ExperimentError, Plan

PATIENCE = 5.0  # seconds to wait for another process that is about to end
_FORMAT = 1
_CHUNK = 20_000  # units summed at once
_SUMS = (*OF_UNIT, *BEFORE)
_TABLES = f"""
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS progress (partition INTEGER PRIMARY KEY, next INTEGER);
CREATE TABLE IF NOT EXISTS units (unit INTEGER PRIMARY KEY, arm TEXT, {", ".join(f"{name} REAL" for name in _SUMS)});
CREATE TABLE IF NOT EXISTS folded (arm TEXT PRIMARY KEY, moments BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bins (arm TEXT PRIMARY KEY, counts BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counts (arm TEXT, what TEXT, count INTEGER, PRIMARY KEY (arm, what)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS forgotten (unit INTEGER PRIMARY KEY, until INTEGER);
"""
_ADD = f"""
INSERT INTO units VALUES ({", ".join("?" * (2 + len(_SUMS)))}) ON CONFLICT (unit) DO UPDATE SET
arm = coalesce(arm, excluded.arm), {", ".join(f"{name} = {name} + excluded.{name}" for name in _SUMS)}
"""  # noqa: S608 - the names are ours, here and below
_COLUMNS = ", ".join(["1", *OF_UNIT, "impressions_before > 0", *BEFORE])  # in the order of COLUMNS
_ZERO = (0.0,) * len(OF_UNIT)


class Sums:
    """The sums of one experiment; one process at a time has them."""

    def __init__(self, path: Path) -> None:
        """Open the file at ``path``, or make it.

        Raises:
            ExperimentError: another process has it, or it is no such file.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._file = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
            self._file.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._file.execute("PRAGMA journal_mode=WAL")
            self._file.execute("PRAGMA synchronous=NORMAL")  # a crash of the machine may undo the last transactions: they are read again
            self._file.executescript(_TABLES)
        except sqlite3.Error as error:
            raise ExperimentError(f"{path}: expected the sums of an experiment that no other process reads, got: {error}") from error
        if self.state("format", _FORMAT) != _FORMAT:
            raise ExperimentError(f"{path}: expected format {_FORMAT}; delete it to count again from what the log holds")
        self._bins = {arm: _unpacked(counts) for arm, counts in self._file.execute("SELECT * FROM bins")}
        self.forgotten: dict[int, int] = {_unsigned(unit): until for unit, until in self._file.execute("SELECT * FROM forgotten")}

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all changes of the block, or none."""
        try:
            with self._file:
                self._file.execute("BEGIN IMMEDIATE")
                yield
        except sqlite3.Error as error:
            raise ExperimentError(f"the sums of the experiment can't be written: {error}") from error

    def state(self, name: str, default: int) -> int:
        """Return a number that was kept, ``default`` if it was not."""
        found = self._file.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        return int(found[0]) if found else default

    def keep(self, **numbers: int) -> None:
        """Keep numbers by name."""
        self._file.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", [(name, str(number)) for name, number in numbers.items()])

    def progress(self) -> dict[int, int]:
        """Return the next offset of each partition."""
        return dict(self._file.execute("SELECT partition, next FROM progress"))

    def set_progress(self, positions: Mapping[int, int]) -> None:
        """Set the next offset of each partition."""
        self._file.executemany("INSERT OR REPLACE INTO progress VALUES (?, ?)", positions.items())

    def begin(self, plan: Plan) -> None:
        """Make ready for a plan: what was counted at other shares is dropped, and what units did before, if the beginning is another."""
        begins, since = plan.begins or NEVER, plan.since
        if (self.state("begins", -1), self.state("since", -1)) == (begins, since):
            return
        if self.state("begins", -1) == begins:
            zeros = ", ".join(f"{name} = 0" for name in OF_UNIT)
            self._file.execute(f"UPDATE units SET arm = NULL, {zeros}")  # noqa: S608
        else:
            self._file.execute("DELETE FROM units")
            self.keep(begun=begins)
        for table in ("folded", "bins", "counts"):
            self._file.execute(f"DELETE FROM {table}")  # noqa: S608
        self._bins.clear()
        self.keep(format=_FORMAT, begins=begins, since=since, first=0, last=0)

    def add(self, counting: Counting) -> None:
        """Add what was counted, and take it from there."""
        self._file.executemany(_ADD, map(_row, counting.shown))
        during = sorted((each for each in counting.shown if each.arm is not None), key=attrgetter("arm"))
        for arm, group in groupby(during, attrgetter("arm")):
            self._add_to_bins(arm, list(group))
        self.count(counting.counts)
        times = [time for _, _, time in counting.served]
        if times:
            first = self.state("first", 0) or min(times)
            self.keep(first=min(first, *times), last=max(self.state("last", 0), *times), begun=counting.begun)
        counting.shown.clear()
        counting.served.clear()
        counting.counts.clear()

    def count(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Add to the counts."""
        add = "INSERT INTO counts VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count"
        self._file.executemany(add, [(arm, what, count) for (arm, what), count in counts.items()])

    def forget(self, unit: int, until: int, expired: int) -> None:
        """Drop the row of a unit, and let no impression of it count up to ``until``, epoch ms.

        ``expired``: requests up to this time can't matter any more.
        """
        self._file.execute("DELETE FROM units WHERE unit = ?", (_signed(unit),))
        self.forgotten = {other: time for other, time in self.forgotten.items() if time > expired}
        self.forgotten[unit] = max(until, self.forgotten.get(unit, 0))
        self._file.execute("DELETE FROM forgotten WHERE until <= ?", (expired,))
        self._file.execute("INSERT OR REPLACE INTO forgotten VALUES (?, ?)", (_signed(unit), self.forgotten[unit]))

    def write_bins(self) -> None:
        """Write the bins, which until then are in memory only."""
        self._file.executemany("INSERT OR REPLACE INTO bins VALUES (?, ?)", [(arm, _packed(each)) for arm, each in self._bins.items()])

    def fold(self) -> None:
        """Keep only sums over units: of an experiment that is over, and whose records are deleted, nothing stays of a person."""
        arms = [arm for (arm,) in self._file.execute("SELECT DISTINCT arm FROM units WHERE arm IS NOT NULL").fetchall()]
        folded = [(arm, self._moments(arm).tobytes()) for arm in arms]
        self._file.executemany("INSERT OR REPLACE INTO folded VALUES (?, ?)", folded)
        self._file.execute("DELETE FROM units")

    def arms(self, names: Iterable[str]) -> dict[str, Arm]:
        """Return what is summed of each arm."""
        return {name: Arm(self._moments(name), self._bins.get(name, bins.empty())) for name in names}

    def counts(self) -> dict[str, dict[str, int]]:
        """Return arm → what → how many."""
        found: dict[str, dict[str, int]] = {}
        for arm, what, count in self._file.execute("SELECT arm, what, count FROM counts"):
            found.setdefault(arm, {})[what] = count
        return found

    def most(self, arm: str, column: str) -> float:
        """Return the largest sum that one unit of an arm has."""
        (most,) = self._file.execute(f"SELECT max({column}) FROM units WHERE arm = ?", (arm,)).fetchone()  # noqa: S608
        return float(most or 0.0)

    def heaviest(self, arm: str, count: int) -> Floats:
        """Return the units of an arm that have the most impressions, the heaviest first, ``(N, D)``, at most ``count``."""
        query = f"SELECT {_COLUMNS} FROM units WHERE arm = ? ORDER BY impressions DESC, unit LIMIT ?"  # noqa: S608
        return np.array(self._file.execute(query, (arm, count)).fetchall(), np.float64).reshape(-1, len(COLUMNS))

    def _moments(self, arm: str) -> Moments:
        folded = self._file.execute("SELECT moments FROM folded WHERE arm = ?", (arm,)).fetchone()
        size = len(COLUMNS)
        found = np.frombuffer(folded[0]).reshape(size, size).copy() if folded else np.zeros((size, size))
        with closing(self._file.execute(f"SELECT {_COLUMNS} FROM units WHERE arm = ? ORDER BY unit", (arm,))) as rows:  # noqa: S608
            while chunk := rows.fetchmany(_CHUNK):
                found += moments(chunk)
        return found

    def _add_to_bins(self, arm: str, shown: list[Shown]) -> None:
        units = np.array([each.unit for each in shown], np.uint64)
        before = [-each.impressions for each in shown]  # -1: not counted yet; 0: counted as not clicked
        counts, after = self._bins.setdefault(arm, bins.empty()), [each.clicks for each in shown]
        bins.add(counts, units, [each.probability for each in shown], before, after)


def _row(shown: Shown) -> tuple[object, ...]:
    if shown.arm is None:
        return (_signed(shown.unit), None, *_ZERO, shown.impressions, shown.clicks, shown.value)
    return (_signed(shown.unit), shown.arm, *shown.row(), 0, 0, 0.0)


def _signed(unit: int) -> int:
    """Return the 64 bits of a unit's key as SQLite has them."""
    return unit - (unit >> 63 << 64)


def _unsigned(unit: int) -> int:
    return unit % (1 << 64)


def _packed(counts: bins.Counts) -> bytes:
    return zlib.compress(counts.astype("<u4").tobytes(), 1)  # most are zero for long


def _unpacked(data: bytes) -> bins.Counts:
    return np.frombuffer(zlib.decompress(data), "<u4").reshape(bins.empty().shape).astype(np.int64)
