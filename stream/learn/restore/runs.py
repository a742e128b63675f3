"""The runs of a version, which say what it learned and in which order: read from the log, and learned, again."""

from collections import deque
from collections.abc import Iterator, Sequence

from stream.learn.errors import RecoveryError
from stream.learn.trainer import Trainer
from stream.log.contract import Bounds, Log, Reader, Record
from stream.records.version import Round, Run, Version

_BATCH = 1000  # records in one poll
_PATIENCE = 1.0  # seconds that a poll waits for records that are known to be there


class Runs:
    """Reads runs again. The runs of a partition are in the order of its offsets, so each partition is read through once."""

    def __init__(self, log: Log, topic: str) -> None:
        self._log, self._topic = log, topic
        self._bounds = log.bounds(topic)
        self._readers: dict[int, Reader] = {}
        self._ahead: dict[int, list[Record]] = {}  # partition → records that were read, but not asked for yet

    def read(self, run: Run) -> Iterator[list[Record]]:
        """Yield the records of ``run``, in order.

        Raises:
            OffsetGoneError: they were deleted.
            RecoveryError: the log ends before them.
        """
        reader = self._reader(run)
        while True:
            records = self._ahead.pop(run.partition, []) or reader.poll(_BATCH, _PATIENCE)
            within = [record for record in records if record.offset <= run.last]
            self._ahead[run.partition] = records[len(within) :]
            yield [record for record in within if record.offset >= run.first]  # a rollback skipped those before
            if self._ahead[run.partition] or reader.positions()[run.partition] > run.last:
                return

    def close(self) -> None:
        """Close the readers."""
        for reader in self._readers.values():
            reader.close()

    def _reader(self, run: Run) -> Reader:
        bounds, reader = self._bounds.get(run.partition, Bounds(0, 0)), self._readers.get(run.partition)
        if bounds.end <= run.last:
            learned = f"examples of partition {run.partition} were learned up to {run.last}"
            raise RecoveryError(f"{learned}, but {self._topic} ends at offset {bounds.end}")
        if reader and reader.positions()[run.partition] < bounds.first:  # before a gap that was accepted when the run was learned
            reader.close()
            reader = None
        if reader is None:
            reader = self._readers[run.partition] = self._log.reader(self._topic, {run.partition: run.first})
        return reader


class Rounds:
    """Learns the records of a version again, in its rounds."""

    def __init__(self, trainer: Trainer, version: Version) -> None:
        self._trainer, self._sampling, self._excluded = trainer, version.sampling, set(version.excluded)
        self._rounds, self._records = deque(version.rounds), list[Record]()

    def learn(self, records: Sequence[Record]) -> None:
        """Learn the next records, once all of their round are there."""
        self._records += records
        while self._records:
            count, ranks = self._rounds[0] if self._rounds else (len(self._records), 1)
            if ranks > 1 and len(self._records) < count:
                return
            taken, self._records = self._records[:count], self._records[count:]
            if self._rounds and len(taken) < count:
                self._rounds[0] = Round(count - len(taken), ranks)
            elif self._rounds:
                self._rounds.popleft()
            self._trainer.learn(taken, self._excluded, sampling=self._sampling, ranks=ranks)

    def finish(self) -> None:
        """Learn what is left of a round, one after the other, and so what follows."""
        self._rounds.clear()
        self.learn(())
