"""A message's partition and its size limit: the same on every log, and the same as in Kafka's own clients.

A key's partition is its hash modulo the number of partitions: murmur2 without the sign bit, as Java's clients have it, or CRC-32, as
librdkafka's do by default. If all writers use the same one, the records of an impression are in one partition.
"""

import struct
import zlib
from collections.abc import Mapping

from stream.log.contract import Message, Partitioner, Progress, Record, RecordTooLargeError, TopicPartition, UnknownTopicError

MESSAGE_LIMIT = 1_000_000  # bytes of a message, with its key and headers: what Kafka takes by default, less its own overhead
METADATA_LIMIT = 4096  # bytes of the metadata beside an offset

_SEED, _MIX, _WORD = 0x9747B28C, 0x5BD1E995, 0xFFFFFFFF


def choose_partition(message: Message, partitions: int, partitioner: Partitioner = "murmur2") -> int:
    """Choose the partition of ``message``, out of ``partitions``: its own, else its key's (no key counts as the empty key).

    Raises:
        RecordTooLargeError: the message is above the limit.
        UnknownTopicError: the message names a partition that the topic does not have.
    """
    size = size_of(message)
    if size > MESSAGE_LIMIT:
        raise RecordTooLargeError(f"expected a message of up to {MESSAGE_LIMIT:,} bytes for {message.topic!r}, got {size:,}")
    if message.partition is None:
        return partition_of(message.key or b"", partitions, partitioner)
    if not 0 <= message.partition < partitions:
        raise UnknownTopicError(f"topic {message.topic!r} has the partitions 0 to {partitions - 1}, got {message.partition}")
    return message.partition


def partition_of(key: bytes, partitions: int, partitioner: Partitioner) -> int:
    """Choose the partition of a key.

    >>> partition_of(b"i-2", 4, "murmur2"), partition_of(b"i-2", 4, "crc32")
    (3, 2)
    """
    if partitions == 1:
        return 0
    return (zlib.crc32(key) if partitioner == "crc32" else murmur2(key) & 0x7FFFFFFF) % partitions


def size_of(message: Message | Record) -> int:
    """Return how many bytes a log has to keep for a message."""
    size = len(message.key or b"") + len(message.value or b"")
    return size + sum(len(name.encode()) + len(value) for name, value in message.headers) if message.headers else size


def check_metadata(progress: Mapping[TopicPartition, Progress]) -> None:
    """Refuse metadata that Kafka would not keep: it would end the producer that sends it.

    Raises:
        RecordTooLargeError: an entry's metadata is above the limit.
    """
    for (topic, partition), entry in progress.items():
        size = len(entry.metadata.encode())
        if size > METADATA_LIMIT:
            raise RecordTooLargeError(
                f"expected metadata of up to {METADATA_LIMIT:,} bytes for {topic!r} partition {partition}, got {size:,}"
            )


def murmur2(data: bytes) -> int:
    """Hash ``data`` to 32 bits as ``org.apache.kafka.common.utils.Utils.murmur2`` does.

    >>> hex(murmur2(b"21"))
    '0xc5f2f8ec'
    """
    state = _SEED ^ len(data)
    words = len(data) // 4
    for word in struct.unpack_from(f"<{words}I", data):
        mixed = word * _MIX & _WORD
        mixed = (mixed ^ mixed >> 24) * _MIX & _WORD
        state = state * _MIX & _WORD ^ mixed
    tail = data[4 * words :]
    if tail:
        state = (state ^ int.from_bytes(tail, "little")) * _MIX & _WORD
    state = (state ^ state >> 13) * _MIX & _WORD
    return state ^ state >> 15
