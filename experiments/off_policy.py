"""How a policy that never served would have done, from what was served by chance: from logged propensities.

Of n visits: r_i is what came of what was shown (1 for a click), p_i the chance with which it was shown, π_i the chance with which the
policy would show it, w_i = π_i / p_i; q(a) foretells r for a candidate.

    ips    = Σ w r / n                                        unbiased where every p is what it is said to be and above 0 where π is
    snips  = Σ w r / Σ w                                      a little biased, often much less spread; never above the largest r
    doubly = Σ ( Σ_a π(a) q(a) + w (r − q(shown)) ) / n       unbiased if p *or* q is right, and less spread the better q is

Swaminathan, Joachims: "The Self-Normalized Estimator for Counterfactual Learning", NIPS 2015; Dudík, Langford, Li: "Doubly Robust
Policy Evaluation and Learning", ICML 2011. Errors are over units, as everywhere.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Value(NamedTuple):
    """What a policy is worth a visit."""

    value: float
    error: float  # its standard error, over units
    effective: float  # (Σ w)² / Σ w²: as many visits by the policy itself would tell about as much


def ips(weights: Any, rewards: Any, units: Any) -> Value:
    """Return the estimate by inverse propensities.

    Args:
        weights: π / p of what was shown, ``(N,)``.
        rewards: What came of it, ``(N,)``.
        units: Whose visits they are, ``(N,)`` integers.
    """
    w, r = _floats(weights), _floats(rewards)
    return _mean(w * r, w, units)


def snips(weights: Any, rewards: Any, units: Any) -> Value:
    """Return the self-normalised estimate; the arguments are those of :func:`ips`."""
    w, r = _floats(weights), _floats(rewards)
    value = float((w @ r) / w.sum())
    return Value(value, _error(w * (r - value), units) / float(w.mean()), _effective(w))


def doubly(weights: Any, rewards: Any, units: Any, foretold: Any, expected: Any) -> Value:
    """Return the doubly robust estimate.

    Args:
        weights: π / p of what was shown, ``(N,)``.
        rewards: What came of it, ``(N,)``.
        units: Whose visits they are, ``(N,)`` integers.
        foretold: q of what was shown, ``(N,)``.
        expected: q of what the policy would show, Σ_a π(a) q(a), ``(N,)``.
    """
    w = _floats(weights)
    return _mean(_floats(expected) + w * (_floats(rewards) - _floats(foretold)), w, units)


def _mean(values: NDArray[np.float64], weights: NDArray[np.float64], units: Any) -> Value:
    value = float(values.mean())
    return Value(value, _error(values - value, units), _effective(weights))


def _error(residuals: NDArray[np.float64], units: Any) -> float:
    """Return the standard error of a mean, from residuals that are summed by unit."""
    _, unit = np.unique(np.asarray(units), return_inverse=True)
    sums = np.bincount(unit, residuals)
    count = len(sums)
    return float(np.sqrt(sums @ sums * count / max(count - 1, 1)) / len(residuals))


def _effective(weights: NDArray[np.float64]) -> float:
    return float(weights.sum() ** 2 / (weights @ weights))


def _floats(values: Any) -> NDArray[np.float64]:
    return np.asarray(values, np.float64)
