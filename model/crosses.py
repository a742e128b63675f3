"""Which pairs of fields are worth a cross: those that tell together what the model does not learn from each alone.

A pair is judged as an example is predicted: by what the labels that were known by then say of its values
(:func:`model.kernels.crosses.correct`). The log loss that this saves, example by example, is what the pair is worth; its error says
whether that may be chance.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.evaluation import log_losses
from model.features import Features
from model.kernels.crosses import correct

_CELLS = 2**17  # of one pair of fields
_MOST_PAIRS = 32  # of values, in the mean of the examples: lists of more are not crossed


class Saved(NamedTuple):
    """What a pair of fields saves of the log loss."""

    share: float  # of the model's own
    error: float  # the standard error of that


NOTHING = Saved(0.0, math.inf)


class Crosses:
    """The examples that pairs of fields are judged by: N of F fields each, which a model has predicted.

    Args:
        features: The keys of the examples.
        logits: What the model has predicted of each before it learned it, ``(N,)``; finite.
        labels: 1 for a click, else 0, ``(N,)``.
        delay: How long after its time an example's label is known, ms.
    """

    def __init__(self, features: Features, logits: NDArray[np.float32], labels: NDArray[np.float32], delay: int) -> None:
        n = len(labels)
        self._features = features.contiguous(n)
        self._logits, self._labels = logits.astype(np.float64), np.ascontiguousarray(labels, np.float32)
        times = np.maximum.accumulate(self._features.times)
        known = np.searchsorted(times + delay, times, side="right") if delay else np.arange(n)
        self._known = np.minimum(known, np.arange(n))
        self._starts = self._features.starts[:-1].reshape(n, -1)
        self._ends = self._features.starts[1:].reshape(n, -1)
        self._sums, self._corrections = np.empty((_CELLS, 2)), np.empty(n)
        self._predict()
        self._loss = float(self._losses.mean())

    def saved(self, one: int, other: int) -> Saved:
        """Return what two fields save together, beyond the model and the crosses that were taken."""
        pairs = (self._ends[:, one] - self._starts[:, one]) * (self._ends[:, other] - self._starts[:, other])
        if pairs.mean() > _MOST_PAIRS:
            return NOTHING
        self._correct(one, other)
        saved = self._losses - log_losses(self._logits + self._corrections, self._labels)
        return Saved(float(saved.mean()) / self._loss, float(saved.std()) / math.sqrt(len(saved)) / self._loss)

    def take(self, one: int, other: int) -> None:
        """Predict with the cross of two fields from now on."""
        self._correct(one, other)
        self._logits += self._corrections
        self._predict()

    def _predict(self) -> None:
        self._predicted = 1 / (1 + np.exp(-self._logits))
        self._losses = log_losses(self._logits, self._labels)

    def _correct(self, one: int, other: int) -> None:
        ranges = np.stack([self._starts[:, one], self._ends[:, one], self._starts[:, other], self._ends[:, other]], axis=1)
        correct(self._features, ranges, self._predicted, self._labels, self._known, self._sums, self._corrections)
