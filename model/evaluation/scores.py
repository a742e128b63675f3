"""Progressive evaluation: score every example on the prediction made before it was learned.

Constant memory, whatever the length of the stream. Each sum is taken in the stream's order, so that the scores
depend on the examples alone, bit for bit, and not on how the updates were cut or where a checkpoint fell between them.

Axes: N examples of one update; W the window; B bins of the logit.
"""

from collections.abc import Mapping
from math import log
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from model.kernels.target import inner_ordered_sum, ordered_sum

BINS = 1 << 16
WINDOW = 10_000  # examples that count as recent
REACH = 16.0  # the bins cover logits from -REACH to REACH, each 2⁻¹¹ wide; logits outside fall into the end bins
_PER_UNIT = BINS / (2 * REACH)


class Scores(NamedTuple):
    """How good the predictions of some examples were; a score is None where the examples do not define it.

    Every score but the AUC compares with the click rate, ``c``, of the same examples:

        log_loss           = mean of −log of the probability given to what happened, in nats
        normalized_entropy = log_loss / −(c log c + (1 − c) log(1 − c)); below 1 is better than knowing only c
        calibration        = mean prediction / c
        auc                = share of (click, no click) pairs where the click was given more; a tie counts half
    """

    examples: int
    log_loss: float | None
    auc: float | None
    normalized_entropy: float | None
    calibration: float | None


class Group(NamedTuple):
    """Examples whose predictions are neighbours."""

    examples: int
    prediction: float  # their mean
    click_rate: float


class _Tally(NamedTuple):
    """What is kept of the stream. The second index of ``bins``, and the index of ``counts``, is 1 for a click."""

    sums: NDArray[np.float64]  # (2,) of the log loss and of the prediction
    counts: NDArray[np.float64]  # (2,), of examples by their weight
    bins: NDArray[np.float64]  # (B, 2)
    logits: NDArray[np.float32]  # (W,), example t at index t mod W
    clicked: NDArray[np.bool_]  # (W,)
    weights: NDArray[np.float64]  # (W,)
    scored: NDArray[np.int64]  # (1,), examples, whatever their weight


class RunningScores:
    """Scores over the whole stream and over its last ``window`` examples.

    Args:
        window: how many examples :meth:`recent` scores.

    >>> scores = RunningScores()
    >>> scores.update(np.float32([0.0, 2.0, -2.0]), np.float32([0, 1, 0]))
    >>> scores.total().auc
    1.0
    """

    def __init__(self, window: int = WINDOW) -> None:
        self._tally = _Tally(
            sums=np.zeros(2),
            counts=np.zeros(2),
            bins=np.zeros((BINS, 2)),
            logits=np.zeros(window, np.float32),
            clicked=np.zeros(window, np.bool_),
            weights=np.ones(window),
            scored=np.zeros(1, np.int64),
        )

    def update(self, logits: NDArray[np.float32], labels: NDArray[np.float32], negative_weight: float = 1.0) -> None:
        """Score the next examples, both ``(N,)``. A prediction that is not finite is skipped: its step was undone.

        Args:
            logits: The predictions.
            labels: 1 for a click, else 0.
            negative_weight: How many examples each one without a click stands for; more than 1 where others were left out.
        """
        _update(logits, labels, negative_weight, self._tally)

    def total(self) -> Scores:
        """Return the scores of everything so far; the AUC is exact but for pairs in one bin, the others to rounding."""
        tally = self._tally
        return scores_of(tally.sums, tally.counts, area_under_curve(tally.bins))

    def calibration_curve(self, groups: int = 20) -> list[Group]:
        """Return at most so many groups, about equally large, in ascending order of the prediction, which is known to within its bin."""
        return calibration_groups(self._tally.bins, groups)

    def recent(self) -> Scores:
        """Return the scores of the examples of the window, all exact."""
        size = min(int(self._tally.scored[0]), len(self._tally.logits))
        logits, clicked, weights = self._tally.logits[:size], self._tally.clicked[:size], self._tally.weights[:size]
        values, group = np.unique(logits, return_inverse=True)  # ascending
        groups = np.zeros((len(values), 2))
        np.add.at(groups, (group, clicked.astype(np.int64)), weights)
        sums = np.zeros(2)
        _add(logits, clicked, weights, sums)
        return scores_of(sums, groups.sum(axis=0), area_under_curve(groups))

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return everything as named arrays, copied, for a checkpoint."""
        return {name: array.copy() for name, array in self._tally._asdict().items()}

    @classmethod
    def from_state(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """Return the scores that :meth:`state` returned; in earlier checkpoints every example counts once."""
        progressive = cls(window=len(arrays["logits"]))
        progressive._tally.scored[0] = np.sum(arrays["counts"])
        for name, array in progressive._tally._asdict().items():
            if name in arrays or name not in ("weights", "scored"):
                array[...] = arrays[name]
        return progressive


def log_losses(logits: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
    """Return the log loss of each prediction, ``log(1 + eᶻ) − y z``, ``(N,)``."""
    logits = logits.astype(np.float64)
    return np.asarray(np.logaddexp(0, logits) - labels * logits)


@inner_ordered_sum
def _score(logit: float, clicked: bool, weight: float, sums: NDArray[np.float64]) -> None:
    """Add one example's log loss, ``log(1 + eᶻ) − y z``, and its prediction, ``1 / (1 + e⁻ᶻ)``, so that no exponent overflows."""
    tail = np.exp(-abs(logit))
    sums[0] += weight * (max(logit, 0.0) - logit * clicked + np.log1p(tail))
    sums[1] += weight * ((1.0 if logit >= 0 else tail) / (1.0 + tail))


