"""Begin a learner with weights that were imported: they are saved beside its checkpoints, and its first version names their digest.

They stay there for as long as the model does: the log has nothing that they could be made from again.
"""

from model.evaluation.scores import RunningScores
from model.fingerprint import fingerprint
from model.online import OnlineModel
from model.settings import Spec
from stream.learn.errors import LearnError, RecoveryError
from stream.learn.saving.checkpoint import Checkpoint, Checkpoints
from stream.learn.trainer import Trainer
from stream.log.contract import Log
from stream.log.topics import Topics
from stream.records.version import Begun, Version
from stream.weights.versions import read_versions


class AlreadyLearnedError(LearnError):
    """The model has begun with something else."""


def save_imported(log: Log, topics: Topics, checkpoints: Checkpoints, model: OnlineModel) -> str:
    """Save the state that the next learner is to begin with, and return its digest.

    Raises:
        AlreadyLearnedError: a version was published that did not begin with this state.
        OSError: it could not be saved.
    """
    digest, bounds = model.digest(), log.bounds(topics.versions)[0]
    first = next(read_versions(log, topics, bounds.first), None)
    if bounds.end > 0 and (first is None or first.version.begun != begun_with(digest)):
        raise AlreadyLearnedError(
            f"{topics.versions} holds versions that did not begin with this: import into an arm or a log.prefix that is new"
        )
    settings = model.spec.model_dump(mode="json")
    version = Version(0, digest, 0, None, {}, [], [], "", fingerprint(), 0, begun=begun_with(digest), spec=settings)
    checkpoints.imported.write(Checkpoint.of(version, -1, Trainer(model, RunningScores())))
    return digest


def begun_with(digest: str) -> Begun:
    """Return the operation, as the first version has it."""
    return Begun(None, 0, accumulators=False, digest=digest)


def imported(checkpoints: Checkpoints, spec: Spec, digest: str | None = None) -> Checkpoint | None:
    """Return the imported state, None if there is none.

    Args:
        checkpoints: The learner's, beside which it was saved.
        spec: The settings that it has to have.
        digest: Of the state that the first version names; None: nothing was published, and any will do.

    Raises:
        RecoveryError: it is not there, though the first version names it, or is another.
        LearnError: it has other settings.
    """
    state = next(checkpoints.imported.newest_first(), None)
    if digest is not None and (state is None or state.version.digest != digest):
        got = "none" if state is None else state.version.digest
        raise RecoveryError(
            f"the model began with imported weights, and {checkpoints.imported.directory} holds {got}, expected {digest}: "
            "run the same `sml import` again"
        )
    if state is not None and state.spec != spec:
        raise LearnError("the imported weights are of other settings: run `sml import` again with the settings as they are now")
    return state
