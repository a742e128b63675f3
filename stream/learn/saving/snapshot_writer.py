"""Snapshots: the full weights, written to the log beside the deltas, in a thread.

A snapshot is complete once its manifest is in the log, after its chunks. Nobody reads it until a version's record names it,
so the chunks that a killed learner has left behind do no harm.
"""

import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing

from model.array_file import Arrays
from model.settings import Spec
from stream.log.contract import Log, LogError, RefusedError
from stream.log.topics import DELTAS, SNAPSHOTS, WEIGHTS_RETENTION, Topics
from stream.records.version import SnapshotRef
from stream.weights.chunks import BrokenWeightsError, WeightsHeader, cut, manifest, pack, read_manifest
from stream.weights.follow import holds, newest_weights

logger = logging.getLogger(__name__)

# A snapshot is due early once the deltas since the last take so many times its bytes, and at least so many bytes: a new server would have
# them all to apply, and the log to keep. But not before whoever reads the last one has had time to.
_DELTAS, _LEAST_DELTAS, _LEAST_AGE = 8, 4_000_000, 5.0  # times, bytes, seconds
_BATCH = 4  # chunks appended together: between batches the log takes other writes


class SnapshotWriter:
    """Writes snapshots at intervals, and knows the newest that is complete.

    Args:
        log: The log to write to.
        topics: The model's topics.
        every: Seconds from one snapshot to the next while the model learns; they are less frequent when it is idle.
        newest: The newest snapshot that is known.
        at_least_every: Seconds from one snapshot to the next at most, so that retention does not delete the newest.
    """

    def __init__(
        self, log: Log, topics: Topics, every: float, newest: SnapshotRef | None, at_least_every: float = WEIGHTS_RETENTION / 4
    ) -> None:
        self._log, self._topics, self._every, self._at_least_every = log, topics, min(every, at_least_every), at_least_every
        self._examples, self._made = -1, float("-inf")  # of the newest: the examples it has learned, its time in epoch s
        self._size = self._deltas = 0  # bytes of the newest, and of the deltas since
        self.newest = newest
        if newest and self.usable():
            self._remember(self._read_header(newest))
        self._thread = ThreadPoolExecutor(1, "snapshots")
        self._writing: Future[SnapshotRef] | None = None

    def usable(self) -> bool:
        """Return whether the log still holds the newest snapshot, and all deltas after it."""
        return self.newest is not None and holds(self._log, self._topics, self.newest)

    def due(self, examples: int | None) -> bool:
        """Return whether it is time for a snapshot of weights that have learned so many ``examples``; None: of the same as the newest."""
        age = abs(time.time() - self._made)  # abs: once a clock that was ahead is put right, no snapshot is put off
        early = self._deltas >= max(_DELTAS * self._size, _LEAST_DELTAS) and age >= _LEAST_AGE
        return self._writing is None and (early or age >= (self._at_least_every if examples in (None, self._examples) else self._every))

    def count(self, delta: int) -> None:
        """Count the bytes of a delta that was published."""
        self._deltas += delta

    def write(self, header: WeightsHeader, spec: Spec, arrays: Arrays, deltas: int) -> None:
        """Write a snapshot, and return once it is complete; ``deltas`` is the offset of the first delta after it.

        Raises:
            LogUnavailableError: the log can't be reached.
        """
        self._remember(header, arrays)
        self.newest = _write(self._log, self._topics, header, spec, arrays, deltas)

    def start(self, header: WeightsHeader, spec: Spec, arrays: Arrays, deltas: int) -> None:
        """Begin to write a snapshot; :meth:`collect` takes it up once it is complete."""
        self._remember(header, arrays)
        self._writing = self._thread.submit(_write, self._log, self._topics, header, spec, arrays, deltas)

    def repeat(self) -> None:
        """Begin to write the weights again that the log's snapshot and deltas lead to, for a learner that has gone on from there."""
        self._made, self._deltas = time.time(), 0
        self._writing = self._thread.submit(_repeat, self._log, self._topics)

    def collect(self) -> None:
        """Make the snapshot being written the newest, if it is complete by now.

        Raises:
            RefusedError: the log does not let us write any.
        """
        if self._writing is None or not self._writing.done():
            return
        writing, self._writing = self._writing, None
        try:
            self.newest = writing.result()
        except RefusedError:
            raise
        except (LogError, BrokenWeightsError) as error:
            logger.warning("a snapshot could not be written, the next will be: %s", error)

    def close(self) -> None:
        """Wait for the snapshot being written."""
        self._thread.shutdown()

    def _remember(self, header: WeightsHeader, arrays: Arrays | None = None) -> None:
        self._examples, self._made = header.examples, header.published_at / 1000
        self._size, self._deltas = sum(array.nbytes for array in (arrays or {}).values()), 0

    def _read_header(self, ref: SnapshotRef) -> WeightsHeader:
        with closing(self._log.reader(self._topics.weights, {SNAPSHOTS: ref.last})) as reader:
            return read_manifest(reader.poll(1, timeout=10.0)[0])


def _repeat(log: Log, topics: Topics) -> SnapshotRef:
    header, weights = newest_weights(log, topics)
    return _write(log, topics, header, weights.spec, weights.arrays(), log.bounds(topics.weights)[DELTAS].end)


def _write(log: Log, topics: Topics, header: WeightsHeader, spec: Spec, arrays: Arrays, deltas: int) -> SnapshotRef:
    chunks = cut(topics.weights, SNAPSHOTS, pack(header, arrays, spec=spec.model_dump(mode="json")))
    messages = [*chunks, manifest(chunks, header, deltas)]
    offsets: list[int] = []
    for start in range(0, len(messages), _BATCH):
        offsets += log.append(messages[start : start + _BATCH])
    return SnapshotRef(header.version, offsets[0], offsets[-1], deltas)
