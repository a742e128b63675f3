"""Which pairs of fields are worth a cross: those that tell together what the model does not learn from each alone.

A pair is judged as an example is predicted: by what the labels that were known by then say of its values
(:func:`model.kernels.crosses.correct`). The log loss that this saves, example by example, is what the pair is worth; its error says
whether that may be chance.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.encoding.features import Features
from model.evaluation.scores import log_losses
from model.kernels.crosses import correct

_CELLS = 2**17  # of one pair of fields


class Saved(NamedTuple):
    """What a pair of fields saves of the log loss."""

    share: float  # of the model's own
    error: float  # the standard error of that


class Crosses:
    """The examples that pairs of fields are judged by: N of F fields each, which a model has predicted.

    Args:
        features: The keys of the examples.
        logits: What the model has predicted of each before it learned it, ``(N,)``; finite.
        labels: 1 for a click, else 0, ``(N,)``.
        delay: How long after its time an example's label is known, ms.
        numbers: The fields whose values are a bucket and wider ones (tiles). Pairs of all would be many: a wide one stands for them, or the
            narrow one, whichever saves more.
    """

    def __init__(
        self, features: Features, logits: NDArray[np.floating], labels: NDArray[np.float32], delay: int, numbers: Sequence[int] = ()
    ) -> None:
        n, self._delay, self._numbers = len(labels), delay, numbers
        self._features = features.contiguous(n)
        self._logits, self._labels = logits.astype(np.float64), np.ascontiguousarray(labels, np.float32)
        times = np.maximum.accumulate(self._features.times)
        known = np.searchsorted(times + delay, times, side="right") if delay else np.arange(n)
        self._known = np.minimum(known, np.arange(n))
        self._starts = self._features.starts[:-1].reshape(n, -1).copy()
        self._lengths = np.diff(self._features.starts).reshape(n, -1)
        self._wide = np.zeros(self._starts.shape, np.bool_)  # whether a wide bucket follows the narrow one
        for number in numbers:
            self._wide[:, number] = self._lengths[:, number] > 1
            self._lengths[:, number] = 1
        self._sums, self._corrections = np.empty((_CELLS, 2)), np.empty(n)
        self._predict()
        self._loss = float(self._losses.mean())

    def newest(self, examples: int) -> "Crosses":
        """Return the same of the newest examples."""
        keys, starts, times = self._features
        fields = self._lengths.shape[1]
        features = Features(keys, starts[-examples * fields - 1 :], times[-examples:])
        return Crosses(features, self._logits[-examples:], self._labels[-examples:], self._delay, self._numbers)

    def pairs_of_values(self) -> NDArray[np.float64]:
        """Return how many pairs of values each two fields have in an example, in the mean, ``(F, F)``."""
        lengths = self._lengths.astype(np.float64)
        pairs: NDArray[np.float64] = lengths.T @ lengths / len(lengths)
        return pairs

    def judgements(self, one: int, other: int) -> int:
        """Return how often two fields are judged: twice, if a number is among them."""
        return 1 if {one, other}.isdisjoint(self._numbers) else 2

    def saved(self, one: int, other: int) -> Saved:
        """Return what two fields save together, beyond the model and the crosses that were taken; or a field that it lacks, given twice."""
        return self._best(one, other)[0]

    def take(self, one: int, other: int) -> None:
        """Predict with the cross of two fields from now on."""
        _, narrow = self._best(one, other)
        self._correct(one, other, narrow=narrow)
        self._logits += self._corrections
        self._predict()

    def _best(self, one: int, other: int) -> tuple[Saved, bool]:
        """Return what two fields save at most, and whether by the narrow buckets of numbers."""
        return max((self._saved(one, other, narrow=narrow), narrow) for narrow in (False, True)[: self.judgements(one, other)])

    def _saved(self, one: int, other: int, *, narrow: bool) -> Saved:
        self._correct(one, other, narrow=narrow)
        saved = self._losses - log_losses(self._logits + self._corrections, self._labels)
        return Saved(float(saved.mean()) / self._loss, float(saved.std()) / math.sqrt(len(saved)) / self._loss)

    def _predict(self) -> None:
        self._predicted = 1 / (1 + np.exp(-self._logits))
        self._losses = log_losses(self._logits, self._labels)

    def _correct(self, one: int, other: int, *, narrow: bool) -> None:
        bounds = []
        for field in (one, other):
            start = self._starts[:, field] if narrow else self._starts[:, field] + self._wide[:, field]
            bounds += [start, start + self._lengths[:, field]]
        correct(self._features, np.stack(bounds, axis=1), self._predicted, self._labels, self._known, self._sums, self._corrections)
