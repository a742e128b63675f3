"""From records to a step of the model: record → example → keys → predicted, learned and scored.

What is learned depends on the records and their order alone: learning them for the first time and learning them again
after a crash are the same call.
"""

from collections.abc import Container, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.delay import stream_logits
from model.evaluation import Progressive
from model.features import Encoder, Features
from model.online import OnlineModel
from stream.events import BadRecordError, Example, decode_example
from stream.log import Record


class NotFiniteError(ArithmeticError):
    """Learning from an example would have made a weight infinite or undefined; the step was undone."""


class Taught(NamedTuple):
    """What came of some records."""

    learned: int  # examples
    trained_through: int  # the latest event time among them, epoch ms; 0 where there is none
    bad: list[tuple[Record, Exception]]  # what could not be read, and why
    excluded: list[tuple[Record, Exception]]  # what could be read, but not learned


class Trainer:
    """A model together with what feeds and what scores it."""

    def __init__(self, model: OnlineModel, scores: Progressive) -> None:
        self.model, self.scores = model, scores
        self.encoder = Encoder(model.spec.fields)

    def learn(self, records: Sequence[Record], excluded: Container[tuple[int, int]] = ()) -> Taught:
        """Predict, learn and score each record, in order.

        Args:
            records: records of the topic ``examples``.
            excluded: partition and offset of those to pass over.
        """
        places: list[int] = []  # in ``records``, of what could be read
        examples: list[Example] = []
        bad: dict[int, Exception] = {}
        for place, record in enumerate(records):
            if (record.partition, record.offset) in excluded:
                continue
            try:
                examples.append(decode_example(record.value))
            except BadRecordError as error:
                bad[place] = error
            else:
                places.append(place)
        features, refused = self.encoder.encode([example.features for example in examples], [example.time for example in examples])
        if refused:
            bad |= {places[n]: error for n, error in refused.items()}
            good = [n for n in range(len(examples)) if n not in refused]
            places, examples = [places[n] for n in good], [examples[n] for n in good]
        undone = [places[n] for n in self._step(features, examples)]
        return Taught(
            learned=len(examples) - len(undone),
            trained_through=max((example.time for example in examples), default=0),
            bad=[(records[place], bad[place]) for place in sorted(bad)],
            excluded=[(records[place], NotFiniteError("its step gives a weight that is not finite")) for place in undone],
        )

    def _step(self, features: Features, examples: list[Example]) -> list[int]:
        """Learn N examples and score their predictions; give the places of those that were undone."""
        labels = np.array([example.label for example in examples], np.float32)  # (N,)
        fnw = np.array([example.policy == "fnw" for example in examples], np.bool_)  # (N,)
        logits, undone = self.model.learn(features, labels, _importance(examples), fnw)
        logits = np.where(fnw, stream_logits(logits), logits)
        counted = np.ones(len(labels), np.bool_)
        counted[undone] = False
        self.scores.update(logits[counted], labels[counted])
        return undone


def _importance(examples: Sequence[Example]) -> NDArray[np.float32]:
    """Give each example's weight, ``(N,)``; one beyond float32 is infinite, and its step will be undone."""
    with np.errstate(over="ignore"):
        return np.array([1.0 if example.weight is None else example.weight for example in examples], np.float32)
