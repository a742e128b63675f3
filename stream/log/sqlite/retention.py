"""How an SQLite log forgets: records past their topic's retention, oldest first, a bounded piece at each transaction.

The age of a record is the time that its log has been in use since it came, so it rests on no single reading of the clock. A mark says how
many records a partition had at an age; what came before a mark that is old enough goes. A stop of the machine, or a jump of its
clock, ages a topic by a tenth of its retention at most: a wrong clock never empties it, and whoever was stopped finds what it needs.
"""

import sqlite3
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

# A record's row id, the column ``place``, is its partition's number << 40 | its offset: in order, and found without an index.
SHIFT = 40

TICK = 10.0  # seconds from one look at what is too old to the next
_MARKS = 100  # of one retention: a record stays by so much of it too long
_LONGEST_STEP = 10  # a part of the retention
_RECORDS, _BYTES = 1_000, 4_000_000  # that one transaction deletes from one partition at most

TABLE = "CREATE TABLE IF NOT EXISTS marks (number INTEGER, offset INTEGER, age REAL, PRIMARY KEY (number, offset)) WITHOUT ROWID"

# Beside those of 0.2: the most bytes of a partition and those it holds, how long it has been in use, and when it was last looked at.
_COLUMNS = {"most_bytes": "INTEGER", "held": "INTEGER NOT NULL DEFAULT 0", "age": "REAL NOT NULL DEFAULT 0", "looked_at": "REAL"}


class _Partition(NamedTuple):
    number: int
    first: int
    next: int
    retention: float | None
    most_bytes: int | None
    held: int
    age: float
    looked_at: float | None

    @property
    def too_much(self) -> int:
        """How many bytes it holds beyond its limit."""
        return 0 if self.most_bytes is None else max(0, self.held - self.most_bytes)


_BOUNDED = f"SELECT {', '.join(_Partition._fields)} FROM partitions WHERE retention IS NOT NULL OR most_bytes IS NOT NULL"  # noqa: S608
_SIZE = "coalesce(length(key), 0) + coalesce(length(value), 0) + coalesce(length(headers), 0)"


def migrate(db: sqlite3.Connection) -> None:
    """Add what a log of an earlier program lacks. Its records count as new: they stay for another retention."""
    db.execute(TABLE)
    known = {name for _, name, *_ in db.execute("PRAGMA table_info(partitions)")}
    for name, kind in _COLUMNS.items():
        if name not in known:
            db.execute(f"ALTER TABLE partitions ADD COLUMN {name} {kind}")
    if "dictionary" not in {name for _, name, *_ in db.execute("PRAGMA table_info(records)")}:
        db.execute("ALTER TABLE records ADD COLUMN dictionary INTEGER")


def count_held(db: sqlite3.Connection, topic: str) -> None:
    """Count the bytes that each partition of ``topic`` holds: an earlier program did not."""
    held = f"SELECT coalesce(sum({_SIZE}), 0) FROM records WHERE place >= number << {SHIFT} AND place < (number + 1) << {SHIFT}"  # noqa: S608
    db.execute(f"UPDATE partitions SET held = ({held}) WHERE topic = ?", (topic,))  # noqa: S608


def release(db: sqlite3.Connection, topic: str, before: Mapping[int, int]) -> None:
    """Mark the records before these offsets of the partitions of ``topic`` as older than any retention."""
    mark = "INSERT OR REPLACE INTO marks SELECT number, min(?, next), ? FROM partitions WHERE topic = ? AND partition = ?"
    db.executemany(mark, [(offset, float("-inf"), topic, partition) for partition, offset in before.items()])


def tick(db: sqlite3.Connection, clock: Callable[[], float] = time.time) -> float:
    """Let every partition age, mark how far it has come, and return the seconds until the next tick is due."""
    now = clock()
    bounded = [_Partition(*row) for row in db.execute(_BOUNDED).fetchall()]
    for partition in bounded:
        age = partition.age + _step(partition, now)
        db.execute("UPDATE partitions SET age = ?, looked_at = ? WHERE number = ?", (age, now, partition.number))
        _mark(db, partition._replace(age=age))
    return min([TICK, *(each.retention / _MARKS for each in bounded if each.retention)])


def trim(db: sqlite3.Connection) -> bool:
    """Delete the oldest records that are past their limits, up to a piece of each partition; return whether there may be more."""
    more = False
    for row in db.execute(_BOUNDED).fetchall():
        partition = _Partition(*row)
        cut = _cut(db, partition)
        if cut > partition.first or partition.too_much:
            end, size = _piece(db, partition, cut)
            base = partition.number << SHIFT
            db.execute("DELETE FROM records WHERE place >= ? AND place < ?", (base + partition.first, base + end))
            db.execute("UPDATE partitions SET first = ?, held = max(0, held - ?) WHERE number = ?", (end, size, partition.number))
            db.execute("DELETE FROM marks WHERE number = ? AND offset < ?", (partition.number, end))
            more |= partition.first < end and (end < cut or size < partition.too_much)
    return more


def _step(partition: _Partition, now: float) -> float:
    """Return by how much a partition has aged since it was looked at: never back, and by no more than a part of its retention."""
    if partition.looked_at is None or partition.retention is None:
        return 0.0
    return min(max(0.0, now - partition.looked_at), partition.retention / _LONGEST_STEP)


def _mark(db: sqlite3.Connection, partition: _Partition) -> None:
    """Write down that all records so far are at least as old as the partition is now, unless the last mark says nearly the same."""
    if partition.retention is None:
        return
    query = "SELECT offset, age FROM marks WHERE number = ? ORDER BY offset DESC LIMIT 1"
    offset, age = db.execute(query, (partition.number,)).fetchone() or (partition.first, float("-inf"))
    if partition.next > offset and partition.age - age >= partition.retention / _MARKS:
        values = (partition.number, partition.next, partition.age)
        db.execute("INSERT OR IGNORE INTO marks (number, offset, age) VALUES (?, ?, ?)", values)


def _cut(db: sqlite3.Connection, partition: _Partition) -> int:
    """Return the offset before which records are too old."""
    if partition.retention is None:
        return partition.first
    query = "SELECT max(offset) FROM marks WHERE number = ? AND age <= ?"
    (cut,) = db.execute(query, (partition.number, partition.age - partition.retention)).fetchone()
    return partition.first if cut is None else int(cut)


def _piece(db: sqlite3.Connection, partition: _Partition, cut: int) -> tuple[int, int]:
    """Return the offset up to which one transaction deletes, and the bytes before it."""
    base, end, size = partition.number << SHIFT, partition.first, 0
    query = f"SELECT {_SIZE} FROM records WHERE place >= ? AND place < ? ORDER BY place LIMIT ?"  # noqa: S608
    for (length,) in db.execute(query, (base + end, base + partition.next, _RECORDS)).fetchall():
        if (end >= cut and size >= partition.too_much) or size > _BYTES:
            break
        end, size = end + 1, size + length
    return end, size
