"""Snapshots: the whole weights, written to the log beside the deltas, in a thread.

A snapshot counts once its manifest is in the log, which comes after its chunks. Until a version's record names it, nobody
reads it: what a learner that was killed has left of one does no harm.
"""

import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing

from model.array_file import Arrays
from model.settings import Spec
from stream.events import SnapshotRef
from stream.log.contract import Log, LogError
from stream.log.topics import DELTAS, SNAPSHOTS, WEIGHTS_RETENTION, Topics
from stream.weights.chunks import WeightsHeader, cut, manifest, pack, read_manifest

logger = logging.getLogger(__name__)

_QUARTER = WEIGHTS_RETENTION / 4
_AT_ONCE = 4  # chunks appended together: between them the log takes other writes


class SnapshotWriter:
    """Writes snapshots when it is time for one, and knows the newest that is whole.

    Args:
        log: takes them.
        topics: where they go.
        every: seconds between them while there is something new; less often when idle.
        newest: the newest that is known.
    """

    def __init__(self, log: Log, topics: Topics, every: float, newest: SnapshotRef | None) -> None:
        self._log, self._topics, self._every = log, topics, min(every, _QUARTER)
        self._examples, self._made = -1, float("-inf")  # of the newest: how much it has learned, epoch s
        self.newest = newest
        if newest and self.usable():
            self._note(self._header_of(newest))
        self._thread = ThreadPoolExecutor(1, "snapshots")
        self._writing: Future[SnapshotRef] | None = None

    def usable(self) -> bool:
        """Return whether the log still holds the newest, and all deltas after it."""
        bounds, newest = self._log.bounds(self._topics.weights), self.newest
        if newest is None or bounds[DELTAS].first > newest.deltas:
            return False
        return bounds[SNAPSHOTS].first <= newest.first and newest.last < bounds[SNAPSHOTS].end

    def due(self, examples: int) -> bool:
        """Return whether it is time for a snapshot of weights that have learned so many examples."""
        age = abs(time.time() - self._made)  # a clock that was ahead, and is no more, puts off no snapshot
        return self._writing is None and age >= (self._every if examples != self._examples else _QUARTER)

    def write(self, header: WeightsHeader, spec: Spec, arrays: Arrays, deltas: int) -> None:
        """Write a snapshot and wait for it; ``deltas`` is the offset of the first delta after it.

        Raises:
            LogUnavailableError: the log can't be reached.
        """
        self._note(header)
        self.newest = _write(self._log, self._topics, header, spec, arrays, deltas)

    def start(self, header: WeightsHeader, spec: Spec, arrays: Arrays, deltas: int) -> None:
        """Begin to write a snapshot; :meth:`collect` will tell when it is whole."""
        self._note(header)
        self._writing = self._thread.submit(_write, self._log, self._topics, header, spec, arrays, deltas)

    def collect(self) -> None:
        """Record a snapshot that has become complete."""
        if self._writing is None or not self._writing.done():
            return
        writing, self._writing = self._writing, None
        try:
            self.newest = writing.result()
        except LogError as error:
            logger.warning("a snapshot could not be written, the next will be: %s", error)

    def close(self) -> None:
        """Wait for the one being written."""
        self._thread.shutdown()

    def _note(self, header: WeightsHeader) -> None:
        self._examples, self._made = header.examples, header.published_at / 1000

    def _header_of(self, ref: SnapshotRef) -> WeightsHeader:
        with closing(self._log.reader(self._topics.weights, {SNAPSHOTS: ref.last})) as reader:
            return read_manifest(reader.poll(1, timeout=10.0)[0])


def _write(log: Log, topics: Topics, header: WeightsHeader, spec: Spec, arrays: Arrays, deltas: int) -> SnapshotRef:
    chunks = cut(topics.weights, SNAPSHOTS, pack(header, arrays, spec=spec.model_dump(mode="json")))
    messages = [*chunks, manifest(chunks, header, deltas)]
    offsets: list[int] = []
    for start in range(0, len(messages), _AT_ONCE):
        offsets += log.append(messages[start : start + _AT_ONCE])
    return SnapshotRef(header.version, offsets[0], offsets[-1], deltas)
