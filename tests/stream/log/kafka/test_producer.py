"""Records that are packed many at a time are those that kafka-python would have packed one by one, whatever Kafka does with them."""

import random
import uuid
from typing import Any

import pytest
from hypothesis import given, strategies as st
from kafka.record.memory_records import MemoryRecords

from stream.log.contract import Message, RecordTooLargeError
from stream.log.kafka.admin import Admin
from stream.log.kafka.log import KafkaLog
from stream.log.kafka.producer import _Records
from stream.log.kafka.security import Cluster

LZ4, SIZE = 3, 2_000
BYTES = st.binary(max_size=300)
HEADERS = st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=5)), max_size=3)


def written(records: _Records) -> list[tuple[Any, ...]]:
    """Return what kafka-python reads in a batch, after it has checked its sum."""
    found = []
    for batch in MemoryRecords(records.buffer()):
        assert batch.validate_crc()
        assert (batch.producer_id, batch.producer_epoch, batch.base_sequence, batch.is_transactional) == (7, 1, 40, True)
        found += [(each.offset, each.timestamp, each.key, each.value, each.headers) for each in batch]
    return found


@given(st.lists(st.tuples(st.integers(1, 2**40), st.none() | BYTES, st.none() | BYTES, HEADERS), min_size=1, max_size=12))
def test_a_batch_holds_what_was_packed_until_it_was_full(taken: list[tuple[int, Any, Any, Any]]) -> None:
    records = _Records(LZ4, SIZE)

    fit = [record for record in taken if records.append(*record)]
    records.set_producer_state(7, 1, 40, is_transactional=True)
    records.close()

    assert written(records) == [(offset, *record) for offset, record in enumerate(fit)]
    assert fit == taken or records.size_in_bytes() <= SIZE
    assert records.append(*taken[0]) is None


def test_a_batch_that_kafka_finds_too_large_is_split_and_a_record_that_is_is_refused(kafka: str) -> None:
    topic, admin = f"test-{uuid.uuid4().hex}", Admin(Cluster((kafka.removeprefix("kafka://"),)))
    admin.create(topic, 2, {"max.message.bytes": 10_000})
    admin.close()
    values = [random.randbytes(900) for _ in range(100)]

    with KafkaLog(kafka) as log:
        offsets = log.append([Message(topic, None, value, partition=n % 2) for n, value in enumerate(values)])
        reader = log.reader(topic, {0: 0, 1: 0})
        found: dict[tuple[int, int], bytes | None] = {}
        while len(found) < len(values):
            found |= {(each.partition, each.offset): each.value for each in reader.poll(100, 10.0)}
        reader.close()
        with pytest.raises(RecordTooLargeError):
            log.append([Message(topic, None, random.randbytes(20_000))])

    assert [found[n % 2, offset] for n, offset in enumerate(offsets)] == values
