"""Unpack the records that Kafka sends with aiokafka's compiled parser: kafka-python's own takes six times as long.

Records of aborted transactions are skipped, and a batch that was damaged on the way is refused. One that would unpack to more than any
honest one is not unpacked, and of one that was written wrong no more than what comes before the fault: a record takes their place that
says so, which is set aside as any other that can't be read.
"""

from collections.abc import Iterator
from typing import Any

from aiokafka.errors import KafkaError
from aiokafka.record.default_records import DefaultRecordBatch
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError
from kafka.record.memory_records import MemoryRecords
from kafka.structs import TopicPartition

from stream.log.contract import Record
from stream.log.kafka.bombs import MOST, fits

_HEADER = 61  # bytes of a batch before its records
_LARGEST = 2_000_000  # bytes of a value


class Unpacked(Fetcher.PartitionRecords):  # type: ignore[misc]  # it has no types
    """One partition's part of a fetch response, as the log's records."""

    def _unpack_records(self, tp: TopicPartition, records: MemoryRecords, *_: Any) -> Iterator[Record]:
        while (batch := records.next_batch()) is not None:
            parsed = DefaultRecordBatch(batch._buffer)  # noqa: SLF001 - as it came
            if not parsed.validate_crc():
                raise CorruptRecordError(f"the batch at {batch.base_offset} of {tp.topic}, partition {tp.partition}, fails its check")
            self.leader_epoch = batch.leader_epoch
            if self._is_committed(batch):
                if fits(parsed.compression_type, memoryview(batch._buffer)[_HEADER:]):  # noqa: SLF001
                    yield from self._parsed(tp, batch, parsed)
                else:
                    yield _in_place_of(batch, tp, batch.base_offset, f"takes more than {MOST:,} bytes unpacked, or can't be unpacked")
            self.next_fetch_offset = batch.next_offset
        self.drain()

    def _parsed(self, tp: TopicPartition, batch: Any, parsed: DefaultRecordBatch) -> Iterator[Record]:
        """Yield the records of a batch, and one in place of those that no parser can read; as it passed its check, it was written so."""
        offset = batch.base_offset
        try:
            for record in parsed:
                self.next_fetch_offset = offset = record.offset + 1
                headers = tuple((name, value or b"") for name, value in record.headers)  # other clients write headers without a value
                yield Record(tp.topic, tp.partition, record.offset, record.timestamp, record.key, _usable(record.value), headers)
        except (KafkaError, ValueError, LookupError, ArithmeticError, MemoryError, OSError, EOFError) as error:
            yield _in_place_of(batch, tp, offset, f"can't be read from offset {offset} on: {error}")

    def _is_committed(self, batch: Any) -> bool:
        """Return whether the batch holds committed records; keep track of the aborted transactions."""
        self._consume_aborted_transactions_up_to(batch.last_offset)
        if self._contains_abort_marker(batch):
            self.aborted_producer_ids.discard(batch.producer_id)
        return not batch.is_control_batch and not self._is_batch_aborted(batch)


def _usable(value: bytes | None) -> bytes | None:
    """Return a value, or what is said in place of one that is larger than anything we read."""
    if value is None or len(value) <= _LARGEST:
        return value
    return f"a value of {len(value):,} bytes, expected at most {_LARGEST:,}".encode()


def _in_place_of(batch: Any, tp: TopicPartition, offset: int, why: str) -> Record:
    """Return a record that stands for those of a batch which are not read."""
    said = f"the batch at offsets {batch.base_offset} to {batch.last_offset} {why}"
    return Record(tp.topic, tp.partition, offset, batch.max_timestamp, None, said.encode())
