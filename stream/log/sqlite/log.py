"""A log in one SQLite file, for one machine: nothing to install, the same contract as Kafka's.

Offsets are dense and never used twice: the next one is in a table, so it survives trimming. An owner's epoch is checked inside the
transaction that it guards. Values are compressed (:mod:`stream.log.sqlite.packing`). Records past their retention are deleted between the
writes (:mod:`stream.log.sqlite.retention`).
"""

import sqlite3
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from stream.log.contract import (
    Bounds,
    FencedError,
    LogUnavailableError,
    Message,
    Partitioner,
    Progress,
    Retention,
    TopicPartition,
    UnknownTopicError,
)
from stream.log.message import check_metadata, choose_partition
from stream.log.sqlite.file import GroupCommit, named_errors, open_file, wal_size
from stream.log.sqlite.packing import TABLE as DICTIONARIES, Dictionaries, Dictionary, pack
from stream.log.sqlite.reader import SqliteReader
from stream.log.sqlite.retention import SHIFT, TICK, count_held, migrate, release, tick, trim

_TABLES = (
    """CREATE TABLE IF NOT EXISTS partitions (
        number INTEGER PRIMARY KEY, topic TEXT, partition INTEGER, first INTEGER, next INTEGER, retention REAL,
        UNIQUE (topic, partition))""",
    """CREATE TABLE IF NOT EXISTS records (
        place INTEGER PRIMARY KEY, timestamp INTEGER, key BLOB, value BLOB, headers BLOB, dictionary INTEGER)""",
    DICTIONARIES,
    "CREATE TABLE IF NOT EXISTS owners (owner TEXT PRIMARY KEY, epoch INTEGER) WITHOUT ROWID",
    """CREATE TABLE IF NOT EXISTS progress (
        owner TEXT, topic TEXT, partition INTEGER, next INTEGER, metadata TEXT,
        PRIMARY KEY (owner, topic, partition)) WITHOUT ROWID""",
)


