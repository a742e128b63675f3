"""The trainer: records → examples → one step of the model for each, predicted, learned and scored.

What is learned depends on the records and their order alone. Records are learned for the first time and learned again after a crash
by the same call.
"""

from collections.abc import Container, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.encoding.features import Encoded
from model.evaluation.progressive import learn_and_score
from model.evaluation.quality import Quality, Seen
from model.evaluation.scores import RunningScores
from model.guard.guard import Guard
from model.migrate import convert
from model.online import Learned, OnlineModel
from model.rounds import OneProcess, Part, Ranks, split
from model.settings import Spec
from stream.learn.forgotten import Forgotten, ForgottenError
from stream.learn.prepare import Decoded, Prepared, Preparer, Segment
from stream.learn.rules import Rules
from stream.log.contract import Record
from stream.records.events import Example, Forget
from stream.records.version import Version
from stream.sampling import Sampling


class NotFiniteError(ArithmeticError):
    """A step would have made a weight infinite or undefined; it was undone."""


class BatchResult(NamedTuple):
    """The result of learning some records."""

    learned: int  # examples
    trained_through: int  # the latest event time among them and the others, as the rules see it, epoch ms; 0 if there are none
    bad: list[tuple[Record, Exception]]  # records that could not be decoded or encoded, and why
    excluded: list[tuple[Record, Exception]]  # examples that a rule refused or whose step was undone, and why
    forgotten: list[Forget]  # requests that were carried out
    erased: int  # examples not learned because they hold a forgotten value; they are no dead letters, which would keep them
    left_out: int  # negatives that the sampling left out
    others: int  # examples not learned because this arm did not serve them
    ranks: int  # that have learned a part each


