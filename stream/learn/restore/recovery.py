"""Recovery: makes the model of the last committed version again.

1. the newest checkpoint whose version is in ``versions`` with the same digest is loaded (if there is none: a new model);
2. the runs of the versions after it are learned again, in the order that those versions recorded;
3. after each version, the digest must be the published one, unless other kernels learned it.

Runs that a rollback has left behind are skipped.
"""

import logging
from contextlib import closing
from itertools import takewhile
from typing import NamedTuple

from pydantic import ValidationError

from model.evaluation.scores import RunningScores
from model.fingerprint import fingerprint
from model.online import OnlineModel
from model.settings import Spec
from stream.learn.errors import GapError, OtherSettingsError, RecoveryError
from stream.learn.publish import settings_digest
from stream.learn.restore.change import changed, other_settings
from stream.learn.restore.checkpoint_choice import CheckpointChoice
from stream.learn.restore.imported import imported
from stream.learn.restore.runs import Rounds, Runs
from stream.learn.saving.checkpoint import Checkpoints
from stream.learn.trainer import Trainer
from stream.log.contract import Log, OffsetGoneError
from stream.log.topics import Topics
from stream.records.version import Begun, Run, Version
from stream.weights.archive import Archive
from stream.weights.chunks import BrokenWeightsError
from stream.weights.follow import holds, newest_weights
from stream.weights.versions import Lineage, Published, newest_version, read_versions

logger = logging.getLogger(__name__)


class Recovered(NamedTuple):
    """The model of the last version."""

    trainer: Trainer
    last: Published | None  # None: nothing was ever published
    diverged: bool  # the model is that of the last version within rounding only
    saved: int  # the version of the checkpoint, -1 if there was none
    migrated: bool = False  # the model's settings are newer than the last version's
    begun: Begun | None = None  # the weights are those of a version without its accumulators, for nothing else of it was left
    anew: bool = False  # nothing was left to make the last version from: the model is new, and learns what the log still holds


