"""The last 4,096 examples in blocks of 64, and the mean block of the good time before: what the guard compares.

Constant memory. Every sum is taken in the stream's order, so that it depends on the examples alone, not on how the calls were cut.

Axes: N examples of one call; B blocks, of which the newest is being filled; S sums (see :class:`Sums`).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from model.kernels.target import ordered_sum

BLOCK, BLOCKS = 64, 64
LAST = BLOCK * BLOCKS  # examples
GOOD = 256  # blocks: the mean block forgets at this rate


class Sums(NamedTuple):
    """Sums over some examples. Each was predicted with the probability ``p`` before it was learned, and clicked or not: ``y``."""

    examples: float
    clicks: float
    predicted: float  # Σ p
    loss: float  # Σ −log of the probability given to what happened
    expected: float  # Σ of what the loss would be on average if p were right: the entropy of p
    variance: float  # Σ p (1 − p), of the clicks if p were right; with what chance adds that leaves examples out
    loss_variance: float  # Σ p (1 − p) z², of the loss if p were right; z is the logit; likewise

    @property
    def rate(self) -> float:
        """The click rate."""
        return self.clicks / self.examples

    @property
    def mean_prediction(self) -> float:
        """The mean prediction."""
        return self.predicted / self.examples

    @property
    def excess(self) -> float:
        """The mean log loss above that of always predicting the click rate, in nats; below 0 where the predictions are of use."""
        return self.loss / self.examples - entropy(self.rate)


class Window:
    """Sums over the last examples, and over the good ones before."""

    def __init__(self) -> None:
        self._seen = np.zeros(1, np.int64)
        self._blocks = np.zeros((BLOCKS, len(Sums._fields)))  # a ring
        self._good = np.zeros(len(Sums._fields))  # the mean block

    def update(self, logits: NDArray[np.float32], labels: NDArray[np.float32], *, good: bool, negative_weight: float = 1.0) -> None:
        """Add the next examples, ``(N,)`` both; one whose logit is not finite is skipped. If ``good``, the good time goes on.

        Each example without a click counts ``negative_weight`` times.
        """
        _update(logits, labels, negative_weight, self._seen, self._blocks, self._good, good)

    def recent(self) -> list[Sums]:
        """Return the sums over the last 4, 8, 16, … blocks, of which the newest may not be full."""
        newest = int(self.seen - 1) // BLOCK % BLOCKS
        sums = np.cumsum(np.roll(self._blocks, -newest - 1, axis=0)[::-1], axis=0)  # (B, S), the newest first
        return [Sums(*sums[count - 1].tolist()) for count in (4, 8, 16, 32, BLOCKS)]

    @property
    def seen(self) -> int:
        """How many examples there were."""
        return int(self._seen[0])

    @property
    def good(self) -> Sums:
        """The mean block of the good time."""
        return Sums(*self._good.tolist())

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return copies of everything."""
        return {name: array.copy() for name, array in self._arrays().items()}

    @classmethod
    def from_state(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """Return the window that :meth:`state` returned."""
        window = cls()
        for name, array in window._arrays().items():
            array[...] = arrays[name]
        return window

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {"seen": self._seen, "blocks": self._blocks, "good": self._good}


def entropy(rate: float) -> float:
    """Return the entropy of an event of this probability, in nats."""
    return 0.0 if rate <= 0 or rate >= 1 else float(-(rate * np.log(rate) + (1 - rate) * np.log(1 - rate)))


@ordered_sum
def _update(
    logits: NDArray[np.float32],
    labels: NDArray[np.float32],
    negative_weight: float,
    seen: NDArray[np.int64],
    blocks: NDArray[np.float64],
    mean: NDArray[np.float64],
    good: bool,
) -> None:
    for n in range(len(logits)):
        z, clicked = np.float64(logits[n]), labels[n] > 0
        if not np.isfinite(z):
            continue
        index = (seen[0] // BLOCK) % BLOCKS
        if seen[0] % BLOCK == 0:
            if good and seen[0] > 0:
                rate = 1.0 / min(seen[0] // BLOCK, GOOD)
                for s in range(len(mean)):
                    mean[s] += (blocks[index - 1, s] - mean[s]) * rate
            blocks[index] = 0.0
        tail = np.exp(-abs(z))
        p = (1.0 if z >= 0 else tail) / (1.0 + tail)
        log_sum = max(z, 0.0) + np.log1p(tail)  # log(1 + eᶻ)
        weight = 1.0 if clicked else negative_weight
        # y − w p of an example that is learned, 0 of one that is left out, has the variance p (1 − p) (1 − p + p w).
        variance = weight * p * (1.0 - p) * (1.0 + p * (negative_weight - 1.0))
        block = blocks[index]
        block[0] += weight
        block[1] += clicked
        block[2] += weight * p
        block[3] += weight * (log_sum - z * clicked)
        block[4] += weight * (log_sum - z * p)
        block[5] += variance
        block[6] += variance * z * z
        seen[0] += 1