class Trainer:
    """A model with its scores, the values that it has forgotten, and the guard that judges its versions.

    Attributes:
        quality: What watches how good the predictions are; None: nothing does. Nothing that is learned depends on it.
        ranks: Who learns what is shared.
        preparer: Makes records into what is learned here.
    """

    def __init__(self, model: OnlineModel, scores: RunningScores, forgotten: Forgotten | None = None, guard: Guard | None = None) -> None:
        self.model, self.scores, self.forgotten, self.guard = model, scores, forgotten or Forgotten(), guard or Guard()
        self.quality: Quality | None = None
        self.ranks: Ranks = OneProcess()
        self.preparer = Preparer(model.spec)
        self._as_shown = model.spec.label_policy == "fnc"  # learns the stream as it is, also one that was joined for an arm under fnw

    def begin(self, spec: Spec, *, accumulators: bool) -> "Trainer":
        """Return another model's trainer, which begins with what fits of this model, with or without its accumulators."""
        model = self.model if accumulators else OnlineModel.of_weights(self.model.weights, self.model.examples)
        forgotten = Forgotten.from_state(self.forgotten.state())
        forgotten.version = -1  # the other model's versions are numbered anew
        return Trainer(OnlineModel.from_state(spec, convert(model.state(), model.spec, spec)), RunningScores(), forgotten)

    def forget(self, request: Forget) -> None:
        """Carry out a request."""
        self.model.forget(request.key)
        self.ranks.forget(request.key)
        self.guard.forget(request.key)
        self.forgotten.add(request)

    def forget_again(self, version: Version) -> None:
        """Carry out the requests of a version that a rollback leaves behind: what the person asked for stays done."""
        for request in version.forgotten:
            self.forget(request)
            self.forgotten.version = version.version

    def settle(self, version: Version) -> None:
        """Let the guard take note of what became of the version that has just been made: the same when it is made again."""
        if version.order == "approve" or (version.rollback and self.guard.held):
            self.guard.approve()
        else:
            self.guard.settle(self.model, version.held, version.trained_through)

    def learn(
        self,
        records: Sequence[Record],
        excluded: Container[tuple[int, int]] = (),
        rules: Rules | None = None,
        sampling: Sampling | None = None,
        ranks: int = 1,
    ) -> BatchResult:
        """Predict, learn and score each example, and carry out each request to forget, in order.

        The arguments are those of :meth:`Preparer.prepare` and :meth:`learn_prepared`.
        """
        return self.learn_prepared(self.preparer.prepare(records, excluded, rules, sampling), ranks)

    def learn_prepared(self, prepared: Prepared, ranks: int = 1) -> BatchResult:
        """Learn what :meth:`Preparer.prepare` returned: one example after the other, or in a round of so many ``ranks``.

        Records with a request to forget among them are not shared.
        """
        records, steps, bad, refused, sampling, left_out, others = prepared
        learned: list[Decoded] = []
        requests: list[Forget] = []
        ends = [part.stop for part in split(len(records), ranks if len(steps) == 1 else 1)]
        taken = 1
        for step in steps:
            if isinstance(step, Forget):
                self.forget(step)
                requests.append(step)
            else:
                of_step, taken = self._learn(step, ends, bad, refused, sampling.weight if sampling else 1.0)
                learned += of_step
        erased = [position for position, error in bad.items() if isinstance(error, ForgottenError)]
        for position in erased:
            del bad[position]
        return BatchResult(
            learned=len(learned),
            trained_through=max([*(each.time for each in learned), *others], default=0),
            bad=[(records[position], bad[position]) for position in sorted(bad)],
            excluded=[(records[position], refused[position]) for position in sorted(refused)],
            forgotten=requests,
            erased=len(erased),
            left_out=left_out,
            others=len(others),
            ranks=taken,
        )

    def _learn(
        self, segment: Segment, ends: Sequence[int], bad: dict[int, Exception], refused: dict[int, Exception], negative_weight: float
    ) -> tuple[list[Decoded], int]:
        """Learn examples, and return those learned, and by how many ranks.

        Misfits are added to ``bad``, and examples whose step was undone to ``refused``. Each rank learns up to the record at its end.
        """
        decoded = segment.decoded
        examples = [each.example for each in decoded]
        encoded = self.forgotten.leave_out(segment.encoded, [example.time for example in examples])
        fnw = np.array([example.policy == "fnw" and not self._as_shown for example in examples], np.bool_)
        seen = self._look(encoded, examples, fnw)
        cuts = np.searchsorted([each.position for n, each in enumerate(decoded) if n not in encoded.bad], ends).tolist()
        taken = 1

        def learn(*of_model: Any) -> Learned:
            nonlocal taken
            whole = Part(*of_model)
            learned, taken = self.ranks.learn(self.model, [whole.between(*each) for each in pairwise([0, *cuts])])
            return learned

        outcome = learn_and_score(
            self.model,
            self.scores,
            encoded,
            labels=np.array([example.label for example in examples], np.float32),
            importance=_importance(examples),
            fnw=fnw,
            negative_weight=negative_weight,
            learn=learn,
        )
        self.guard.observe(outcome.features, outcome.logits, outcome.labels, negative_weight)
        if self.quality and seen:
            self.quality.observe(outcome.logits, outcome.labels, seen, negative_weight)
        bad |= {decoded[n].position: error for n, error in outcome.misfits.items()}
        refused |= {decoded[n].position: NotFiniteError("its step gives a weight that is not finite") for n in outcome.undone}
        return [decoded[n] for n in outcome.learned], taken

    def _look(self, encoded: Encoded, examples: Sequence[Example], fnw: NDArray[np.bool_]) -> Seen | None:
        """Return what ``quality`` has to know of the examples that fit before they are learned."""
        if not self.quality:
            return None
        fit: Sequence[int] = range(len(examples))
        if encoded.bad:
            fit = [n for n in fit if n not in encoded.bad]
            fnw = fnw[fit]
        return self.quality.look(self.model.weights, encoded.features, fnw, lambda n: self.preparer.row(examples[fit[n]]))


def _importance(examples: Sequence[Example]) -> NDArray[np.float32]:
    """Return each example's weight, ``(N,)``. One beyond float32, which a rule may allow, becomes infinite; its step will be undone."""
    with np.errstate(over="ignore"):
        return np.array([1.0 if example.weight is None else example.weight for example in examples], np.float32)