class Recovery:
    """Makes the model of the last version again.

    Args:
        log: The log that holds versions and examples.
        topics: The model's topics.
        spec: The model's settings.
        checkpoints: The checkpoints to begin with.
        accept_gap: Go on where examples of a run, or versions, were deleted.
        began: Arms that began from this one, whose versions can't be what it began with.
        archive: Where copies of checkpoints are; None: nowhere.
    """

    def __init__(
        self,
        log: Log,
        topics: Topics,
        spec: Spec,
        checkpoints: Checkpoints,
        *,
        accept_gap: bool = False,
        began: frozenset[str] = frozenset(),
        archive: Archive | None = None,
    ) -> None:
        self._choice = CheckpointChoice(log, topics, checkpoints, archive, accept_gap=accept_gap)
        self._began = began | {topics.arm}
        self._log, self._topics, self._spec, self._checkpoints = log, topics, spec, checkpoints
        self._accept_gap = accept_gap
        self._diverged = False

    def recover(self, until: int | None = None) -> Recovered:
        """Load a checkpoint, then learn the versions after it again, up to the last one or to the version ``until``.

        Raises:
            RecoveryError: the checkpoint is ahead of the log, or learning again results in other weights.
            OtherSettingsError: the model was learned with settings of which not all can be changed in place.
            GapError: examples to learn again were deleted, or versions that say which.
        """
        first = self._log.bounds(self._topics.versions)[0].first
        checkpoint, lineage = self._choice.choose(until, first)
        if checkpoint is None and first > 0:
            return self._begin_anew(until, first)
        before: Published | None = None
        if checkpoint:
            self._diverged = checkpoint.offset < first and until is None
            before, trainer = Published(checkpoint.version, checkpoint.offset), checkpoint.restore()
        else:
            trainer = Trainer(OnlineModel(self._spec), RunningScores())
        trainer, last = self._learn_after(before, trainer, lineage, first, until)
        now = changed(trainer, self._spec, last.version) if last and until is None else trainer
        now.model.mark_published()
        saved = checkpoint.version.version if checkpoint and self._checkpoints.has(checkpoint.version.version) else -1
        return Recovered(now, last, self._diverged, saved, migrated=now is not trainer)

    def _learn_after(
        self, last: Published | None, trainer: Trainer, lineage: Lineage, first: int, until: int | None
    ) -> tuple[Trainer, Published | None]:
        """Learn the versions after ``last`` again, up to ``until``; return the trainer, and the last version that it has learned."""
        start = max(last.offset + 1 if last else 0, first)
        left_behind: list[Version] = []
        with closing(Runs(self._log, self._topics.examples)) as runs, closing(read_versions(self._log, self._topics, start)) as versions:
            for published in takewhile(lambda each: until is None or each.version.version <= until, versions):
                if not lineage.holds(published.version.version):
                    left_behind.append(published.version)
                    continue
                trainer = self._with_settings_of(published.version, trainer, is_first=last is None)
                for version in left_behind:  # those between a rollback and where it went back to
                    trainer.forget_again(version)
                left_behind = []
                self._learn_again(trainer, published.version, runs)
                last = published
        return trainer, last

    def _begin_anew(self, until: int | None, first: int) -> Recovered:
        """Return a model that takes the place of one whose checkpoints are lost: with the weights that servers have, if the log holds them.

        Raises:
            RecoveryError: a past version was asked for.
            GapError: nobody has said to go on without it.
        """
        gone = f"{self._topics.versions} holds no version before offset {first} any more, and no checkpoint is of one that it holds"
        if until is not None:
            raise RecoveryError(f"version {until} can't be made again: {gone}")
        last = newest_version(self._log, self._topics)
        served = last and last.version.snapshot and holds(self._log, self._topics, last.version.snapshot)
        how = (
            "goes on from the weights that servers have, without accumulators"
            if served
            else "begins a new model, which learns the examples that the log still holds"
        )
        if not self._accept_gap:
            raise GapError(f"{gone}: put them back, or --accept-gap {how}")
        logger.warning("%s: this learner %s", gone, how)
        if last and served:
            return self._go_on_from_weights(last, first)
        trainer = Trainer(OnlineModel(self._spec), RunningScores())
        return Recovered(trainer, last, diverged=True, saved=-1, migrated=True, anew=True)

    def _go_on_from_weights(self, last: Published, first: int) -> Recovered:
        """Return a model with the weights that servers have, and behind what the last version has read: what was held since is left out."""
        try:
            header, weights = newest_weights(self._log, self._topics)
        except BrokenWeightsError as error:
            raise RecoveryError(f"{self._topics.weights}: {error}") from error
        trainer = Trainer(OnlineModel.of_weights(weights, header.examples), RunningScores())
        for version, _ in read_versions(self._log, self._topics, first):
            trainer.forget_again(version)
        trainer = changed(trainer, self._spec, last.version)
        begun = Begun(self._topics.arm, header.version, accumulators=False)
        return Recovered(trainer, last, diverged=True, saved=-1, migrated=True, begun=begun)

    def _with_settings_of(self, version: Version, trainer: Trainer, *, is_first: bool) -> Trainer:
        """Return a trainer with the settings that the runs of ``version`` were learned with: those of the last version that has any."""
        if version.spec is None:
            return trainer
        try:
            spec = Spec.model_validate(version.spec)
        except ValidationError as error:
            raise RecoveryError(f"version {version.version} has settings that this program does not know: {error}") from error
        if version.settings != settings_digest(spec):
            raise OtherSettingsError(other_settings(version))
        if version.begun:
            return self._begin_again(version.begun, spec, is_first=is_first)
        return Trainer(OnlineModel(spec), RunningScores()) if is_first else changed(trainer, spec, version)

    def _begin_again(self, begun: Begun, spec: Spec, *, is_first: bool) -> Trainer:
        """Return what an arm began with: what was imported, or what was saved of another arm's version, or else that, made again."""
        if begun.arm is None:
            state = imported(self._checkpoints, spec, begun.digest)
            if not is_first or state is None:
                raise RecoveryError(f"{self._topics.versions}: a version begins with imported weights, which only the first does")
            return state.restore()
        source = self._topics._replace(arm=begun.arm)
        if not is_first or begun.arm in self._began:
            raise RecoveryError(f"{self._topics.versions}: a version begins from {begun.arm}, which only the first of another arm does")
        recovered = Recovery(self._log, source, self._spec, self._checkpoints.begun, began=self._began).recover(begun.version)
        if recovered.last is None or recovered.last.version.version != begun.version:
            raise RecoveryError(f"{source.versions} has no version {begun.version} any more, with which this arm began")
        return recovered.trainer.begin(spec, accumulators=begun.accumulators)

    def _learn_again(self, trainer: Trainer, version: Version, runs: Runs) -> None:
        if version.settings != settings_digest(trainer.model.spec):
            raise OtherSettingsError(other_settings(version))
        rounds = Rounds(trainer, version)
        for run in version.runs:
            self._learn_run(trainer, version, run, rounds, runs)
        rounds.finish()
        if version.forgotten:
            trainer.forgotten.version = version.version
        self._check_digest(trainer, version)
        trainer.settle(version)

    def _check_digest(self, trainer: Trainer, version: Version) -> None:
        """Compare the weights with those published; if other kernels learned them, note that the model has diverged."""
        digest = trainer.model.digest()
        if digest == version.digest or self._diverged:
            return
        message = f"version {version.version} was published as {version.digest}, and learning its examples again gives {digest}"
        if version.fingerprint == fingerprint():
            raise RecoveryError(f"{message}: the examples, the checkpoint or the program have changed")
        others = f"it was learned by {version.fingerprint}, and this is {fingerprint()}"
        agree = "where the program's version is the same, they agree within rounding; else its step may have changed"
        logger.warning("%s: %s: %s. A new lineage begins, from a full snapshot", message, others, agree)
        self._diverged = True

    def _learn_run(self, trainer: Trainer, version: Version, run: Run, rounds: Rounds, runs: Runs) -> None:
        try:
            for records in runs.read(run):
                rounds.learn(records)
        except OffsetGoneError as error:
            message = f"examples {run.first} to {run.last} of partition {run.partition} are to be learned again, but are no longer there"
            if not self._accept_gap:
                raise GapError(f"{message}; --accept-gap goes on without them") from error
            logger.warning("%s: going on without them", message)
            rounds.finish()  # nobody knows which were the records of a round any more
            trainer.forget_again(version)  # its requests may be among them
            self._diverged = True
