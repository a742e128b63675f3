"""Records, messages and progress as the bytes that go between a Flink job and its tasks: see ``Frames.java`` and ``Task.java``.

Numbers are big-endian; bytes have their length before them, -1 for none. A frame on a pipe has its length before it, then a letter.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO

from stream.log.contract import Headers, Message, Record

_INT = struct.Struct(">i")
_HEAD = struct.Struct(">Biqq")  # of a record: its input, partition, offset, timestamp


def read_frames(pipe: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yield the letter and the bytes of each frame, up to the end of the pipe."""
    while len(length := pipe.read(_INT.size)) == _INT.size:
        frame = pipe.read(_INT.unpack(length)[0])
        yield frame[:1], frame[1:]


def write_frame(pipe: BinaryIO, letter: bytes, *parts: bytes) -> None:
    """Write a frame."""
    pipe.write(_INT.pack(1 + sum(map(len, parts))))
    pipe.write(letter)
    pipe.writelines(parts)


def record_in(frame: bytes, topics: tuple[str, ...]) -> Record:
    """Return the record of a frame; its topic is one of ``topics``, by its index."""
    index, partition, offset, timestamp = _HEAD.unpack_from(frame)
    key, at = _take(frame, _HEAD.size)
    value, at = _take(frame, at)
    return Record(topics[index], partition, offset, timestamp, key, value, _headers(frame, at))


def frame_of_record(record: Record, topics: tuple[str, ...]) -> bytes:
    """Return the frame of a record: what :func:`record_in` reads."""
    head = _HEAD.pack(topics.index(record.topic), record.partition, record.offset, record.timestamp)
    return b"".join((head, _bytes(record.key), _bytes(record.value), _written(record.headers)))


def frame_of_message(message: Message) -> bytes:
    """Return the frame of a message."""
    partition = -1 if message.partition is None else message.partition
    topic = _bytes(message.topic.encode())
    return b"".join((topic, _INT.pack(partition), _bytes(message.key), _bytes(message.value), _written(message.headers)))


def _bytes(value: bytes | None) -> bytes:
    return _INT.pack(-1) if value is None else _INT.pack(len(value)) + value


def _take(frame: bytes, at: int) -> tuple[bytes | None, int]:
    (length,) = _INT.unpack_from(frame, at)
    at += _INT.size
    return (None, at) if length < 0 else (frame[at : at + length], at + length)


def _headers(frame: bytes, at: int) -> Headers:
    (count,) = _INT.unpack_from(frame, at)
    at += _INT.size
    headers = []
    for _ in range(count):
        name, at = _take(frame, at)
        value, at = _take(frame, at)
        headers.append(((name or b"").decode(errors="replace"), value or b""))
    return tuple(headers)


def _written(headers: Headers) -> bytes:
    return b"".join((_INT.pack(len(headers)), *(_bytes(name.encode()) + _bytes(value) for name, value in headers)))
