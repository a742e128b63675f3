"""Begin an arm with the newest weights of another: what fits of them, from the example after those that they have learned.

The state that it begins with is saved before its first version is published, which names the other's version. So it is there until the
arm has a checkpoint of its own; if it is lost, it can be made again from the log.
"""

import logging
from typing import NamedTuple

from model.evaluation.scores import RunningScores
from model.migrate import begins_anew
from model.online import OnlineModel
from model.settings import Spec
from stream.learn.errors import LearnError
from stream.learn.forgotten import Forgotten
from stream.learn.restore.recovery import Recovery
from stream.learn.saving.checkpoint import Checkpoint, Checkpoints
from stream.learn.trainer import Trainer
from stream.log.contract import Log
from stream.log.topics import Topics
from stream.records.version import Begun, Version
from stream.weights.chunks import BrokenWeightsError
from stream.weights.follow import newest_weights
from stream.weights.versions import newest_version, read_versions

logger = logging.getLogger(__name__)

_TAIL = 10_000  # offsets before the end of ``versions`` among which is the one that was followed to


class Source(NamedTuple):
    """The arm to begin from."""

    topics: Topics
    spec: Spec
    checkpoints: Checkpoints  # its folder may be another machine's: then there are none


class Beginning(NamedTuple):
    """What an arm begins with."""

    trainer: Trainer
    begun: Begun
    of: Version  # the other's: what it had learned


def begin(log: Log, source: Source, spec: Spec, own: Checkpoints) -> Beginning | None:
    """Make the state that an arm begins with and save it; return None if the other has learned nothing yet.

    Where the other's checkpoints are not here, its accumulators can't be had: they begin as those of a new model.

    Args:
        log: The log.
        source: The arm to begin from.
        spec: The settings of the arm that begins.
        own: Its checkpoints.

    Raises:
        LearnError: the other's weights are held, or can't be made again.
        OSError: the state could not be saved.
    """
    arm, newest = source.topics.arm, newest_version(log, source.topics)
    if newest is None:
        logger.info("%s has learned nothing yet: beginning from nothing", arm)
        return None
    if newest.version.held:
        raise LearnError(f"{arm} is held, so nothing begins from it: approve what it has learned, or roll it back")
    accumulators = bool(source.checkpoints.paths())
    if accumulators:
        past = _learned(log, source, newest.version.version)
    else:
        logger.warning("no checkpoint of %s is here: beginning from its weights in the log, without accumulators", arm)
        past = _published(log, source)
    own.begun.save(past)
    trainer = past.restore().begin(spec, accumulators=accumulators)
    logger.info(
        "beginning from version %s of %s: %s of %s rows; anew begin %s",
        past.version.version,
        arm,
        f"{len(trainer.model.state()['positions']):,}",
        f"{len(past.arrays['model/positions']):,}",
        ", ".join(begins_anew(past.spec, spec)) or "no parameters",
    )
    return Beginning(trainer, Begun(arm, past.version.version, accumulators=accumulators), past.version)


def _learned(log: Log, source: Source, number: int) -> Checkpoint:
    """Return the other learner's whole state at a version."""
    recovered = Recovery(log, source.topics, source.spec, source.checkpoints).recover(number)
    if recovered.last is None:
        raise LearnError(f"{source.topics.versions} has no version {number} any more")
    return Checkpoint.of(*recovered.last, recovered.trainer)


def _published(log: Log, source: Source) -> Checkpoint:
    """Return the newest weights that servers have, and what was forgotten, as the state of a learner without accumulators."""
    try:
        header, weights = newest_weights(log, source.topics)
    except BrokenWeightsError as error:
        raise LearnError(f"nothing can begin from {source.topics.weights}: {error}") from error
    bounds = log.bounds(source.topics.versions)[0]
    tail = read_versions(log, source.topics, bounds.newest(_TAIL))
    last = next((each for each in tail if each.version.version == header.version), None)
    if last is None:
        raise LearnError(f"{source.topics.versions} has no version {header.version} any more")
    forgotten = Forgotten()
    for version, _ in read_versions(log, source.topics, bounds.first):
        for request in version.forgotten if version.version <= header.version else ():
            forgotten.add(request)
    return Checkpoint.of(*last, Trainer(OnlineModel.of_weights(weights, header.examples), RunningScores(), forgotten))
