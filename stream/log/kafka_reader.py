"""Reads a topic of Kafka; a thread reads ahead, so that what comes while the caller works is there when it asks.

Else a poll is answered with what had come by the poll before, and what came since waits for one more turn of the caller's loop.
"""

from collections.abc import Mapping
from operator import attrgetter
from threading import Condition, Thread

from kafka.structs import TopicPartition

from stream.log.contract import Record
from stream.log.kafka_client import WAIT, WAIT_MS, named_errors, open_consumer
from stream.log.kafka_records import Unpacked
from stream.log.kafka_security import Cluster

_AT_ONCE, _MOST_BYTES = 500, 32_000_000  # records and bytes of values that are unpacked before we look how many they are
_AHEAD = 5_000  # records that may wait for the caller before the thread does
_PATIENCE_MS = 250  # that a request waits; then we look whether Kafka has refused us
_PAUSE = 0.005  # seconds from a few records to the next request: those that come one by one shall not take one each


class KafkaReader:
    """Reads chosen partitions of ``topic``, without a consumer group; only what was committed."""

    def __init__(self, cluster: Cluster, topic: str, start: Mapping[int, int]) -> None:
        self._cluster, self._topic, self._consumer = cluster, topic, open_consumer(cluster)
        self._consumer._fetcher.PartitionRecords = Unpacked  # noqa: SLF001 - the class that it unpacks them by
        self._assigned = [TopicPartition(topic, partition) for partition in start]
        self._consumer.assign(self._assigned)
        for each in self._assigned:
            self._consumer.seek(each, start[each.partition])
        self._positions = self._reached = dict(start)  # what was taken goes up to, and what was read
        self._records: list[Record] = []  # read, and not taken yet
        self._bytes = 0  # of their values
        self._error: Exception | None = None  # what the thread met after these records
        self._closing = False
        self._changed = Condition()  # guards all of these
        self._thread: Thread | None = None

    def poll(self, max_records: int, timeout: float) -> list[Record]:
        """Return up to ``max_records``, after at most ``timeout`` seconds for the first. While Kafka is away, return none and reconnect.

        Raises:
            RefusedError: Kafka does not let us in again, or not read.
        """
        if self._thread is None:
            self._thread = Thread(target=self._read_ahead, name=f"reading {self._topic}", daemon=True)
            self._thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._records or self._error, timeout)
            taken = self._take(max_records)
            if self._error and not taken:
                error, self._error = self._error, None
                self._changed.notify_all()
                raise error
        taken.sort(key=attrgetter("partition"))
        return taken

    def positions(self) -> dict[int, int]:
        """Return the next offset of each partition. The markers of transactions take up offsets; they are passed, too."""
        with self._changed:
            return dict(self._positions)

    def close(self) -> None:
        """Close the connections."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._consumer.close(autocommit=False)  # which ends the thread's request
        if self._thread:
            self._thread.join(WAIT)

    def _take(self, most: int) -> list[Record]:
        taken, self._records = self._records[:most], self._records[most:]
        self._bytes -= _size(taken)
        self._positions = self._positions | {each.partition: each.offset + 1 for each in taken} if self._records else self._reached
        self._changed.notify_all()
        return taken

    def _read_ahead(self) -> None:
        while self._has_room():
            records: list[Record] = []
            error = None
            try:
                records, reached = self._request()
            except Exception as met:  # noqa: BLE001 - it is raised where it is asked for
                error, reached = met, self._reached
            with self._changed:
                self._add(records, reached, error)
                self._changed.wait_for(lambda: self._closing, _PAUSE if 0 < len(records) < _AT_ONCE else 0)

    def _has_room(self) -> bool:
        """Wait until there is room for more records, and the last error was raised; return whether to go on."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closing or (self._error is None and len(self._records) < _AHEAD and self._bytes < _MOST_BYTES)
            )
            return not self._closing

    def _add(self, records: list[Record], reached: dict[int, int], error: Exception | None) -> None:
        self._records += records
        self._bytes += _size(records)
        self._reached, self._error = reached, error
        if not self._records:  # what lies between, markers of transactions, is passed
            self._positions = reached
        self._changed.notify_all()

    def _request(self) -> tuple[list[Record], dict[int, int]]:
        """Return the next records, and the offset after them of each partition."""
        with named_errors(self._cluster, "READ", self._topic):
            found = self._consumer.poll(timeout_ms=_PATIENCE_MS, max_records=_AT_ONCE)
            if not found and (refusal := self._consumer._client._manager.refusal):  # noqa: SLF001 - it is ours
                raise refusal
            reached = {each.partition: self._consumer.position(each, timeout_ms=WAIT_MS) for each in self._assigned}
        return [record for records in found.values() for record in records], reached


def _size(records: list[Record]) -> int:
    return sum(len(record.value or b"") for record in records)