class SqliteLog:
    """The log at ``sqlite:///relative.db`` or ``sqlite:////absolute.db``; the file and its folders are created."""

    def __init__(self, url: str, partitioner: Partitioner = "murmur2") -> None:
        self.partitioner = partitioner
        self._path = Path(url.removeprefix("sqlite:///"))
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LogUnavailableError(f"expected a folder for the log {str(self._path)!r}, got: {error}") from error
        with named_errors(self._path):
            self._reads = open_file(self._path)
            self._writes, self._dictionaries = GroupCommit(self._path), Dictionaries()
        self._writes.submit(_create_tables).result()
        self._next_tick = time.monotonic()

    def create(self, topic: str, partitions: int, *, retention: float | None = None, most_bytes: int | None = None) -> bool:
        """Create ``topic`` unless it exists; return whether it was created."""
        rows = [(topic, partition, retention, most_bytes) for partition in range(partitions)]

        def work(db: sqlite3.Connection) -> bool:
            insert = "INSERT OR IGNORE INTO partitions (topic, partition, first, next, retention, most_bytes) VALUES (?, ?, 0, 0, ?, ?)"
            if db.execute("SELECT 1 FROM partitions WHERE topic = ?", (topic,)).fetchone():
                return False
            db.executemany(insert, rows)
            return True

        created = self._writes.submit(work).result()
        self._next_tick = time.monotonic()
        return created

    def retention(self, topic: str) -> Retention:
        """Return how long, and up to how many bytes, ``topic`` keeps its records."""
        with named_errors(self._path):
            found = self._reads.execute("SELECT retention, most_bytes FROM partitions WHERE topic = ?", (topic,)).fetchone()
        if found is None:
            raise UnknownTopicError(_unknown(topic))
        return Retention(*found)

    def retain(self, topic: str, retention: Retention) -> None:
        """Keep the records of ``topic``, also those that it holds, for so long and up to so many bytes from now on."""
        self.bounds(topic)
        statement = "UPDATE partitions SET retention = ?, most_bytes = ? WHERE topic = ?"

        def work(db: sqlite3.Connection) -> None:
            count_held(db, topic)
            db.execute(statement, (*retention, topic))

        self._writes.submit(work).result()
        self._next_tick = time.monotonic()

    def bounds(self, topic: str) -> dict[int, Bounds]:
        """Return the committed offsets that each partition holds."""
        with named_errors(self._path):
            rows = self._reads.execute("SELECT partition, first, next FROM partitions WHERE topic = ?", (topic,)).fetchall()
        if not rows:
            raise UnknownTopicError(_unknown(topic))
        return {partition: Bounds(first, end) for partition, first, end in rows}

    def release(self, topic: str, before: Mapping[int, int]) -> None:
        """Delete the records of ``topic`` before these offsets of its partitions, a piece at a time, if it has a retention."""

        def work(db: sqlite3.Connection) -> None:
            release(db, topic, before)
            self._trim(db)

        self._writes.submit(work)

    def file_sizes(self) -> dict[str, int]:
        """Return the bytes of the file and of its write-ahead log."""
        return {"records": self._path.stat().st_size, "write-ahead": wal_size(self._path)}

    def append_times(self, topic: str) -> bool:
        """Return True: the log sets every timestamp, a message has none."""
        self.bounds(topic)
        return True

    def append(self, messages: Sequence[Message]) -> list[int]:
        """Append, and return the offsets once the records are on the disk."""
        appended = self._writes.submit(lambda db: self._append(db, messages))
        self._tick_when_due()
        return appended.result()

    def reader(self, topic: str, start: Mapping[int, int]) -> SqliteReader:
        """Open a reader of ``topic`` from the given offset of each partition."""
        return SqliteReader(self._path, topic, start)

    def writer(self, owner: str, group: str | None = None) -> "SqliteWriter":
        """Take the name ``owner``, and fence whoever held it; progress is stored under ``group``, by default the owner's name."""

        def work(db: sqlite3.Connection) -> int:
            db.execute("INSERT INTO owners VALUES (?, 1) ON CONFLICT DO UPDATE SET epoch = epoch + 1", (owner,))
            return _epoch(db, owner)

        return SqliteWriter(self, owner, self._writes.submit(work).result(), group or owner)

    def commit(
        self, owner: str, epoch: int, messages: Sequence[Message], progress: Mapping[TopicPartition, Progress], group: str
    ) -> list[int]:
        """Append ``messages`` and store ``progress`` under ``group``, if ``owner`` is still in its ``epoch``."""
        check_metadata(progress)
        rows = [(group, topic, partition, *entry) for (topic, partition), entry in progress.items()]

        def work(db: sqlite3.Connection) -> list[int]:
            current = _epoch(db, owner)
            if current != epoch:
                raise FencedError(f"another process owns {owner!r}: expected epoch {epoch}, got {current}")
            db.executemany("INSERT OR REPLACE INTO progress VALUES (?, ?, ?, ?, ?)", rows)
            return self._append(db, messages)

        committed = self._writes.submit(work)
        self._tick_when_due()
        return committed.result()

    def progress(self, owner: str, topic: str) -> dict[int, Progress]:
        """Return what ``owner`` last committed for each partition."""
        query = "SELECT partition, next, metadata FROM progress WHERE owner = ? AND topic = ?"
        with named_errors(self._path):
            rows = self._reads.execute(query, (owner, topic)).fetchall()
        return {partition: Progress(offset, metadata) for partition, offset, metadata in rows}

    def close(self) -> None:
        """Finish the writes under way and close the file."""
        self._writes.close()
        self._reads.close()

    def __enter__(self) -> Self:
        """Return the log itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close it."""
        self.close()

    def _append(self, db: sqlite3.Connection, messages: Sequence[Message]) -> list[int]:
        now = int(time.time() * 1000)
        found = {topic: _partitions(db, topic) for topic in {message.topic for message in messages}}
        dictionaries: dict[int, Dictionary | None] = {}  # this, and the rest, by the partition's number
        added: dict[int, int] = defaultdict(int)
        sizes: dict[int, int] = defaultdict(int)
        offsets, rows = [], []
        for message in messages:
            partitions = found[message.topic]
            number, end = partitions[choose_partition(message, len(partitions), self.partitioner)]
            if number not in dictionaries:
                dictionaries[number] = self._dictionaries.newest(db, number, end)
            value, dictionary = pack(message.value, dictionaries[number])
            headers = msgspec.msgpack.encode(message.headers) if message.headers else None
            offset = end + added[number]
            added[number] += 1
            sizes[number] += len(message.key or b"") + len(value or b"") + len(headers or b"")
            offsets.append(offset)
            rows.append((number << SHIFT | offset, now, message.key, value, headers, dictionary))
        db.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)", rows)
        grown = [(count, sizes[number], number) for number, count in added.items()]
        db.executemany("UPDATE partitions SET next = next + ?, held = held + ? WHERE number = ?", grown)
        return offsets

    def _tick_when_due(self) -> None:
        if time.monotonic() >= self._next_tick:
            self._next_tick = time.monotonic() + TICK
            self._writes.submit(self._tick)

    def _tick(self, db: sqlite3.Connection) -> None:
        self._next_tick = time.monotonic() + tick(db)
        self._trim(db)

    def _trim(self, db: sqlite3.Connection) -> None:
        if trim(db):
            self._writes.submit(self._trim)


class SqliteWriter:
    """The owner of a name, for as long as its epoch is the newest."""

    def __init__(self, log: SqliteLog, owner: str, epoch: int, group: str) -> None:
        self._log, self._owner, self._epoch, self._group = log, owner, epoch, group

    def commit(self, messages: Sequence[Message], progress: Mapping[TopicPartition, Progress]) -> list[int]:
        """Append ``messages`` and store ``progress`` in one transaction; return the messages' offsets, in order."""
        return self._log.commit(self._owner, self._epoch, messages, progress, self._group)

    def close(self) -> None:
        """Do nothing: the connections are the log's."""


def _create_tables(db: sqlite3.Connection) -> None:
    for table in _TABLES:
        db.execute(table)
    migrate(db)


def _partitions(db: sqlite3.Connection, topic: str) -> list[tuple[int, int]]:
    """Return the number and the next offset of each partition of ``topic``."""
    rows = db.execute("SELECT number, next FROM partitions WHERE topic = ? ORDER BY partition", (topic,)).fetchall()
    if not rows:
        raise UnknownTopicError(_unknown(topic))
    return rows


def _unknown(topic: str) -> str:
    return f"topic {topic!r} does not exist: `sml topics create` creates it"


def _epoch(db: sqlite3.Connection, owner: str) -> int:
    (epoch,) = db.execute("SELECT epoch FROM owners WHERE owner = ?", (owner,)).fetchone()
    return int(epoch)
