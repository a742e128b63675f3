"""The examples that are still to be learned, from the offsets that the last version reached.

Where examples were deleted before they were learned, reading stops, or logs a warning: they are never skipped in silence. Heartbeats
among them are no examples, and are taken apart.
"""

import logging
import time
from collections.abc import Mapping

from stream.learn.errors import GapError, RecoveryError
from stream.learn.examples.shared import SharedReading
from stream.learn.metrics import Lag
from stream.log.contract import Bounds, Log, OffsetGoneError, Reader, Record
from stream.records.heartbeat import Heartbeat, is_heartbeat, parted

logger = logging.getLogger(__name__)


class ExampleSource:
    """Reads the examples of every partition.

    Args:
        log: The log that holds them.
        topic: The topic ``examples``.
        offsets: Partition → next example; a partition that is not named is read from its first record.
        committed: Partition → offset up to which this learner has come, by its last commit: further than ``offsets`` where only
            heartbeats came since, which were passed on.
        reread: Partition → offset before which a rollback has examples read again; the heartbeats among them are old.
        accept_gap: Go on where examples were deleted.
        shared: Read with other learners.

    Raises:
        GapError: examples were deleted before they were learned.
        RecoveryError: more was learned than the log holds.
    """

    def __init__(
        self,
        log: Log,
        topic: str,
        offsets: Mapping[int, int],
        committed: Mapping[int, int],
        reread: Mapping[int, int],
        *,
        accept_gap: bool = False,
        shared: SharedReading | None = None,
    ) -> None:
        self._log, self._topic, self._accept_gap, self._committed = log, topic, accept_gap, committed
        self._shared = shared
        self._heartbeats_since = {p: max(committed.get(p, 0), reread.get(p, 0)) for p in {*committed, *reread}}
        self._heartbeats: list[Heartbeat] = []
        self._reader = self._open(offsets)
        self._read_at = time.time()  # the append time of the newest example read, epoch s

    def poll(self, max_records: int, timeout: float) -> list[Record]:
        """Return the next examples; wait up to ``timeout`` seconds for the first."""
        try:
            records = self._reader.poll(max_records, timeout)
        except OffsetGoneError:
            offsets = self.offsets()
            self._reader.close()
            self._reader = self._open(offsets)
            return []
        if records:
            self._read_at = records[-1].timestamp / 1000
        if not any(map(is_heartbeat, records)):
            return records  # as they are: other learners may share them
        examples, heartbeats = parted(records, self._heartbeats_since)
        self._heartbeats += heartbeats
        return examples

    def take_heartbeats(self) -> list[Heartbeat]:
        """Take the heartbeats that were read since the last call."""
        heartbeats, self._heartbeats = self._heartbeats, []
        return heartbeats

    def offsets(self) -> dict[int, int]:
        """Return the next offset of each partition."""
        return self._reader.positions()

    def reached(self, end: Mapping[int, Bounds]) -> bool:
        """Return whether everything before ``end`` has been read."""
        offsets = self.offsets()
        return all(offsets[partition] >= bounds.end for partition, bounds in end.items())

    def lag(self) -> Lag:
        """Return how far reading is behind the log."""
        offsets = self.offsets()
        records = sum(max(0, bounds.end - offsets[p]) for p, bounds in self._log.bounds(self._topic).items() if p in offsets)
        return Lag(records, max(0.0, time.time() - self._read_at) if records else 0.0)

    def close(self) -> None:
        """Close the reader."""
        self._reader.close()

    def _open(self, offsets: Mapping[int, int]) -> Reader:
        start = {}
        for partition, bounds in self._log.bounds(self._topic).items():
            start[partition] = offsets.get(partition, bounds.first)
            if start[partition] > bounds.end:
                learned = f"examples of partition {partition} were learned up to {start[partition]}"
                raise RecoveryError(f"{learned}, but {self._topic} ends at {bounds.end}")
            if start[partition] < bounds.first <= self._committed.get(partition, 0):
                start[partition] = bounds.first
            if start[partition] < bounds.first:
                self._report_gap(f"examples {start[partition]} to {bounds.first - 1} of partition {partition}")
                start[partition] = bounds.first
        return self._shared.reader(start) if self._shared else self._log.reader(self._topic, start)

    def _report_gap(self, gap: str) -> None:
        message = f"{gap} were deleted before they were learned"
        if not self._accept_gap:
            raise GapError(f"{message}; --accept-gap goes on without them")
        logger.warning("%s: going on without them; a request to forget that was among them has to be made again", message)
