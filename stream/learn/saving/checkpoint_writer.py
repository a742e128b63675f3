"""Saves checkpoints in a thread, one at a time; learning goes on meanwhile, even if the disk takes none."""

import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor

from stream.learn.metrics import LearnerMetrics
from stream.learn.saving.archive_writer import ArchiveWriter
from stream.learn.saving.checkpoint import Checkpoint, Checkpoints

logger = logging.getLogger(__name__)


class CheckpointWriter:
    """Saves a checkpoint at intervals.

    Args:
        checkpoints: The folder to save to.
        every: Seconds from one checkpoint to the next.
        saved: The version of the newest checkpoint, -1 if there is none.
        metrics: The learner's metrics.
        archive: Who copies them to the archive; None: nobody does.
    """

    def __init__(
        self, checkpoints: Checkpoints, every: float, saved: int, metrics: LearnerMetrics, archive: ArchiveWriter | None = None
    ) -> None:
        self.saved, self._archive = saved, archive
        self._checkpoints, self._every, self._metrics = checkpoints, every, metrics
        self._next = time.monotonic() + every
        self._thread = ThreadPoolExecutor(1, "checkpoints")
        self._saving: Future[None] | None = None

    def due(self) -> bool:
        """Return whether it is time for a checkpoint, and the one before is done."""
        return time.monotonic() >= self._next and (self._saving is None or self._saving.done())

    def hasten(self) -> None:
        """Make a checkpoint due now: those before it hold what was forgotten since, and go once it is saved."""
        self._next = 0.0

    def start(self, checkpoint: Checkpoint) -> None:
        """Begin to save; a failure is logged and counted, and the earlier checkpoints stay."""
        self._next = time.monotonic() + self._every
        self._saving = self._thread.submit(self._save, checkpoint)

    def finish(self) -> None:
        """Wait until the last checkpoint is saved.

        Raises:
            OSError: it could not be saved.
        """
        if self._saving is not None:
            self._saving.result()

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    def _save(self, checkpoint: Checkpoint) -> None:
        start = time.perf_counter()
        try:
            path = self._checkpoints.save(checkpoint)
        except OSError as error:
            self._metrics.checkpoint_failures.inc()
            logger.warning("version %s could not be saved, learning goes on: %s", checkpoint.version.version, error)
            raise
        self.saved = checkpoint.version.version
        self._metrics.checkpoint_seconds.observe(time.perf_counter() - start)
        self._metrics.saved_at = time.time()
        if self._archive:
            self._archive.offer(checkpoint.version, path)
