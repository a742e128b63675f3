"""Decide how wide the buckets of a column of numbers are: all alike, where its values spread evenly, or wider with the number.

Counts and amounts want the latter. But latitudes, temperatures or scores lie far from zero and close together, or on both sides of it:
buckets that widen with the number would take them all for one, or part them most finely around zero.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.encoding.buckets import bucket
from service.onboarding.evidence import error, losses
from service.onboarding.sample import Column

_MOST_OF_IT = 0.01, 0.5, 0.99  # quantiles
_EVENLY = 2.0  # times as far from the median as the one end of most values, the other may be
_FURTHER = 1.25  # times as many buckets, the values must be spread over
_COUNTS = 24, 96, 384, 1536  # of buckets between those ends: the first, unless places or the like return, and finer ones tell them apart
_CERTAIN = 3.0  # standard errors
_LEAST, _MOST = 1e-300, 1e300  # from the one end to the other: beyond, a bucket's width would be 0 or infinite


@np.errstate(over="ignore", invalid="ignore")  # of numbers near the greatest
def bucket_width(column: Column, labels: NDArray[np.float64]) -> float | None:
    """Return the width of all buckets of a column; None if they are to widen with the number, or its values are no numbers."""
    numbers, filled = column.numbers, column.filled
    if numbers is None:
        return None
    codes, clicked = column.codes[filled], labels[filled]
    low, middle, high = np.quantile(numbers[codes], _MOST_OF_IT)
    if not _LEAST < high - low < _MOST:
        return None

    def buckets(width: float) -> NDArray[np.int64]:
        return _numbered(np.floor(numbers / width))[codes]

    least = 1.0 if column.is_integer else 0.0
    widths = [max(_round((high - low) / count), least) for count in _COUNTS]
    best = widths[0]
    if not _evenly(low, middle, high):
        widening = _numbered(np.array([bucket(number) for number in numbers]))[codes]
        if _spread(buckets(best)) < _FURTHER * _spread(widening):
            return None
    loss = losses(buckets(best), clicked)
    for width in widths[1:]:
        gain = loss - (finer := losses(buckets(width), clicked))
        if gain.mean() > _CERTAIN * error(gain):
            best, loss = width, finer
    return best


def _numbered(buckets: NDArray[Any]) -> NDArray[np.int64]:
    """Return the same buckets, counted from 0."""
    return np.unique(buckets, return_inverse=True)[1]


def _evenly(low: float, middle: float, high: float) -> bool:
    below, above = middle - low, high - middle
    return below <= _EVENLY * above and above <= _EVENLY * below


def _spread(buckets: NDArray[np.int64]) -> float:
    """Return over how many buckets the rows are spread: the perplexity of their distribution."""
    shares = np.bincount(buckets) / len(buckets)
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _round(width: float) -> float:
    """Return 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(width))
    nearest = min((1, 2, 5, 10), key=lambda times: abs(math.log(times * power / width)))
    return float(f"{nearest * power:.0e}")
