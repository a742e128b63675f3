"""Reads a topic of Kafka; the client's own thread reads ahead, so that what comes while the caller works is there when it asks.

Else a poll is answered with what had come by the poll before, and what came since waits for one more turn of the caller's loop.
For a caller who seldom asks nothing is read ahead: each request costs a millisecond of the processor, however few records it brings.
"""

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from operator import attrgetter
from threading import Condition

from kafka.errors import KafkaTimeoutError
from kafka.future import Future
from kafka.structs import TopicPartition

from stream.log.contract import Record
from stream.log.kafka.client import named_errors, open_consumer
from stream.log.kafka.records import Unpacked
from stream.log.kafka.security import Cluster

_AT_ONCE, _MOST_BYTES = 500, 16_000_000  # records and bytes of values that are unpacked before we look how many they are
_AHEAD = 5_000  # records that may wait for the caller before no more are read
_ASKS_OFTEN = 0.25  # seconds since the last poll after which no more are read, if any wait
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
        self._error: Exception | None = None  # what was met after these records
        self._reading = self._raised = self._closing = False
        self._asked = 0.0  # when the caller last did, by the monotonic clock
        self._changed = Condition()  # guards all of these

    def poll(self, max_records: int, timeout: float) -> list[Record]:
        """Return up to ``max_records``, after at most ``timeout`` seconds for the first. While Kafka is away, return none and reconnect.

        Raises:
            RefusedError: Kafka does not let us in again, or not read.
        """
        with self._changed:
            if self._raised:  # whoever asks again, wants another try
                self._error, self._raised = None, False
            self._asked = time.monotonic()
            self._read_on()
            self._changed.wait_for(lambda: self._records or self._error, timeout)
            taken, self._asked = self._take(max_records), time.monotonic()
            if self._error and not taken:
                self._raised = True
                raise self._error
            self._read_on()
        taken.sort(key=attrgetter("partition"))
        return taken

    def positions(self) -> dict[int, int]:
        """Return the next offset of each partition. The markers of transactions take up offsets; they are passed, too."""
        with self._changed:
            return dict(self._positions)

    def close(self) -> None:
        """Close the connections."""
        self._closing = True
        self._consumer.close(autocommit=False)

    def _take(self, most: int) -> list[Record]:
        taken, self._records = self._records[:most], self._records[most:]
        self._bytes -= _size(taken)
        self._positions = self._positions | {each.partition: each.offset + 1 for each in taken} if self._records else self._reached
        return taken

    def _read_on(self) -> None:
        """Let the client's thread read, unless it does, or enough is there."""
        if not self._reading and not self._enough():
            self._reading = True
            self._consumer._manager.call_soon(self._read_ahead)  # noqa: SLF001 - what runs there waits for nobody

    def _enough(self) -> bool:
        late = bool(self._records) and time.monotonic() > self._asked + _ASKS_OFTEN
        return late or self._error is not None or len(self._records) >= _AHEAD or self._bytes >= _MOST_BYTES

    async def _read_ahead(self) -> None:
        sleep = self._consumer._net.sleep  # noqa: SLF001
        while not self._closing:
            with self._changed:
                if self._enough():
                    self._reading = False
                    return
            records, reached, error = list[Record](), self._reached, None
            try:
                records = await self._request()
                reached = {each.partition: self._consumer._subscription.position(each).offset for each in self._assigned}  # noqa: SLF001
            except Exception as met:  # noqa: BLE001 - it is raised where it is asked for
                error = met
            self._add(records, reached, error)
            if 0 < len(records) < _AT_ONCE:
                await sleep(_PAUSE)

    def _add(self, records: list[Record], reached: dict[int, int], error: Exception | None) -> None:
        with self._changed:
            self._records += records
            self._bytes += _size(records)
            self._reached, self._error = reached, error
            if not self._records:  # what lies between, markers of transactions, is passed
                self._positions = reached
            self._changed.notify_all()

    async def _request(self) -> list[Record]:
        """Return the next records, as the client's own ``poll`` does, which can only be called from another thread."""
        fetcher = self._consumer._fetcher  # noqa: SLF001
        with named_errors(self._cluster, "READ", self._topic):
            fetcher.reset_offsets_if_needed()
            fetcher.maybe_validate_positions()
            fetcher.validate_offsets_if_needed()
            found, more = fetcher.fetched_records(_AT_ONCE)
            if not more:
                await fetcher._send_fetches_async()  # noqa: SLF001
            if not found:
                await self._wait_for_any(fetcher._fetch_futures)  # noqa: SLF001
                found, _ = fetcher.fetched_records(_AT_ONCE)
            if not found and (refusal := self._consumer._manager.refusal):  # noqa: SLF001 - it is ours
                raise refusal
        return [record for records in found.values() for record in records]

    async def _wait_for_any(self, requests: Iterable[Future]) -> None:
        """Wait until one of the requests has ended, or for a while."""
        ended = Future()

        def end(_: object) -> None:
            if not ended.is_done:
                ended.success(None)

        for request in list(requests):
            request.add_both(end)
        with suppress(KafkaTimeoutError):
            await self._consumer._manager.wait_for(ended, _PATIENCE_MS)  # noqa: SLF001


def _size(records: list[Record]) -> int:
    return sum(len(record.value or b"") for record in records)
