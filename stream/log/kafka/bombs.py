"""Tell whether a compressed batch is larger than any honest one when it is unpacked, without unpacking more of it than that.

Kafka limits what a batch takes compressed: a megabyte of gzip may hold a gigabyte, and one of zstd thirty.
"""

import gzip
import io
import zlib
from collections.abc import Iterator

import cramjam
import numpy as np

MOST = 16_000_000  # bytes of a batch, unpacked: clients pack one to two megabytes at most
_GZIP, _SNAPPY, _LZ4, _ZSTD = 1, 2, 3, 4  # as a batch names them
_LARGEST_RATIO = {0: 1, _GZIP: 1_032, _LZ4: 255}  # of formats that have one
_XERIAL = b"\x82SNAPPY\x00"  # how Java's clients frame snappy's blocks
_XERIAL_HEADER = 16  # bytes


def fits(codec: int, payload: memoryview) -> bool:
    """Return whether the records of a batch, compressed by ``codec``, take no more than ``MOST`` bytes, and can be unpacked at all."""
    ratio = _LARGEST_RATIO.get(codec)
    if ratio is not None and len(payload) * ratio <= MOST:
        return True
    try:
        if codec == _SNAPPY:
            return sum(_claimed(block) for block in _snappy_blocks(payload)) <= MOST
        if codec == _GZIP:
            return len(gzip.GzipFile(fileobj=io.BytesIO(payload)).read(MOST + 1)) <= MOST
        unpack = {_LZ4: cramjam.lz4, _ZSTD: cramjam.zstd}[codec].decompress_into
        unpack(bytes(payload), np.empty(MOST, np.uint8))  # it fails where there is no room; memory that is not written to is not taken
    except (cramjam.DecompressionError, OSError, EOFError, zlib.error, KeyError, IndexError):
        return False
    return True


def _snappy_blocks(payload: memoryview) -> Iterator[memoryview]:
    if payload[: len(_XERIAL)] != _XERIAL:
        yield payload
        return
    position = _XERIAL_HEADER
    while position < len(payload):
        start = position + 4
        position = start + int.from_bytes(payload[position:start], "big")
        yield payload[start:position]


def _claimed(block: memoryview) -> int:
    """Return the length that a block of snappy claims: its decoder allocates that much."""
    length, shift = 0, 0
    for byte in block[:5]:
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:  # noqa: PLR2004 - the last byte of a varint
            return length
    raise IndexError("a length that does not end")
