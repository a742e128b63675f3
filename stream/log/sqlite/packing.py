"""Values of an SQLite log, compressed: what most records of a partition have in common stands once, in its dictionary.

A dictionary is made of the newest records once a partition has had a thousand, and anew at ten thousand, at a hundred thousand and so on.
It holds what more than half of these records share, names of fields above all; what is one person's goes with its records.
"""

import re
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from zstandard import DICT_TYPE_RAWCONTENT, ZstdCompressionDict, ZstdCompressor, ZstdDecompressor, ZstdError

from stream.log.sqlite.retention import SHIFT

TABLE = """CREATE TABLE IF NOT EXISTS dictionaries (
    id INTEGER PRIMARY KEY, number INTEGER, made_at INTEGER, common BLOB, UNIQUE (number, made_at))"""

_FIRST = 1_000  # records of a partition, before its first dictionary
_SAMPLES = 500
_LONGEST = 4_096  # bytes of a value that is compressed, or looked at for a dictionary: longer ones are weights
_TOKEN = re.compile(rb'[{\[,]{0,3}"[^"]*":?[{\[]*|[^",]+')  # bounded before a string: else commas alone take the square of their number
_LEVEL = 3


class Dictionary(NamedTuple):
    """By what the values of a partition are compressed."""

    id: int
    compressor: ZstdCompressor


class Dictionaries:
    """The dictionaries of the partitions that one thread writes."""

    def __init__(self) -> None:
        self._compressors: dict[bytes, ZstdCompressor] = {}

    def newest(self, db: sqlite3.Connection, number: int, end: int) -> Dictionary | None:
        """Return the dictionary of the partition ``number``, which has had ``end`` records; make it, if it is time."""
        query = "SELECT id, made_at, common FROM dictionaries WHERE number = ? ORDER BY made_at DESC LIMIT 1"
        id_, made_at, common = db.execute(query, (number,)).fetchone() or (0, _FIRST // 10, b"")
        if end >= 10 * made_at:
            common = common_parts(_newest_values(db, number, end))
            id_ = db.execute("INSERT INTO dictionaries VALUES (NULL, ?, ?, ?)", (number, end, common)).lastrowid
        return Dictionary(id_, self._compressor(common)) if common else None

    def _compressor(self, common: bytes) -> ZstdCompressor:
        if common not in self._compressors:
            dictionary = _dictionary(common)
            dictionary.precompute_compress(level=_LEVEL)
            self._compressors[common] = ZstdCompressor(level=_LEVEL, dict_data=dictionary, write_content_size=False)
        return self._compressors[common]


def pack(value: bytes | None, dictionary: Dictionary | None) -> tuple[bytes | None, int | None]:
    """Return a value as it is stored, and the dictionary's id if that is compressed."""
    if dictionary is None or value is None or len(value) > _LONGEST:
        return value, None
    packed = dictionary.compressor.compress(value)
    return (packed, dictionary.id) if len(packed) < len(value) else (value, None)


class Unpacker:
    """Restores values, for one thread.

    Args:
        db: The log's file.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db, self._decompressors = db, dict[int, ZstdDecompressor]()

    def unpack(self, value: bytes | None, dictionary: int | None) -> bytes | None:
        """Return a value as it was appended; one that is damaged, or whose dictionary is, as it is stored."""
        if value is not None and dictionary is not None:
            with suppress(ZstdError):
                return self._decompressor(dictionary).decompress(value, max_output_size=_LONGEST)
        return value

    def _decompressor(self, dictionary: int) -> ZstdDecompressor:
        if dictionary not in self._decompressors:
            found = self._db.execute("SELECT common FROM dictionaries WHERE id = ?", (dictionary,)).fetchone()
            if found is None:
                raise ZstdError(f"there is no dictionary {dictionary}")
            (common,) = found
            self._decompressors[dictionary] = ZstdDecompressor(dict_data=_dictionary(common))
        return self._decompressors[dictionary]


def common_parts(values: Sequence[bytes]) -> bytes:
    """Return the names, marks and words that more than half of ``values`` hold.

    >>> common_parts([b'{"user":"ada","age":36}', b'{"user":"bob","age":36}', b'{"user":"eve","age":41}'])
    b'{"user":,"age":36}'
    """
    tokens = [_TOKEN.findall(value) for value in values]
    counts = Counter(token for found in tokens for token in set(found))
    return b"".join(dict.fromkeys(token for found in tokens for token in found if 2 * counts[token] > len(values)))


def _newest_values(db: sqlite3.Connection, number: int, end: int) -> list[bytes]:
    query = "SELECT value, dictionary FROM records WHERE place >= ? AND place < ? AND length(value) <= ?"
    base, unpack = number << SHIFT, Unpacker(db).unpack
    rows = db.execute(query, (base + max(0, end - _SAMPLES), base + end, _LONGEST)).fetchall()
    return [value for row in rows if (value := unpack(*row)) is not None]


def _dictionary(common: bytes) -> ZstdCompressionDict:
    return ZstdCompressionDict(common, dict_type=DICT_TYPE_RAWCONTENT)
