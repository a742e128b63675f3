"""Thompson sampling: a candidate is chosen as often as it may be the best, by what the model has learned of it so far.

The records of its values say how much that is. What value v adds to the logit is uncertain by the variance

    1 / (F / PRIOR² + n_v p (1 − p))

where n_v is how many examples with a decided label its record holds, and p (1 − p) what one of them tells of a logit (Laplace's
approximation; p is the candidate's predicted probability). A candidate's variance is the sum over its values in the F fields that are not
the same in all candidates (the others decide nothing between them), of several in one field that of their mean. Logits are taken to be
normal and independent of each other.

Chapelle, Li: "An Empirical Evaluation of Thompson Sampling", NIPS 2011.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.kernels.exploration import add_chances, threshold

Floats = NDArray[np.float64]

PRIOR = 0.2  # the spread of a candidate's logit, before anything is known of its values
LEAST = 1e-6  # of all chances, about: what is less, the integral does not tell from nothing
_LEAST_SPREAD = 1e-3
_NODES, _FEWEST_NODES = 128, 16
_MOST_WORK = 2_000_000  # candidates × chosen × nodes: a request for 500 of 1,000 must not hold up the others


def chances(means: Any, spreads: Any, count: int) -> Floats:
    """Return each candidate's chance to be among the ``count`` best, ``(N,)``; they sum to ``count``, or to N if there are fewer.

    The integral is within .005 of the true chances. Who chooses by what is returned chooses by exactly these chances.

    >>> chances([0.0, 0.0, -9.0], [1.0, 1.0, 1.0], 1).round(3)
    array([0.5, 0.5, 0. ])

    Args:
        means: The mean of each candidate's logit, ``(N,)``.
        spreads: Its standard deviation, ``(N,)``.
        count: How many are chosen.
    """
    means, spreads = np.array(means, np.float64), np.maximum(np.array(spreads, np.float64), _LEAST_SPREAD)
    n = len(means)
    if count >= n:
        return np.ones(n)
    found = np.zeros(n)
    add_chances(means, spreads, _nodes(means, spreads, count), np.empty((n + 1, count)), np.empty(count), np.empty((3, n)), found)
    return _summing_to(count, np.maximum(found, LEAST))


def _nodes(means: Floats, spreads: Floats, count: int) -> Floats:
    """Return where the integrand is computed, ascending: where the ``count``-th largest logit may lie.

    Below the first of them fewer than ``count`` lie above, and above the last of them ``count`` do, with a chance of 1 in 1,000 at most.
    """
    expected = count + 3 * math.sqrt(count) + 6
    low = threshold(means, spreads, expected) if expected < len(means) else float((means - 4 * spreads).min())
    nodes = min(_NODES, max(_FEWEST_NODES, _MOST_WORK // (count * len(means))))
    return np.linspace(low, threshold(means, spreads, count / math.e * 10 ** (-3 / count)), nodes)


def _summing_to(count: int, found: Floats) -> Floats:
    """Return the chances in proportion, so that they sum to ``count``; none is above 1. There are more than ``count``."""
    certain = np.zeros(len(found), np.bool_)
    while True:
        found = np.where(certain, 1.0, found * ((count - certain.sum()) / found[~certain].sum()))
        if not (found > 1).any():
            return found
        certain |= found > 1
