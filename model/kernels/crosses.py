"""What the values of two fields tell together, beyond what a model has predicted from them: a correction of its logit for each pair.

With p_i the model's prediction and y_i the label of an example, the correction of a pair of values is one step of Newton's method
towards the most likely one, under a prior around zero:

    Σ (y_i − p_i) / (Σ p_i (1 − p_i) + PRIOR)   over the examples with the pair whose labels are known

Pairs that fall into one of ``C`` cells share it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.encoding.features import Features
from model.kernels.target import inner_ordered_sum, ordered_sum

PRIOR = 4.0  # of the precision: a correction is about a half at most before anything is known
_FACTORS = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xFF51AFD7ED558CCD)


@inner_ordered_sum
def cell(one: Any, other: Any, cells: int) -> int:
    """Return where two keys are counted together; ``cells`` is a power of two."""
    mixed = one ^ (other * _FACTORS[0])
    mixed = (mixed ^ (mixed >> np.uint64(32))) * _FACTORS[1]
    return int((mixed >> np.uint64(32)) & np.uint64(cells - 1))


@ordered_sum
def correct(
    features: Features,
    ranges: NDArray[np.int64],
    predicted: NDArray[np.float64],
    labels: NDArray[np.float32],
    known: NDArray[np.int64],
    sums: NDArray[np.float64],
    corrections: NDArray[np.float64],
) -> None:
    """Correct N examples, each by those before it whose labels are known.

    Args:
        features: Their keys.
        ranges: Where those of the one and of the other field begin and end in each, ``(N, 4)``.
        predicted: The model's predictions, ``(N,)``.
        labels: 1 for a click, else 0, ``(N,)``.
        known: How many examples have a known label when each is shown, ``(N,)``; ascending, and none knows its own.
        sums: Room for the cells, ``(C, 2)``.
        corrections: What is added to each logit: the mean over its pairs, ``(N,)``.
    """
    keys, cells, counted = features.keys, len(sums), 0
    sums[:] = 0
    for n in range(len(labels)):
        while counted < known[n]:
            first, end, other_first, other_end = ranges[counted]
            rest, information = labels[counted] - predicted[counted], predicted[counted] * (1 - predicted[counted])
            for i in range(first, end):
                for j in range(other_first, other_end):
                    c = cell(keys[i], keys[j], cells)
                    sums[c, 0] += rest
                    sums[c, 1] += information
            counted += 1
        first, end, other_first, other_end = ranges[n]
        total = 0.0
        for i in range(first, end):
            for j in range(other_first, other_end):
                c = cell(keys[i], keys[j], cells)
                total += sums[c, 0] / (sums[c, 1] + PRIOR)
        corrections[n] = total / ((end - first) * (other_end - other_first))
