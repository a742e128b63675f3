"""One reading of the examples for several learners in one process: each batch is read, decoded and encoded once.

The reading is as far as the learner that has come furthest. One that keeps up takes the batches that were read for any of them; one that
is behind reads on by itself, up to where the others are. None waits for another, and each learns as if it were alone.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from threading import Lock

from stream.learn.prepare import Prepared
from stream.learn.rules import Rules
from stream.learn.trainer import Trainer
from stream.log.contract import Log, LogError, Reader, Record
from stream.sampling import Sampling

KEPT, KEPT_BYTES = 64, 64_000_000  # batches, and bytes of their records, that wait for those who have not come as far

Offsets = dict[int, int]  # partition → next offset


class Batch(list[Record]):
    """Records that were read for several learners."""

    def __init__(self, records: Iterable[Record], start: Offsets, end: Offsets) -> None:
        super().__init__(records)
        self.start, self.end = start, end
        self.size = sum(len(record.value or b"") for record in self)
        self._lock = Lock()
        self._prepared: dict[Hashable, Prepared] = {}

    def prepared(self, trainer: Trainer, rules: Rules, sampling: Sampling | None) -> Prepared:
        """Return the records, prepared once for all trainers whose models read and refuse the same: the encoder of one counts for all."""
        key = trainer.model.spec.fields, trainer.model.spec.served_by, rules, sampling
        with self._lock:
            if key not in self._prepared:
                self._prepared[key] = trainer.preparer.prepare(self, rules=rules, sampling=sampling)
            made = self._prepared[key]
        return made._replace(bad=dict(made.bad), refused=dict(made.refused))  # who learns it adds to them


def prepare(trainer: Trainer, records: Sequence[Record], rules: Rules, sampling: Sampling | None) -> Prepared:
    """Prepare records for a trainer, together with the others where they were read for several."""
    if isinstance(records, Batch):
        return records.prepared(trainer, rules, sampling)
    return trainer.preparer.prepare(records, rules=rules, sampling=sampling)


class SharedReading:
    """Reads a topic for several readers.

    Args:
        log: The log.
        topic: The topic.
    """

    def __init__(self, log: Log, topic: str) -> None:
        self._log, self._topic = log, topic
        self._lock = Lock()
        self._reader: Reader | None = None
        self._head: Offsets = {}  # how far the reading is
        self._batches: deque[Batch] = deque(maxlen=KEPT)

    def reader(self, start: Mapping[int, int]) -> "SharedReader":
        """Return a reader that begins at the offset that ``start`` gives for each partition."""
        return SharedReader(self, dict(start), lambda offsets: self._log.reader(self._topic, offsets))

    def take(self, at: Offsets, most: int, timeout: float) -> Batch | None:
        """Return the next records for a reader that is ``at`` these offsets; None if it has to read by itself, up to :meth:`head`.

        Raises:
            LogError: as :meth:`Reader.poll` raises it.
        """
        if not self._lock.acquire(timeout=max(timeout, 0.001)):
            return Batch([], at, at)  # another waits for records
        try:
            if _is_past(at, self._head) and at != self._head:
                self._begin(at)
            for batch in self._batches:
                if not _is_past(at, batch.end):
                    return _rest(batch, at) if _is_past(at, batch.start) else None
            return self._read(most, timeout) if at == self._head else None
        finally:
            self._lock.release()

    def head(self) -> Offsets:
        """Return how far the reading is."""
        with self._lock:
            return self._head

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            self._begin({})

    def _begin(self, at: Offsets) -> None:
        """Go on from other offsets."""
        if self._reader:
            self._reader.close()
        self._reader, self._head = None, at
        self._batches.clear()

    def _read(self, most: int, timeout: float) -> Batch:
        try:
            self._reader = self._reader or self._log.reader(self._topic, self._head)
            records = self._reader.poll(most, timeout)
        except LogError:
            self._begin(self._head)  # whoever tries again opens another
            raise
        batch = Batch(records, self._head, self._reader.positions())
        self._head = batch.end
        if batch.start != batch.end:
            self._batches.append(batch)
        while len(self._batches) > 1 and sum(each.size for each in self._batches) > KEPT_BYTES:
            self._batches.popleft()
        return batch


class SharedReader:
    """Reads a topic with others, or by itself while it is behind them.

    Args:
        shared: The reading that it takes part in.
        start: Where it begins.
        alone: Opens a reader of its own.
    """

    def __init__(self, shared: SharedReading, start: Offsets, alone: Callable[[Offsets], Reader]) -> None:
        self._shared, self._at, self._open = shared, start, alone
        self._own: Reader | None = None  # while it is behind

    def poll(self, max_records: int, timeout: float) -> list[Record]:
        """Return the next records, at most about ``max_records``; wait up to ``timeout`` seconds for the first."""
        batch = self._shared.take(self._at, max_records, timeout)
        if batch is None:
            return self._poll_alone(max_records, timeout)
        if batch:
            self.close()
        self._at = batch.end
        return batch

    def positions(self) -> Offsets:
        """Return the next offset of each partition."""
        return dict(self._at)

    def close(self) -> None:
        """Close the connection of its own."""
        if self._own:
            self._own.close()
            self._own = None

    def _poll_alone(self, max_records: int, timeout: float) -> list[Record]:
        """Read what the others have read already, no further: what comes next is read with them."""
        head = self._shared.head()
        behind = {partition: offset for partition, offset in self._at.items() if offset < head.get(partition, 0)}
        if not behind:
            return []
        self._own = self._own or self._open(behind)
        records = self._own.poll(max_records, timeout)
        positions = self._own.positions()
        self._at = self._at | {partition: min(offset, head[partition]) for partition, offset in positions.items()}
        if any(offset >= head[partition] for partition, offset in positions.items()):
            self.close()  # that partition is not read alone any more
        return [record for record in records if record.offset < head[record.partition]]


def _is_past(at: Offsets, offsets: Offsets) -> bool:
    """Return whether nothing before ``offsets`` is still to be read."""
    return all(at[partition] >= offset for partition, offset in offsets.items())


def _rest(batch: Batch, at: Offsets) -> Batch:
    """Return what is still to be read of a batch."""
    if at == batch.start:
        return batch
    end = {partition: max(offset, at[partition]) for partition, offset in batch.end.items()}
    return Batch([record for record in batch if record.offset >= at[record.partition]], at, end)
