"""Copies checkpoints to the archive in a thread; learning and saving go on meanwhile, even if the archive takes none."""

import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor
from io import BufferedReader
from pathlib import Path

from stream.learn.metrics import LearnerMetrics
from stream.log.topics import Topics
from stream.records.version import Archived, Version
from stream.weights.archive import Archive

logger = logging.getLogger(__name__)

KEEP = 3  # copies that a version names
_AT_LEAST_EVERY = 86_400.0  # seconds: while nothing is learned, so that no rule that deletes by age deletes the last copy
_RETRY = 60.0  # seconds from a copy that failed to the next try, at most


class ArchiveWriter:
    """Copies a checkpoint at intervals.

    Args:
        archive: Where to.
        topics: The model's topics.
        copies: Those that the last version names.
        metrics: The learner's metrics.

    Attributes:
        copies: The newest copies, the oldest first; a version has to name them before anybody finds them.
    """

    def __init__(self, archive: Archive, topics: Topics, copies: list[Archived], metrics: LearnerMetrics) -> None:
        self.copies = copies
        self._archive, self._topics, self._metrics = archive, topics, metrics
        self._next, self._examples, self._at_latest = time.monotonic(), -1, 0.0
        self._thread = ThreadPoolExecutor(1, "archive")
        self._writing: Future[Archived] | None = None

    def offer(self, version: Version, path: Path) -> None:
        """Begin to copy the checkpoint at ``path``, if that is due. What the guard holds is not copied: servers might begin with it.

        Called from the thread that saves checkpoints, before the next one is saved.
        """
        now = time.monotonic()
        idle = version.examples == self._examples and now < self._at_latest
        if version.held or idle or now < self._next or self._writing is not None:
            return
        file = path.open("rb")  # it can be read to its end, even if the file is deleted meanwhile
        self._writing = self._thread.submit(self._write, version, file)

    def collect(self, *, wait: bool = False) -> None:
        """Take up the copy that is being made, if it is made by now; with ``wait``, once it is."""
        if self._writing is None or not (wait or self._writing.done()):
            return
        try:
            self.copies = [*self.copies, self._writing.result()][-KEEP:]
        except OSError as error:
            self._metrics.archive_failures.inc()
            logger.warning("a checkpoint could not be archived, a later one will be: %s", error)
        self._writing = None

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    def _write(self, version: Version, file: BufferedReader) -> Archived:
        start = time.monotonic()
        self._next = start + min(self._archive.every, _RETRY)
        with file:
            archived = self._archive.write(self._topics, version.version, file)
        self._next, self._examples, self._at_latest = start + self._archive.every, version.examples, start + _AT_LEAST_EVERY
        self._metrics.archive_seconds.observe(time.monotonic() - start)
        return archived
