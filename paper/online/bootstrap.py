"""Intervals by bootstrap over seeds × blocks of a stream, log loss and AUC recomputed in each resample.

Examples that lie close together are alike, so that what is drawn again is whole blocks: days, or users. Systems that are compared
are compared on the same blocks. A :class:`Tally` is all that this needs of a run.

Shapes: N examples, B blocks, S seeds, R resamples.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from paper.report import Estimate

Floats: TypeAlias = NDArray[np.float64]

RESAMPLES = 2000
_DIGITS = 6  # of what is written down


class Tally(NamedTuple):
    """What a run's predictions come to in each block: enough for log loss and AUC whatever weight each block is given.

    Attributes:
        clicks: how many, ``(B,)``.
        others: how many were not clicked, ``(B,)``.
        loss: sum of the log loss, ``(B,)``.
        above: share of the pairs (click of block b, no click of block c) where the click was given more; a tie counts half, ``(B, B)``.
    """

    clicks: Floats
    others: Floats
    loss: Floats
    above: Floats

    def plain(self) -> dict[str, Any]:
        """All of it as one JSON object, the log loss as its mean."""
        return {
            "clicks": self.clicks.astype(int).tolist(),
            "others": self.others.astype(int).tolist(),
            "log_loss": np.round(self.loss / (self.clicks + self.others), _DIGITS).tolist(),
            "auc": np.round(self.above, _DIGITS).tolist(),
        }

    @classmethod
    def from_plain(cls, found: dict[str, Any]) -> Self:
        """What :meth:`plain` gave."""
        clicks, others, loss, above = (np.array(found[name], np.float64) for name in ("clicks", "others", "log_loss", "auc"))
        return cls(clicks, others, loss * (clicks + others), above)


def tally(logits: NDArray[Any], labels: NDArray[Any], blocks: NDArray[np.int64]) -> Tally:
    """Add up the predictions of N examples by their block, 0 … B - 1, each of which has a click and an example without one."""
    logits, clicked, count = logits.astype(np.float64), labels > 0, int(blocks.max()) + 1
    loss = np.logaddexp(0, logits) - logits * clicked
    clicks = np.bincount(blocks[clicked], minlength=count).astype(np.float64)
    others = np.bincount(blocks[~clicked], minlength=count).astype(np.float64)
    above = np.empty((count, count))
    for c in range(count):
        below = np.sort(logits[~clicked & (blocks == c)])
        places = (np.searchsorted(below, logits[clicked], "left") + np.searchsorted(below, logits[clicked], "right")) / 2
        above[:, c] = np.bincount(blocks[clicked], places, count) / (clicks * others[c])
    return Tally(clicks, others, np.bincount(blocks, loss, count).astype(np.float64), above)


def log_loss(of: Tally, weights: Floats) -> Floats:
    """The mean log loss where block b counts ``weights[:, b]`` times, ``(R, B)`` to ``(R,)``."""
    return np.asarray((weights @ of.loss) / (weights @ (of.clicks + of.others)))


def auc(of: Tally, weights: Floats) -> Floats:
    """The AUC over all pairs, those across blocks too; ``(R, B)`` to ``(R,)``."""
    clicks, others = weights * of.clicks, weights * of.others  # (R, B)
    return np.asarray((clicks @ of.above * others).sum(1) / (clicks.sum(1) * others.sum(1)))


def auc_within(of: Tally, weights: Floats) -> Floats:
    """The mean over blocks of the AUC within each; ``(R, B)`` to ``(R,)``."""
    return np.asarray((weights @ of.above.diagonal()) / weights.sum(1))


Measure: TypeAlias = Callable[[Tally, Floats], Floats]


def estimate(measure: Measure, runs: Sequence[Tally], less: Sequence[Tally] | None = None, resamples: int = RESAMPLES) -> Estimate:
    """The mean over seeds, and where the middle 95 % of the resamples lie.

    Args:
        measure: what is estimated.
        runs: one for each seed.
        less: the same seeds of another system, over the same blocks: what is estimated is by how much ``runs`` have more.
        resamples: how many; each draws S seeds and B blocks, with replacement, for both systems alike.
    """
    random = np.random.default_rng(0)
    seeds, blocks = len(runs), len(runs[0].clicks)
    by_seed = random.multinomial(seeds, np.full(seeds, 1 / seeds), resamples) / seeds  # (R, S)
    weights = random.multinomial(blocks, np.full(blocks, 1 / blocks), resamples).astype(np.float64)  # (R, B)

    def mean(by_seed: Floats, weights: Floats) -> Floats:
        total = np.zeros(len(weights))
        for s, run in enumerate(runs):
            value = measure(run, weights) - (measure(less[s], weights) if less else 0)
            total += by_seed[:, s] * value
        return total

    once = float(mean(np.full((1, seeds), 1 / seeds), np.ones((1, blocks)))[0])
    low, high = np.percentile(mean(by_seed, weights), [2.5, 97.5])
    return Estimate(once, float(low), float(high), seeds)
