"""Means over blocks of neighbouring rows, for several series over one stream, in constant memory.

A block is as long as it takes for at most ``BLOCKS`` of them to hold all rows: where they are full, neighbours are merged. Series are
compared on the same blocks, and whole blocks are resampled, since rows that lie close together are alike.

Axes: N rows, S series, B blocks.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

BLOCKS = 128
_FIRST_SIZE = 64  # rows in a block of a short stream
_RESAMPLES = 2_000
_FEWEST = 8  # blocks that an interval can be taken from

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """An estimate and its 95 % confidence interval, None where it can't be known."""

    mean: float
    low: float | None = None
    high: float | None = None

    @property
    def decided(self) -> bool:
        """Whether 0 is outside of the interval."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


class Blocks:
    """Sums and counts of each series in each block.

    >>> blocks = Blocks(1)
    >>> blocks.add(0, np.arange(200), np.arange(200.0))
    >>> blocks.size, blocks.means()[0][:4].tolist()
    (64, [31.5, 95.5, 159.5, 195.5])
    """

    def __init__(self, series: int) -> None:
        self.size = _FIRST_SIZE
        self._sums = np.zeros((series, BLOCKS))
        self._counts = np.zeros((series, BLOCKS))

    def add(self, series: int, rows: NDArray[np.int64], values: NDArray[Any]) -> None:
        """Add a series' values at some rows, both ``(N,)``; rows are counted from 0."""
        while rows.max(initial=0) >= self.size * BLOCKS:
            self._merge()
        blocks = rows // self.size
        self._sums[series] += np.bincount(blocks, values, BLOCKS)
        self._counts[series] += np.bincount(blocks, minlength=BLOCKS)

    def _merge(self) -> None:
        self.size *= 2
        for array in (self._sums, self._counts):
            array[:, : BLOCKS // 2] = array[:, ::2] + array[:, 1::2]
            array[:, BLOCKS // 2 :] = 0

    def means(self) -> Floats:
        """Return the mean of each series in each block, ``(S, B)``; NaN where it has no row."""
        return self._ratio(self._sums, self._counts)

    def means_so_far(self) -> Floats:
        """Return the mean of each series from the first row to the end of each block, ``(S, B)``; NaN after its last."""
        used = np.where(self._counts > 0, 1.0, np.nan)
        return used * self._ratio(np.cumsum(self._sums, axis=1), np.cumsum(self._counts, axis=1))

    def difference(self, series: int, other: int) -> Interval:
        """Return the mean of a series minus that of another, with the middle 95 % of it when whole blocks are drawn with replacement."""
        pair = [series, other]
        used = np.flatnonzero(self._counts[pair].min(axis=0))
        sums, counts = (array[pair][:, used] for array in (self._sums, self._counts))  # (2, B)

        def of(weights: Floats) -> Floats:  # (B, R) to (R,)
            means = self._ratio(sums @ weights, counts @ weights)
            return np.asarray(means[0] - means[1])

        mean = float(of(np.ones((len(used), 1)))[0])
        if len(used) < _FEWEST:
            return Interval(mean)
        drawn = np.random.default_rng(0).multinomial(len(used), np.full(len(used), 1 / len(used)), _RESAMPLES)
        return Interval(mean, *np.percentile(of(drawn.T.astype(np.float64)), [2.5, 97.5]).tolist())

    @staticmethod
    def _ratio(sums: Floats, counts: Floats) -> Floats:
        return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
