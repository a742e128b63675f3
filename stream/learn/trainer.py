"""From records to a step of the model: record → example → keys → predicted, learned and scored.

What is learned depends on the records and their order alone: learning them for the first time and learning them again
after a crash are the same call.
"""

from collections.abc import Container, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.evaluation import Progressive
from model.features import Encoder, Features
from model.kernels.delay import stream_logits
from model.online import OnlineModel
from stream.events import BadRecordError, Example, decode_example
from stream.learn.rules import Rules
from stream.log.contract import Record


class NotFiniteError(ArithmeticError):
    """Learning from an example would have made a weight infinite or undefined; the step was undone."""


class BatchResult(NamedTuple):
    """What came of some records."""

    learned: int  # examples
    trained_through: int  # the latest event time among them, as the rules take it, epoch ms; 0 where there is none
    bad: list[tuple[Record, Exception]]  # what could not be read, and why
    excluded: list[tuple[Record, Exception]]  # what could be read, but not learned


class _Readable(NamedTuple):
    """An example, where it stands in its poll, and the time that event time comes to by it."""

    position: int
    example: Example
    time: int  # epoch ms


class Trainer:
    """A model together with what feeds and what scores it."""

    def __init__(self, model: OnlineModel, scores: Progressive) -> None:
        self.model, self.scores = model, scores
        self.encoder = Encoder(model.spec.fields)

    def learn(self, records: Sequence[Record], excluded: Container[tuple[int, int]] = (), rules: Rules | None = None) -> BatchResult:
        """Predict, learn and score each record, in order.

        Args:
            records: records of the topic ``examples``.
            excluded: partition and offset of those to pass over.
            rules: what else not to learn; none for what is learned again, of which ``excluded`` tells all that was refused.
        """
        readable: list[_Readable] = []
        bad: dict[int, Exception] = {}
        refused: dict[int, Exception] = {}
        for position, record in enumerate(records):
            if (record.partition, record.offset) in excluded:
                continue
            try:
                example = decode_example(record.value)
            except BadRecordError as error:
                bad[position] = error
                continue
            try:
                readable.append(_Readable(position, example, rules.observed(example, record) if rules else example.time))
            except BadRecordError as error:
                refused[position] = error
        learned = self._learn(readable, bad, refused)
        return BatchResult(
            learned=len(learned),
            trained_through=max((each.time for each in learned), default=0),
            bad=[(records[position], bad[position]) for position in sorted(bad)],
            excluded=[(records[position], refused[position]) for position in sorted(refused)],
        )

    def _learn(self, readable: list[_Readable], bad: dict[int, Exception], refused: dict[int, Exception]) -> list[_Readable]:
        """Learn what can be learned, and give it; note in ``bad`` what the fields don't take, in ``refused`` whose step was undone."""
        features, misfits = self.encoder.encode([each.example.features for each in readable], [each.example.time for each in readable])
        if misfits:
            bad |= {readable[n].position: error for n, error in misfits.items()}
            readable = [each for n, each in enumerate(readable) if n not in misfits]
        undone = self._step(features, [each.example for each in readable])
        if undone:
            refused |= {readable[n].position: NotFiniteError("its step gives a weight that is not finite") for n in undone}
            readable = [each for each in readable if each.position not in refused]
        return readable

    def _step(self, features: Features, examples: list[Example]) -> list[int]:
        """Learn N examples and score their predictions; return the positions of those that were undone."""
        labels = np.array([example.label for example in examples], np.float32)  # (N,)
        fnw = np.array([example.policy == "fnw" for example in examples], np.bool_)  # (N,)
        logits, undone = self.model.learn(features, labels, _importance(examples), fnw)
        logits = np.where(fnw, stream_logits(logits), logits)
        counted = np.ones(len(labels), np.bool_)
        counted[undone] = False
        self.scores.update(logits[counted], labels[counted])
        return undone


def _importance(examples: Sequence[Example]) -> NDArray[np.float32]:
    """Return each example's weight, ``(N,)``; one beyond float32, which a rule may allow, is infinite, and its step will be undone."""
    with np.errstate(over="ignore"):
        return np.array([1.0 if example.weight is None else example.weight for example in examples], np.float32)
