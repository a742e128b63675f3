"""Reads chosen partitions of a log in an SQLite file by short queries; in between it checks ``data_version`` every 2 ms.

``data_version`` changes with every commit of another connection; a reader has a connection of its own, so it misses none.
Offsets are dense: a record that is not at its offset is either not written yet or trimmed, and the bounds say which.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import msgspec

from stream.log.contract import Headers, OffsetGoneError, Record, UnknownTopicError
from stream.log.sqlite.file import named_errors, open_file
from stream.log.sqlite.packing import Unpacker
from stream.log.sqlite.retention import SHIFT

_WATCH = 0.002  # seconds
_MOST_BYTES = 32_000_000  # of values that are read of a partition at once

_decode_headers = msgspec.msgpack.Decoder(Headers).decode


class SqliteReader:
    """Reads ``topic`` from the offset that ``start`` gives for each partition."""

    def __init__(self, path: Path, topic: str, start: Mapping[int, int]) -> None:
        self._path, self._topic = path, topic
        self._next = dict(start)
        self._drained: int | None = None  # the data_version at which nothing was left to read
        with named_errors(path):
            self._connection = open_file(path)
        self._unpack = Unpacker(self._connection).unpack
        self._first_row_ids = self._find_partitions()

    def poll(self, max_records: int, timeout: float) -> list[Record]:
        """Return up to ``max_records``, after at most ``timeout`` seconds for the first."""
        deadline = time.monotonic() + timeout
        with named_errors(self._path):
            while not (records := self._take(max_records)):
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                time.sleep(min(_WATCH, left))
        return records

    def positions(self) -> dict[int, int]:
        """Return the next offset of each partition."""
        return dict(self._next)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _find_partitions(self) -> dict[int, int]:
        """Return the row id of each partition's offset 0."""
        query = "SELECT partition, number << ? FROM partitions WHERE topic = ?"
        with named_errors(self._path):
            bases = dict(self._connection.execute(query, (SHIFT, self._topic)).fetchall())
        missing = self._next.keys() - bases.keys()
        if missing or not bases:
            self.close()
            raise UnknownTopicError(f"expected partitions {sorted(self._next)} of topic {self._topic!r}, got {sorted(bases)}")
        return bases

    def _take(self, max_records: int) -> list[Record]:
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        if version == self._drained:
            return []
        records: list[Record] = []
        for partition in list(self._next):
            taken = self._take_from(partition, max_records - len(records))
            records += taken
            if len(records) == max_records or sum(len(record.value or b"") for record in taken) > _MOST_BYTES:
                self._next[partition] = self._next.pop(partition)  # moved to the end, so that no partition starves another
                break
        else:
            self._drained = version
        self._next.update({record.partition: record.offset + 1 for record in records})
        return records

    def _take_from(self, partition: int, limit: int) -> list[Record]:
        first = self._next[partition]
        records = list(_up_to(_MOST_BYTES, self._records(partition, first, limit)))
        if not records or records[0].offset != first:
            self._expect_end(partition)
            return []
        return records

    def _records(self, partition: int, first: int, limit: int) -> Iterator[Record]:
        base = self._first_row_ids[partition]
        query = """SELECT place, timestamp, key, value, headers, dictionary FROM records
            WHERE place >= ? AND place < ? ORDER BY place LIMIT ?"""
        with closing(self._connection.execute(query, (base + first, base + (1 << SHIFT), limit))) as cursor:
            for place, timestamp, key, value, headers, dictionary in cursor:
                named = _decode_headers(headers) if headers else ()
                yield Record(self._topic, partition, place - base, timestamp, key, self._unpack(value, dictionary), named)

    def _expect_end(self, partition: int) -> None:
        """Make sure that the next offset, which holds no record, is the end."""
        query = "SELECT first, next FROM partitions WHERE topic = ? AND partition = ?"
        first, end = self._connection.execute(query, (self._topic, partition)).fetchone()
        if not first <= self._next[partition] <= end:
            wanted = f"offset {self._next[partition]} of {self._topic!r} partition {partition}"
            raise OffsetGoneError(f"expected {wanted}, which holds the offsets from {first} up to {end}")


def _up_to(most_bytes: int, records: Iterable[Record]) -> Iterator[Record]:
    """Yield records until their values are more than ``most_bytes`` together."""
    size = 0
    for record in records:
        yield record
        size += len(record.value or b"")
        if size > most_bytes:
            return
