"""Writes to Kafka, by kafka-python's producer; records are packed many at a time, by aiokafka's compiled builder.

kafka-python takes 25 µs for each record, on its way through the producer and back; a batch of them costs a tenth of that here.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from kafka import KafkaProducer, errors
from kafka.producer.future import FutureRecordMetadata
from kafka.producer.producer_batch import ProducerBatch
from kafka.record.memory_records import MemoryRecordsBuilder
from kafka.structs import OffsetAndMetadata, TopicPartition

from stream.log.contract import LogError, Message, Progress
from stream.log.kafka.client import WAIT, WAIT_MS, named_errors, open_client
from stream.log.kafka.security import Cluster

_FORMAT = 2  # of batches


class _Records(MemoryRecordsBuilder):  # type: ignore[misc]  # it has no types
    """A batch whose records aiokafka's builder packs; kafka-python's compresses them, 20 times as fast as aiokafka's would."""

    def __init__(self, compression: int, size: int) -> None:
        super().__init__(_FORMAT, compression, size)
        self._packer = DefaultRecordBatchBuilder(_FORMAT, 0, 0, -1, -1, -1, size)
        self._first_timestamp = self._last_timestamp = 0

    def append(self, timestamp: int, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]) -> Any:
        """Pack a record; return None if the batch is full."""
        metadata = None if self._closed else self._packer.append(self._next_offset, timestamp, key, value, headers)
        if metadata is not None:
            self._first_timestamp = self._first_timestamp or timestamp
            self._last_timestamp = max(self._last_timestamp, timestamp)
            self._next_offset += 1
        return metadata

    def close(self) -> None:
        """Make the batch ready to be sent."""
        if not self._closed:
            head, builder = self._builder.header_size_in_bytes(), self._builder
            builder._buffer[head:] = memoryview(self._packer.build())[head:]  # noqa: SLF001
            builder._first_timestamp, builder._max_timestamp = self._first_timestamp, self._last_timestamp  # noqa: SLF001
            builder._num_records, builder._last_offset = self._next_offset, self._next_offset - 1  # noqa: SLF001
        super().close()

    def size_in_bytes(self) -> int:
        """Return its size, before it is closed without compression."""
        return len(self._buffer) if self._closed else self._packer.size()

    def is_full(self) -> bool:
        """Return whether it takes no more records."""
        return bool(self._closed or self._packer.size() >= self._batch_size)


class _Batch(ProducerBatch):  # type: ignore[misc]
    """A batch; its records have futures of their own only if Kafka finds it too large, and the client splits it."""

    _futures: list[Any] | None = None

    @property
    def _record_futures(self) -> list[Any]:
        if self._futures is None:
            self._futures = [FutureRecordMetadata(self.produce_future, n, None, None, -1, -1, -1) for n in range(self.record_count)]
        return self._futures

    @_record_futures.setter
    def _record_futures(self, _: object) -> None:
        """Take no list from the base's beginning."""

    def offsets(self, first: int, count: int, timeout: float) -> Iterable[int]:
        """Return the offsets of ``count`` records from the ``first`` on, once they are acknowledged."""
        if not self.produce_future.wait(timeout):
            raise errors.KafkaTimeoutError(f"no acknowledgement within {WAIT:g} seconds")
        if self._futures is not None:
            return [each.get(timeout).offset for each in self._futures[first : first + count]]
        base, _, error_of = self.produce_future.value
        if error_of:
            raise error_of(first)
        return range(base + first, base + first + count)


class _Sent(NamedTuple):
    """Messages that are next to each other in a batch."""

    batch: _Batch
    first: int  # its first record of theirs
    indices: list[int]  # of the messages, among all that are sent


