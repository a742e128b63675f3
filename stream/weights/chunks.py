"""The format of the topic ``weights``: deltas in one partition, snapshots in the other, each cut into chunks.

A chunk's key names the delta or snapshot that it is part of. So a chunk left behind by a writer that was killed is never
taken for another's. A delta is the change from the version before it; one without a base means "start again from a snapshot".
"""

import json
import secrets
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct
from numpy.typing import NDArray

from model.array_file import ArrayFileError, Arrays, dump, load
from stream.log.contract import Message, Record

CHUNK = 900_000  # bytes: below the usual limit of a message, 1 MiB
MOST_CHUNKS = 100_000  # of a snapshot, or of any delta: 90 GB
_OF_HEADER = 100_000  # bytes of a delta's header, and of the names of its arrays


class BrokenWeightsError(Exception):
    """The log holds no complete snapshot, or not the delta that comes next."""


class WeightsHeader(Struct, frozen=True):
    """The header of a delta or a snapshot: which version of the weights it holds."""

    version: int
    base: int | None  # the version that a delta changes; None: start from a snapshot
    digest: str
    examples: int
    trained_through: int | None  # epoch ms
    published_at: int  # epoch ms


class Packed(NamedTuple):
    """A delta or a snapshot as :func:`unpack` returns it."""

    header: WeightsHeader
    arrays: Arrays
    entries: dict[str, Any]  # of the header, further ones too


def pack(header: WeightsHeader, arrays: Arrays, **more: Any) -> bytes:
    """Serialize a delta or a snapshot; ``more`` are further entries of its header."""
    return dump(arrays, {**msgspec.to_builtins(header), **more})


def unpack(data: bytes) -> Packed:
    """Deserialize what :func:`pack` returned.

    Raises:
        BrokenWeightsError: the bytes are damaged, or are no weights.
    """
    try:
        arrays, entries = load(data)
        return Packed(msgspec.convert(entries, WeightsHeader), arrays, entries)
    except (ArrayFileError, msgspec.ValidationError) as error:
        raise BrokenWeightsError(f"weights that can't be read: {error}") from error


def cut(topic: str, partition: int, data: bytes) -> list[Message]:
    """Cut ``data`` into messages of at most ``CHUNK`` bytes, with a random key in common and a header ``part``: index/count."""
    key = secrets.token_bytes(8)
    starts = range(0, len(data), CHUNK)
    return [
        Message(topic, key, data[start : start + CHUNK], (("part", f"{part}/{len(starts)}".encode()),), partition)
        for part, start in enumerate(starts)
    ]


def manifest(chunks: list[Message], header: WeightsHeader, deltas: int) -> Message:
    """Return the record that follows a snapshot's chunks: all of them are there, and the deltas go on at offset ``deltas``."""
    content = {"chunks": len(chunks), "deltas": deltas, **msgspec.to_builtins(header)}
    return Message(chunks[0].topic, chunks[0].key, json.dumps(content).encode(), (), chunks[0].partition)


def read_manifest(record: Record) -> WeightsHeader:
    """Read the header of a snapshot from its manifest.

    Raises:
        BrokenWeightsError: the record is no manifest.
    """
    try:
        return msgspec.json.decode(record.value or b"", type=WeightsHeader)
    except msgspec.DecodeError as error:
        raise BrokenWeightsError(f"the record at offset {record.offset} is no snapshot's manifest: {error}") from error


def most_chunks(arrays: Sequence[NDArray[Any]]) -> int:
    """Return of how many chunks a delta can be that replaces all of these arrays.

    >>> import numpy as np
    >>> most_chunks([np.zeros(300_000)])
    3
    """
    return 1 + (sum(array.nbytes for array in arrays) + _OF_HEADER) // CHUNK


class Assembler:
    """Assembles deltas from their chunks, which follow one another in the log.

    Args:
        most: Of how many chunks a delta can be; one that claims to be of more is refused, and nothing of it is kept.
    """

    def __init__(self, most: int = MOST_CHUNKS) -> None:
        self._most = most
        self._chunks: list[Record] = []  # of the delta that is not complete yet

    def add(self, records: Iterable[Record]) -> list[bytes]:
        """Add the next records, and return the deltas that they complete.

        Raises:
            BrokenWeightsError: a chunk is missing.
        """
        complete = []
        for record in records:
            part, parts = _part(record, self._most)
            self._chunks.append(record)
            if part != len(self._chunks) - 1 or record.key != self._chunks[0].key:
                raise BrokenWeightsError(f"part {part + 1} of {parts} at offset {record.offset} follows {len(self._chunks) - 1} parts")
            if part == parts - 1:
                complete.append(b"".join(chunk.value or b"" for chunk in self._chunks))
                self._chunks = []
        return complete


def assemble_snapshot(records: list[Record]) -> bytes:
    """Assemble the snapshot whose manifest is the last of ``records``; skip chunks of other writers.

    Raises:
        BrokenWeightsError: a chunk is missing.
    """
    if not records:
        raise BrokenWeightsError("the snapshot's records are no longer in the log")
    *chunks, last = (record for record in records if record.key == records[-1].key)
    complete = Assembler().add(chunks)
    if last.headers or len(complete) != 1:
        raise BrokenWeightsError(f"the snapshot that ends at offset {records[-1].offset} is not whole")
    return complete[0]


def _part(record: Record, most: int) -> tuple[int, int]:
    """Read the index of a chunk, and how many chunks there are."""
    try:
        part, parts = map(int, dict(record.headers)["part"].split(b"/"))
    except (KeyError, ValueError, AttributeError) as error:  # AttributeError: the header is null, as Kafka's may be
        raise BrokenWeightsError(f"the record at offset {record.offset} is no part of any weights") from error
    if not 0 <= part < parts <= most:
        raise BrokenWeightsError(f"part {part + 1} of {parts} at offset {record.offset}, expected at most {most} parts")
    return part, parts
