"""How uncertain a logit is, and how likely it is among the largest: what a choice by Thompson sampling is made of.

N candidates have independent, normally distributed logits, each with its mean and its spread, the standard deviation.
"""

from math import erfc, sqrt

import numpy as np
from numpy.typing import NDArray

from model.encoding.features import Features
from model.kernels.rows.record import Records, decided
from model.kernels.rows.table import find
from model.kernels.target import inner, kernel

Floats = NDArray[np.float64]

_HALVINGS = 50
_FAR = 9.0  # spreads: nothing is farther from its mean


@inner
def same_in_all(features: Features, fields: int, field: int) -> bool:
    """Return whether all examples hold the same values in a field: those of the context, most of all."""
    keys, starts = features.keys, features.starts
    length = starts[field + 1] - starts[field]
    for first in range(field + fields, starts.shape[0] - 1, fields):
        if starts[first + 1] - starts[first] != length:
            return False
        for i in range(length):
            if keys[starts[first] + i] != keys[starts[field] + i]:
                return False
    return True


@kernel
def add_variances(
    keys: NDArray[np.uint64], records: Records, features: Features, fields: int, prior: float, told: Floats, variances: Floats
) -> None:
    """Add to ``variances (N,)`` that of each example's logit, as far as it is its own.

    Args:
        keys: The table's.
        records: The table's.
        features: N examples.
        fields: How many fields each has.
        prior: The variance of what all values together add to the logit, before anything is known of them.
        told: What one more example tells of that, p (1 − p), ``(N,)``.
        variances: ``(N,)``.
    """
    own = 0
    for f in range(fields if variances.shape[0] > 1 else 0):
        own += not same_in_all(features, fields, f)
    for f in range(fields if own else 0):
        if same_in_all(features, fields, f):
            continue
        for n in range(variances.shape[0]):
            start, end = features.starts[n * fields + f], features.starts[n * fields + f + 1]
            for i in range(start, end):
                row, seen = find(keys, features.keys[i]), 0.0
                if row >= 0:
                    seen = float(decided(records, row, features.times[n] // records.delay)[0])
                variances[n] += 1 / (own / prior + seen * told[n]) / float(end - start) ** 2


@inner
def above(mean: float, spread: float, x: float) -> float:
    """Return the chance that a logit is above ``x``."""
    return 0.5 * erfc((x - mean) / (spread * sqrt(2.0)))


@kernel
def threshold(means: Floats, spreads: Floats, count: float) -> float:
    """Return the x above which ``count`` of the logits are on average."""
    low, high = means[0], means[0]
    for i in range(means.shape[0]):
        low, high = min(low, means[i] - _FAR * spreads[i]), max(high, means[i] + _FAR * spreads[i])
    for _ in range(_HALVINGS):
        x, total = 0.5 * (low + high), 0.0
        for i in range(means.shape[0]):
            total += above(means[i], spreads[i], x)
        if total > count:
            low = x
        else:
            high = x
    return float(high)


@kernel
def add_chances(means: Floats, spreads: Floats, nodes: Floats, fewer: Floats, rest: Floats, last: Floats, chances: Floats) -> None:
    """Add to ``chances (N,)`` that of each logit to be among the K largest, by the trapezoidal rule over its distribution F.

        P(i) = ∫ P(fewer than K of the others are above x) dF_i(x)

    Of the others, those before i and those after it are counted apart: no sum has a negative term, so nothing cancels.

    Args:
        means: ``(N,)``
        spreads: Above 0, ``(N,)``.
        nodes: The values of x, ascending.
        fewer: Scratch, ``(N + 1, K)``: the chance that of the logits before i, c are above x.
        rest: Scratch, ``(K,)``: the chance that of those after it, c or fewer are.
        last: Scratch, ``(3, N)``: the chance to be above x, that to be above the node before, and the integrand there.
        chances: ``(N,)``
    """
    count, most = means.shape[0], rest.shape[0]
    last[1, :], last[2, :] = 1.0, 0.0
    fewer[0, :] = 0.0
    fewer[0, 0] = 1.0
    for x in nodes:
        for i in range(count):
            r = last[0, i] = above(means[i], spreads[i], x)
            fewer[i + 1, 0] = fewer[i, 0] * (1 - r)
            for c in range(1, most):
                fewer[i + 1, c] = fewer[i, c] * (1 - r) + fewer[i, c - 1] * r
        rest[:] = 1.0
        for i in range(count - 1, -1, -1):
            r, p = last[0, i], 0.0
            for c in range(most):
                p += fewer[i, c] * rest[most - 1 - c]
            chances[i] += 0.5 * (last[1, i] - r) * (last[2, i] + p)
            last[1, i], last[2, i] = r, p
            for c in range(most - 1, 0, -1):
                rest[c] = rest[c] * (1 - r) + rest[c - 1] * r
            rest[0] *= 1 - r
    for i in range(count):
        chances[i] += 0.5 * last[1, i] * (last[2, i] + 1.0)
