"""Rollback: makes the learner's state at a past version again, and publishes it as the next version, which servers follow.

The protocol: a rollback takes the model, publishes exactly one version and lets go of the model. A learner at work is fenced by it;
the learner sees that one version and takes the model again (:func:`stream.learn.order.was_ordered`). The state is saved to the disk
before the version is published; if it is lost, it can be made again from the log.
"""

from contextlib import closing

import msgspec

from model.settings import Spec
from stream.learn.errors import RecoveryError
from stream.learn.pending import PendingVersion
from stream.learn.publish import Publisher
from stream.learn.restore.recovery import Recovered, Recovery
from stream.learn.saving.checkpoint import Checkpoint, Checkpoints
from stream.log.contract import Log
from stream.log.topics import Topics
from stream.records.version import Rollback, Version, trained_through
from stream.settings import LearnSettings
from stream.weights.archive import Archive
from stream.weights.versions import Published, newest_version, read_versions


def rebuild(log: Log, topics: Topics, spec: Spec, checkpoints: Checkpoints, number: int, archive: Archive | None = None) -> Checkpoint:
    """Make the learner's state at version ``number`` again, from the newest checkpoint before it or from the log alone.

    Its digest is the published one, unless values were forgotten since: they are forgotten again. With other kernels the state agrees
    within rounding, and its version has a digest of its own.

    Raises:
        LearnError: it can't be made again: its settings were others, or its examples have changed or were deleted.
    """
    recovered = Recovery(log, topics, spec, checkpoints, archive=archive).recover(number)
    trainer = recovered.trainer
    version, offset = _last(recovered, number)
    version = msgspec.structs.replace(version, digest=trainer.model.digest())
    for later, _ in read_versions(log, topics, offset + 1):
        trainer.forget_again(later)
    return Checkpoint.of(version, offset, trainer)


def roll_back(
    log: Log,
    topics: Topics,
    spec: Spec,
    settings: LearnSettings,
    to: int,
    *,
    replay: bool,
    by: str | None = None,
    archive: Archive | None = None,
) -> Version:
    """Publish the weights of version ``to`` as the next version.

    Args:
        log: The log.
        topics: The model's topics.
        spec: The model's settings.
        settings: The loop's settings, which name the folder of checkpoints.
        to: The number of the version to go back to.
        replay: Whether the learner learns the examples after that version again; else it goes on after those that were learned.
        by: Who asks for it; the version's record says so.
        archive: Where copies of checkpoints are; None: nowhere.

    Raises:
        LearnError: the version can't be made again.
        OSError: its state could not be saved; nothing was published.
        FencedError: a learner has taken the model meanwhile; nothing was published.
    """
    checkpoints = Checkpoints.of(settings)
    past = rebuild(log, topics, spec, checkpoints, to, archive)
    checkpoints.write(past)
    with closing(log.writer(topics.learner)) as writer:
        newest = newest_version(log, topics)
        if newest is None:
            raise RecoveryError(f"{topics.versions} has no version any more, expected at least version {to}")
        offsets = past.version.offsets if replay else newest.version.offsets
        reread = {partition: max(end, newest.version.reread.get(partition, 0)) for partition, end in newest.version.offsets.items()}
        sampling = newest.version.sampling  # as the learner was: it decides anew
        pending = PendingVersion(offsets, trained_through(past.version), Rollback(to, replay, by), reread=reread, sampling=sampling)
        with closing(Publisher(log, writer, topics, settings, newest.version)) as publisher:
            return publisher.publish(past.restore().model, pending, whole=True).version


def _last(recovered: Recovered, number: int) -> Published:
    if recovered.last is None or recovered.last.version.version != number:
        raise RecoveryError(f"there is no version {number}")
    return recovered.last