class Producer(KafkaProducer):  # type: ignore[misc]
    """Writes each record once, to every in-sync replica; with an ``owner`` also in transactions. Its base waits for ever, this does not."""

    cluster: Cluster
    owner: str

    @classmethod
    def open(cls, cluster: Cluster, owner: str | None = None) -> "Producer":
        """Connect; Kafka then ends the open transaction of any earlier producer of ``owner``, and fences that producer."""
        producer = open_client(
            cls,
            cluster,
            acks="all",
            compression_type="lz4",
            batch_size=262_144,  # bytes
            max_block_ms=WAIT_MS,
            delivery_timeout_ms=WAIT_MS,
            retry_backoff_ms=2,  # while the previous transaction is still being marked, which takes a few
            allow_auto_create_topics=False,
            metrics_enabled=False,
            transactional_id=owner,
            transaction_timeout_ms=WAIT_MS,
        )
        producer.cluster, producer.owner = cluster, owner or ""
        if owner is not None:
            try:
                with named_errors(cluster, "WRITE", owner):
                    producer.init_transactions()
            except LogError:
                producer.abandon()
                raise
        return producer

    def send_all(self, messages: Sequence[tuple[Message, int]]) -> list[int]:
        """Write messages, each with its partition, and return their offsets."""
        with named_errors(self.cluster, "WRITE", ", ".join(sorted({one.topic for one, _ in messages}))):
            return self._acknowledged(self._send_each(messages))

    def transact(self, messages: Sequence[tuple[Message, int]], progress: Mapping[tuple[str, int], Progress], group: str) -> list[int]:
        """Write messages and the ``group``'s offsets in one transaction. After an error the outcome is unknown until the next ``open``."""
        offsets = {TopicPartition(*where): OffsetAndMetadata(*entry, -1) for where, entry in progress.items()}
        with named_errors(self.cluster, "WRITE", self.owner):
            self.begin_transaction()
            sent = self._send_each(messages)
            if offsets:
                self._wait_for(self._transaction_manager.send_offsets_to_transaction(offsets, group))
            acknowledged = self._acknowledged(sent)
            self._wait_for(self._transaction_manager.begin_commit())
        return acknowledged

    def abandon(self) -> None:
        """Close at once, even if writes are under way."""
        self._sender.force_close()
        self._sender.join(WAIT)
        with suppress(errors.KafkaError):
            self.close(timeout=0)

    def _send_each(self, messages: Sequence[tuple[Message, int]]) -> list[_Sent]:
        """Pack messages, those of a partition in their order, and let them be sent."""
        if self._closed:
            raise errors.IllegalStateError("the producer is closed")
        of_partition: dict[TopicPartition, list[int]] = {}
        for index, (message, partition) in enumerate(messages):
            of_partition.setdefault(TopicPartition(message.topic, partition), []).append(index)
        sent = [part for where, indices in of_partition.items() for part in self._pack(where, messages, indices)]
        self._sender.wakeup()
        return sent

    def _pack(self, where: TopicPartition, messages: Sequence[tuple[Message, int]], indices: list[int]) -> list[_Sent]:
        self._wait_on_metadata(where.topic, WAIT_MS)
        if self._transaction_manager.is_transactional():
            self._transaction_manager.maybe_add_partition_to_transaction(where)
        accumulator, now, sent = self._accumulator, int(1000 * time.time()), list[_Sent]()
        with accumulator._tp_lock(where):  # noqa: SLF001 - it is the base's, and lets its own users in one record at a time only
            queue = accumulator._batches[where]  # noqa: SLF001
            records = queue[-1].records if queue else None
            for index in indices:
                message, _ = messages[index]
                # Kafka takes a record with neither key nor value; some of its clients do not: its key becomes an empty one.
                key = b"" if message.key is None and message.value is None else message.key
                record = (now, key, message.value, list(message.headers))
                if records is None or not isinstance(queue[-1], _Batch) or not records.append(*record):
                    records = self._add_batch(where, queue)
                    records.append(*record)
                if not sent or sent[-1].batch.records is not records:
                    sent.append(_Sent(queue[-1], records.next_offset() - 1, []))
                sent[-1].indices.append(index)
        return sent

    def _add_batch(self, where: TopicPartition, queue: Any) -> _Records:
        config = self._accumulator.config
        records = _Records(config["compression_attrs"], config["batch_size"])
        queue.append(_Batch(where, records))
        self._accumulator._incomplete.add(queue[-1])  # noqa: SLF001
        return records

    def _acknowledged(self, sent: list[_Sent]) -> list[int]:
        deadline = time.monotonic() + WAIT
        offsets: dict[int, int] = {}
        for batch, first, indices in sent:
            offsets |= zip(indices, batch.offsets(first, len(indices), max(0.0, deadline - time.monotonic())), strict=True)
        return [offsets[index] for index in range(len(offsets))]

    def _wait_for(self, result: Any) -> None:
        self._sender.wakeup()
        if not result.wait(timeout_ms=WAIT_MS):
            raise errors.KafkaTimeoutError(f"no answer within {WAIT:g} seconds")