@ordered_sum
def _add(logits: NDArray[np.float32], clicked: NDArray[np.bool_], weights: NDArray[np.float64], sums: NDArray[np.float64]) -> None:
    for n in range(len(logits)):
        _score(np.float64(logits[n]), clicked[n], weights[n], sums)


@ordered_sum
def _update(logits: NDArray[np.float32], labels: NDArray[np.float32], negative_weight: float, tally: _Tally) -> None:
    for n in range(len(logits)):
        logit, clicked = np.float64(logits[n]), labels[n] > 0
        if not np.isfinite(logit):
            continue
        weight = 1.0 if clicked else negative_weight
        _score(logit, clicked, weight, tally.sums)
        index = tally.scored[0] % len(tally.logits)
        tally.logits[index], tally.clicked[index], tally.weights[index] = logits[n], clicked, weight
        tally.scored[0] += 1
        tally.counts[int(clicked)] += weight
        tally.bins[int(min(max((logit + REACH) * _PER_UNIT, 0.0), BINS - 1.0)), int(clicked)] += weight


def area_under_curve(groups: NDArray[np.floating | np.integer]) -> float | None:
    """Return the AUC of ``(G, 2)`` counts of others and clicks, in ascending order of the prediction; a tie counts half."""
    others, clicks = groups[:, 0].astype(np.float64), groups[:, 1].astype(np.float64)
    pairs = float(others.sum() * clicks.sum())
    if not pairs:
        return None
    below = np.cumsum(others) - others
    return float(np.sum(clicks * (below + others / 2))) / pairs


def calibration_groups(bins: NDArray[np.floating | np.integer], groups: int = 20) -> list[Group]:
    """Return at most so many groups of the examples in ``bins (B, 2)``, about equally large, in ascending order of the prediction."""
    counts = bins.sum(axis=1)  # (B,)
    if not counts.any():
        return []
    group = (np.cumsum(counts) - counts / 2) * groups // counts.sum()  # (B,), of each bin
    predictions = 1 / (1 + np.exp(REACH - (np.arange(len(bins)) + 0.5) * 2 * REACH / len(bins)))
    columns = [np.bincount(group.astype(np.int64), each) for each in (counts, counts * predictions, bins[:, 1])]
    return [Group(round(n), float(p / n), float(c / n)) for n, p, c in zip(*columns, strict=True) if n]


def scores_of(sums: NDArray[np.float64], counts: NDArray[np.floating | np.integer], auc: float | None) -> Scores:
    """Return the scores of examples by their sums of the log loss and of the prediction, ``(2,)``, and the counts of others and clicks."""
    others, clicks = map(float, counts)
    examples = others + clicks
    loss = float(sums[0]) / examples if examples else None
    calibration = float(sums[1]) / clicks if clicks else None
    if loss is None or not others or not clicks:
        return Scores(round(examples), loss, auc, normalized_entropy=None, calibration=calibration)
    rate = clicks / examples
    entropy = -(rate * log(rate) + (1 - rate) * log(1 - rate))
    return Scores(round(examples), loss, auc, loss / entropy, calibration)
