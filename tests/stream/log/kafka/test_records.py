"""What is unpacked is what kafka-python's own parser unpacks, whatever was sent; a damaged batch is refused."""

import random
import tracemalloc
from typing import Any, NamedTuple

import pytest
from hypothesis import given, strategies as st
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError
from kafka.protocol.consumer import IsolationLevel
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder
from kafka.structs import TopicPartition

from stream.log.kafka.bombs import fits
from stream.log.kafka.records import Unpacked

CLICKS_3 = TopicPartition("clicks", 3)
NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)

texts = st.none() | st.binary(max_size=300)
contents = st.lists(st.tuples(texts, texts, st.lists(st.tuples(st.text(max_size=5), texts), max_size=2)), min_size=1, max_size=20)


class Aborted(NamedTuple):
    """An aborted transaction, as the broker reports it."""

    producer_id: int
    first_offset: int


def batch(
    offset: int, content: list[tuple[bytes | None, bytes | None, list[Any]]], codec: int = NONE, producer: int | None = None
) -> bytes:
    """Pack records as a producer does, from the ``offset`` that a broker gives; with a ``producer``, in a transaction."""
    owned = {} if producer is None else {"transactional": True, "producer_id": producer, "producer_epoch": 0, "base_sequence": 0}
    builder = MemoryRecordsBuilder(2, codec, 1 << 26, **owned)
    for number, (key, value, headers) in enumerate(content):
        builder.append(timestamp=1_000 + number, key=key, value=value, headers=headers)
    builder.close()
    return offset.to_bytes(8) + bytes(builder.buffer())[8:]  # the check covers what comes after


def taken(kind: type[Fetcher.PartitionRecords], sent: bytes, start: int, at_once: int, aborted: list[Aborted]) -> list[tuple[Any, ...]]:
    """Return all records from offset ``start`` on, then the next offset to fetch; a header without a value counts as empty."""
    part = kind(start, CLICKS_3, MemoryRecords(sent), isolation_level=IsolationLevel.READ_COMMITTED, aborted_transactions=aborted)
    found = []
    while part:
        got = part.take(at_once)
        headers = [tuple((name, value or b"") for name, value in each.headers) for each in got]
        found += [(each.offset, each.timestamp, each.key, each.value, its) for each, its in zip(got, headers, strict=True)]
    return [*found, (part.next_fetch_offset,)]


@given(
    st.lists(st.tuples(contents, st.sampled_from([NONE, GZIP, SNAPPY, LZ4, ZSTD]), st.sampled_from([None, 7, 8])), min_size=1, max_size=4),
    st.integers(0, 30),
    st.integers(1, 40),
    st.sets(st.sampled_from([7, 8])),
)
def test_it_unpacks_what_kafka_python_does(batches: list[Any], start: int, at_once: int, aborted: set[int]) -> None:
    sent, end = b"", 0
    for content, codec, producer in batches:
        sent += batch(end, content, codec, producer)
        end += len(content)
    begun = [Aborted(producer, 0) for producer in sorted(aborted)]

    assert taken(Unpacked, sent, start, at_once, begun) == taken(Fetcher.PartitionRecords, sent, start, at_once, begun)


@given(st.integers(21, 200), st.integers(1, 255))
def test_a_damaged_batch_is_refused(index: int, change: int) -> None:
    sent = bytearray(batch(0, [(b"key", b"value" * 50, [])]))
    sent[max(index % len(sent), 21)] ^= change

    with pytest.raises(CorruptRecordError, match="clicks, partition 3"):
        taken(Unpacked, bytes(sent), 0, 10, [])


@pytest.mark.parametrize("codec", [GZIP, SNAPPY, LZ4, ZSTD])
def test_a_batch_that_unpacks_to_more_than_any_honest_one_is_named_and_passed_over(codec: int) -> None:
    bomb = batch(0, [(b"key", bytes(17_000_000), [])] * 2, codec)
    sent = bomb + batch(2, [(b"key", b"honest", [])], codec)
    memory: list[int] = []

    tracemalloc.start()
    got = taken(Unpacked, sent, 0, 10, [])
    memory.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()

    assert len(bomb) < 3_000_000
    assert got[0][0] == 0
    assert got[0][3] == b"the batch at offsets 0 to 1 takes more than 16,000,000 bytes unpacked, or can't be unpacked"
    assert (got[1][0], got[1][3]) == (2, b"honest")
    assert got[-1] == (3,)
    assert memory[0] < 60_000_000


@pytest.mark.parametrize("codec", [NONE, GZIP, SNAPPY, LZ4, ZSTD])
def test_a_large_honest_batch_is_unpacked(codec: int) -> None:
    large = bytes(random.Random(0).randbytes(900_000))

    got = taken(Unpacked, batch(0, [(b"key", large, []), (b"key", bytes(1_900_000), []), (b"key", bytes(3_000_000), [])], codec), 0, 10, [])

    assert [len(each[3]) for each in got[:2]] == [900_000, 1_900_000]
    assert got[2][3] == b"a value of 3,000,000 bytes, expected at most 2,000,000"


class NoText(str):
    """A header's name that is not UTF-8 on the wire, where a name is any bytes."""

    __slots__ = ()

    def encode(self, *_: Any) -> bytes:
        return b"\xff\xfe"


@pytest.mark.parametrize("codec", [NONE, GZIP, SNAPPY, LZ4, ZSTD])
def test_a_batch_that_was_written_wrong_is_read_up_to_the_fault_and_named_from_there(codec: int) -> None:
    wrong = batch(0, [(b"a", b"first", []), (b"a", b"second", [(NoText("x"), b"")]), (b"a", b"third", [])], codec)

    *got, end = taken(Unpacked, wrong + batch(3, [(b"key", b"honest", [])], codec), 0, 10, [])

    assert [each[0] for each in got] == [0, 1, 3]
    assert (got[0][3], got[2][3], end) == (b"first", b"honest", (4,))
    assert got[1][3].startswith(b"the batch at offsets 0 to 2 can't be read from offset 1 on: ")


def test_a_block_of_snappy_that_claims_four_gigabytes_is_not_given_them() -> None:
    assert not fits(SNAPPY, memoryview(b"\xff\xff\xff\xff\x0f" + b"rubbish"))
    assert not fits(SNAPPY, memoryview(b"\x82SNAPPY\x00" + bytes(8) + (9).to_bytes(4) + b"\xff\xff\xff\xff\x0frub"))
    assert not fits(ZSTD, memoryview(b"rubbish"))
