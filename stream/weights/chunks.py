"""What the topic ``weights`` holds: deltas in one partition, snapshots in the other, each cut into chunks.

A chunk names the whole that it is part of, so that a piece left over by a writer that was killed is never taken for
another's. A delta is the change from the version before it; one without a base says "start again from a snapshot".
"""

import json
import secrets
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from model.array_file import ArrayFileError, Arrays, dump, load
from stream.log.contract import Message, Record

CHUNK = 900_000  # bytes: below the usual limit of a message (1 MiB)


class BrokenWeightsError(Exception):
    """What the log holds is no whole snapshot, or not the delta that comes next."""


class WeightsHeader(Struct, frozen=True):
    """Which weights these are: the header of a delta or a snapshot."""

    version: int
    base: int | None  # the version that a delta changes; None: none, start from a snapshot
    digest: str
    examples: int
    trained_through: int | None  # epoch ms
    published_at: int  # epoch ms


class Packed(NamedTuple):
    """Arrays that have come through the log."""

    header: WeightsHeader
    arrays: Arrays
    entries: dict[str, Any]  # all of the header's, :func:`pack`'s further ones included


def pack(header: WeightsHeader, arrays: Arrays, **more: Any) -> bytes:
    """Turn a delta or a snapshot into bytes, ``more`` being further entries of its header."""
    return dump(arrays, {**msgspec.to_builtins(header), **more})


def unpack(data: bytes) -> Packed:
    """Return what :func:`pack` was given.

    Raises:
        BrokenWeightsError: the bytes are damaged, or something else.
    """
    try:
        arrays, entries = load(data)
        return Packed(msgspec.convert(entries, WeightsHeader), arrays, entries)
    except (ArrayFileError, msgspec.ValidationError) as error:
        raise BrokenWeightsError(f"weights that can't be read: {error}") from error


def cut(topic: str, partition: int, data: bytes) -> list[Message]:
    """Cut ``data`` into messages, each of which says which part of which whole it is."""
    whole = secrets.token_bytes(8)
    starts = range(0, len(data), CHUNK)
    return [
        Message(topic, whole, data[start : start + CHUNK], (("part", f"{part}/{len(starts)}".encode()),), partition)
        for part, start in enumerate(starts)
    ]


def manifest(chunks: list[Message], header: WeightsHeader, deltas: int) -> Message:
    """Close a snapshot: the record after its chunks says that they are all there, and where the deltas go on."""
    whole = {"chunks": len(chunks), "deltas": deltas, **msgspec.to_builtins(header)}
    return Message(chunks[0].topic, chunks[0].key, json.dumps(whole).encode(), (), chunks[0].partition)


def read_manifest(record: Record) -> WeightsHeader:
    """Read which weights a snapshot holds.

    Raises:
        BrokenWeightsError: the record is no manifest.
    """
    try:
        return msgspec.json.decode(record.value or b"", type=WeightsHeader)
    except msgspec.DecodeError as error:
        raise BrokenWeightsError(f"the record at offset {record.offset} is no snapshot's manifest: {error}") from error


class Assembler:
    """Assembles deltas from the chunks that they were cut into; the chunks of one delta stand together."""

    def __init__(self) -> None:
        self._parts: list[Record] = []

    def add(self, records: Iterable[Record]) -> list[bytes]:
        """Add the next records, and return the deltas that they complete.

        Raises:
            BrokenWeightsError: a part is missing.
        """
        whole = []
        for record in records:
            self._parts.append(record)
            part, parts = _part(record)
            if part != len(self._parts) - 1 or record.key != self._parts[0].key:
                raise BrokenWeightsError(f"part {part + 1} of {parts} at offset {record.offset} follows {len(self._parts) - 1} parts")
            if part == parts - 1:
                whole.append(b"".join(part.value or b"" for part in self._parts))
                self._parts = []
        return whole


def assemble_snapshot(records: list[Record]) -> bytes:
    """Assemble the chunks of the snapshot whose manifest is the last of ``records``; other writers' pieces are passed over.

    Raises:
        BrokenWeightsError: a part is missing.
    """
    if not records:
        raise BrokenWeightsError("the snapshot's records are no longer in the log")
    *chunks, last = (record for record in records if record.key == records[-1].key)
    whole = Assembler().add(chunks)
    if last.headers or len(whole) != 1:
        raise BrokenWeightsError(f"the snapshot that ends at offset {records[-1].offset} is not whole")
    return whole[0]


def _part(record: Record) -> tuple[int, int]:
    try:
        part, parts = dict(record.headers)["part"].split(b"/")
        return int(part), int(parts)
    except (KeyError, ValueError, AttributeError) as error:  # the last where a header is null, as Kafka's may be
        raise BrokenWeightsError(f"the record at offset {record.offset} is no part of any weights") from error
