"""Intervals by bootstrap over seeds × blocks of a stream, log loss and AUC recomputed in each resample.

Examples that lie close together are alike, so whole blocks are resampled: days, or groups of users. Systems are compared on the same
blocks. A :class:`Tally` is all that this needs of a run.

Shapes: N examples, B blocks, S seeds, R resamples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from paper.report import Estimate

Floats: TypeAlias = NDArray[np.float64]

RESAMPLES = 2000


@dataclass(frozen=True)
class Tally:
    """A run's predictions, summed in each block: enough for log loss and AUC under any weights of the blocks.

    Attributes:
        clicks: number of clicked examples, ``(B,)``.
        others: number of examples without a click, ``(B,)``.
        log_loss: its mean, ``(B,)``.
        auc: share of the pairs (click of block b, no click of block c) in which the click has the higher logit; a tie counts half,
            ``(B, B)``.
    """

    clicks: NDArray[np.int64]
    others: NDArray[np.int64]
    log_loss: Floats
    auc: Floats


def tally(logits: NDArray[Any], labels: NDArray[Any], blocks: NDArray[np.int64]) -> Tally:
    """Sum the predictions of N examples by block, 0 … B - 1; every block must have a click and an example without one."""
    logits, clicked, count = logits.astype(np.float64), labels > 0, int(blocks.max()) + 1
    loss = np.bincount(blocks, np.logaddexp(0, logits) - logits * clicked, count)
    clicks, others = (np.bincount(blocks[of], minlength=count) for of in (clicked, ~clicked))
    above = np.empty((count, count))
    for c in range(count):
        below = np.sort(logits[~clicked & (blocks == c)])
        ranks = (np.searchsorted(below, logits[clicked], "left") + np.searchsorted(below, logits[clicked], "right")) / 2
        above[:, c] = np.bincount(blocks[clicked], ranks, count) / (clicks * others[c])
    return Tally(clicks, others, loss / (clicks + others), above)


def log_loss(run: Tally, weights: Floats) -> Floats:
    """Return the mean log loss where block b counts ``weights[:, b]`` times, ``(R, B)`` to ``(R,)``."""
    examples = run.clicks + run.others  # (B,)
    return np.asarray((weights @ (run.log_loss * examples)) / (weights @ examples))


def auc(run: Tally, weights: Floats) -> Floats:
    """Return the AUC over all pairs, also those across blocks; ``(R, B)`` to ``(R,)``."""
    clicks, others = weights * run.clicks, weights * run.others  # (R, B)
    return np.asarray((clicks @ run.auc * others).sum(1) / (clicks.sum(1) * others.sum(1)))


def auc_within(run: Tally, weights: Floats) -> Floats:
    """Return the mean over blocks of the AUC within each; ``(R, B)`` to ``(R,)``."""
    return np.asarray((weights @ run.auc.diagonal()) / weights.sum(1))


Measure: TypeAlias = Callable[[Tally, Floats], Floats]


def estimate(measure: Measure, runs: Sequence[Tally], baseline: Sequence[Tally] | None = None, resamples: int = RESAMPLES) -> Estimate:
    """Return the mean over seeds, with the interval that holds the middle 95 % of the resamples.

    Args:
        measure: what is estimated.
        runs: one for each seed.
        baseline: the same seeds of another system, over the same blocks; the estimate is then of the difference ``runs - baseline``.
        resamples: how many; each draws S seeds and B blocks, with replacement, the same for both systems.
    """
    random = np.random.default_rng(0)
    seeds, blocks = len(runs), len(runs[0].clicks)
    by_seed = random.multinomial(seeds, np.full(seeds, 1 / seeds), resamples) / seeds  # (R, S)
    weights = random.multinomial(blocks, np.full(blocks, 1 / blocks), resamples).astype(np.float64)  # (R, B)

    def mean(by_seed: Floats, weights: Floats) -> Floats:
        scores = np.array([measure(run, weights) for run in runs])  # (S, R)
        if baseline:
            scores -= [measure(run, weights) for run in baseline]
        return np.asarray(sum(by_seed.T * scores))  # one seed after the other

    whole = mean(np.full((1, seeds), 1 / seeds), np.ones((1, blocks)))[0]
    low, high = np.percentile(mean(by_seed, weights), [2.5, 97.5])
    return Estimate(float(whole), float(low), float(high), seeds)
