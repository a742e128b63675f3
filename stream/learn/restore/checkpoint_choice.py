"""Which checkpoint recovery begins with: the newest whose version is in ``versions``, or that has outlived all versions there.

One that a rollback has left behind is passed over, and so is one that could bring a forgotten value back.
"""

import logging
from collections.abc import Callable
from contextlib import closing
from functools import partial

from stream.learn.errors import GapError, RecoveryError
from stream.learn.saving.checkpoint import Checkpoint, Checkpoints
from stream.log.contract import Log
from stream.log.topics import Topics
from stream.weights.archive import Archive
from stream.weights.versions import Lineage, newest_version, read_lineage, read_versions

logger = logging.getLogger(__name__)

_OF_A_COMMIT = 2  # offsets of ``versions`` that one version takes at most: its record, and Kafka's marker of its transaction


class CheckpointChoice:
    """Chooses among the checkpoints of a folder and their copies in an archive.

    Args:
        log: The log that holds the versions.
        topics: The model's topics.
        checkpoints: The folder.
        archive: Where copies are; None: nowhere.
        accept_gap: Go on where versions after a checkpoint were deleted.
    """

    def __init__(self, log: Log, topics: Topics, checkpoints: Checkpoints, archive: Archive | None, *, accept_gap: bool) -> None:
        self._log, self._topics, self._checkpoints, self._archive, self._accept_gap = log, topics, checkpoints, archive, accept_gap

    def choose(self, until: int | None, first: int) -> tuple[Checkpoint | None, Lineage]:
        """Return the checkpoint to begin with, None if there is none, and which versions after it to learn again.

        Args:
            until: The version to make again; None: the last one.
            first: The offset from which the log still holds versions.

        Raises:
            GapError: versions were deleted that came after the newest checkpoint.
            RecoveryError: a checkpoint is ahead of the log.
        """
        for checkpoint in self._checkpoints.newest_first(self._archived()):
            number = checkpoint.version.version
            if until is not None and number > until:
                continue
            if not (self._outlived(checkpoint, until, first) if checkpoint.offset < first else self._is_in_log(checkpoint)):
                logger.warning("passing over the checkpoint of version %s: it is not in %s", number, self._topics.versions)
                continue
            lineage = read_lineage(self._log, self._topics, max(checkpoint.offset + 1, first), until)
            if not lineage.holds(number):
                logger.info("passing over the checkpoint of version %s: a rollback has left it behind", number)
                continue
            logger.info("from the checkpoint of version %s", number)
            return checkpoint, lineage
        return None, read_lineage(self._log, self._topics, first, until)

    def _archived(self) -> dict[int, Callable[[], bytes]]:
        """Return version → what reads its copy from the archive, of those that the newest version names."""
        newest = newest_version(self._log, self._topics) if self._archive else None
        if self._archive is None or newest is None:
            return {}
        return {each.version: partial(self._archive.read, self._topics, each) for each in newest.version.archived}

    def _outlived(self, checkpoint: Checkpoint, until: int | None, first: int) -> bool:
        """Return whether to begin with a checkpoint that is older than all versions that the log still holds.

        Raises:
            GapError: versions came after it, and it is not known what they had learned.
        """
        number = checkpoint.version.version
        if until is not None and number != until:
            return False
        with closing(read_versions(self._log, self._topics, first)) as versions:
            oldest = next((published.version for published in versions), None)
        if oldest is not None or first > checkpoint.offset + _OF_A_COMMIT:
            message = f"versions after {number} were deleted before they were learned again"
            if until is None and not self._accept_gap:
                raise GapError(f"{message}; --accept-gap goes on from the checkpoint of version {number}, if none of them forgot a value")
            if oldest is None or (oldest.forgot_before or 0) > number:
                logger.warning("%s, and one of them may have forgotten a value, which the checkpoint would bring back", message)
                return False
            logger.warning("%s: going on from the checkpoint of version %s", message, number)
        return True

    def _is_in_log(self, checkpoint: Checkpoint) -> bool:
        """Return whether the log holds the checkpoint's version, at the same offset and with the same digest.

        Raises:
            RecoveryError: the log ends before it.
        """
        bounds, saved = self._log.bounds(self._topics.versions)[0], checkpoint.version
        if checkpoint.offset >= bounds.end:
            raise RecoveryError(
                f"the checkpoint of version {saved.version} is ahead of {self._topics.versions}, which ends at offset {bounds.end} "
                f"(expected more than {checkpoint.offset}): is this its log? To learn anew from this log, move the checkpoints away"
            )
        with closing(read_versions(self._log, self._topics, checkpoint.offset)) as versions:
            found = next(versions, None)
        return found is not None and found.offset == checkpoint.offset and found.version.digest == saved.digest
