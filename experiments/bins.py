"""The AUC of an arm and its standard error by bootstrap over units, from counts alone.

Impressions are counted in bins of their logit. A Poisson bootstrap (Chamandy, Muralidharan, Najmi, Naidu: "Estimating Uncertainty for
Massive Data Streams", 2012) gives each unit a weight for each replicate, Poisson with mean 1. Here a weight is a function of the unit's
hash: all impressions of a unit have the same weights, nothing is kept of a unit, and counts of different impressions add.

Axes: N impressions, R replicates, the first of which weighs every unit 1; B bins.
"""

import math
from itertools import accumulate
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

REPLICATES = 201
BINS, LOW, HIGH = 512, -12.0, 4.0  # of the logit: probabilities from 0.0006 % to 98 %; others fall into the end bins
Counts: TypeAlias = NDArray[np.int64]  # (R, B, 2): the last index is 1 for a click

_MIX = np.uint64(0x9E3779B97F4A7C15)
_WORDS = (REPLICATES - 1 + 3) // 4  # of 64 bits, each of which gives four weights

# A weight is the number of steps of Poisson(1)'s distribution function below a number of 16 bits.
_STEPS = [round(65_536 * share) for share in accumulate(math.exp(-1) / math.factorial(count) for count in range(9))]
_WEIGHTS = np.searchsorted(_STEPS, np.arange(65_536), side="right").astype(np.int64)


def empty() -> Counts:
    """Return the counts of no impressions."""
    return np.zeros((REPLICATES, BINS, 2), np.int64)


def bin_of(probabilities: Any) -> NDArray[np.int64]:
    """Return the bin of each probability, ``(N,)``."""
    p = np.clip(np.asarray(probabilities, np.float64), 1e-12, 1 - 1e-12)
    return np.clip((np.log(p / (1 - p)) - LOW) * (BINS / (HIGH - LOW)), 0, BINS - 1).astype(np.int64)


def weights(units: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the weights of units, ``(N, R)``."""
    state = units[:, None] + _MIX * np.arange(1, _WORDS + 1, dtype=np.uint64)  # splitmix64
    state = (state ^ state >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ state >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    drawn = _WEIGHTS[(state ^ state >> np.uint64(31)).view(np.uint16)[:, : REPLICATES - 1]]
    return np.concatenate([np.ones((len(units), 1), np.int64), drawn], axis=1)


def add(counts: Counts, units: NDArray[np.uint64], probabilities: Any, before: Any, after: Any) -> None:
    """Count N impressions, or move some from one label to the other.

    Args:
        counts: What is changed.
        units: The unit of each impression, ``(N,)``.
        probabilities: What was predicted for each, ``(N,)``.
        before: How each was counted: 0 or 1, or -1 if it was not, ``(N,)``.
        after: How it is to be counted, ``(N,)``.
    """
    drawn = weights(units)  # (N, R)
    indices = (np.arange(REPLICATES) * BINS + bin_of(probabilities)[:, None]) * 2  # (N, R)
    for label, sign in ((np.asarray(before), -1), (np.asarray(after), 1)):
        chosen = label >= 0
        np.add.at(counts.reshape(-1), (indices[chosen] + label[chosen, None]).ravel(), sign * drawn[chosen].ravel())


def areas(counts: Counts) -> NDArray[np.float64]:
    """Return the AUC of each replicate, ``(R,)``, NaN where there is no pair; a tie counts half."""
    others, clicks = counts[..., 0].astype(np.float64), counts[..., 1].astype(np.float64)  # (R, B)
    below = np.cumsum(others, axis=1) - others / 2
    pairs = others.sum(axis=1) * clicks.sum(axis=1)
    found: NDArray[np.float64] = np.divide((clicks * below).sum(axis=1), pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
    return found


def auc(counts: Counts) -> tuple[float, float] | None:
    """Return the AUC and its standard error; None while they are not defined."""
    found = areas(counts)
    if np.isnan(found).any():
        return None
    return float(found[0]), float(found[1:].std(ddof=1))
