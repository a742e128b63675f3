"""A message's partition is the one that Kafka's own clients choose, and its limits are the same on every log."""

import pytest
from hypothesis import given, strategies as st
from kafka.partitioner import default

from stream.log.contract import Message, RecordTooLargeError, UnknownTopicError
from stream.log.message import MESSAGE_LIMIT, choose_partition, murmur2


@given(st.binary(max_size=40))
def test_murmur2_is_the_hash_of_kafkas_clients(key: bytes) -> None:
    assert murmur2(key) == default.murmur2(key)


@given(st.none() | st.binary(max_size=10), st.integers(1, 12))
def test_a_message_goes_to_a_partition_that_exists_and_always_to_the_same(key: bytes | None, partitions: int) -> None:
    message = Message("topic", key, b"")

    assert 0 <= choose_partition(message, partitions) < partitions
    assert choose_partition(message, partitions) == choose_partition(message, partitions)


def test_a_partition_that_is_named_wins_over_the_key() -> None:
    assert choose_partition(Message("topic", b"key", b"", partition=2), 3) == 2


@pytest.mark.parametrize("partition", [-1, 3])
def test_a_partition_that_the_topic_lacks_is_refused(partition: int) -> None:
    with pytest.raises(UnknownTopicError, match=f"0 to 2, got {partition}"):
        choose_partition(Message("topic", b"", b"", partition=partition), 3)


def test_key_value_and_headers_count_towards_the_limit() -> None:
    fits = Message("topic", b"k" * 100, bytes(MESSAGE_LIMIT - 210), (("h" * 10, bytes(100)),))

    assert choose_partition(fits, 1) == 0
    with pytest.raises(RecordTooLargeError, match=f"{MESSAGE_LIMIT + 1:,}"):
        choose_partition(fits._replace(key=b"k" * 101), 1)
