"""The wide term alone: the logit without the deep part, and which values the table does not hold yet.

Axes: N examples, F fields.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.encoding.features import Features
from model.kernels.rows.table import find
from model.kernels.target import kernel
from model.weights import Weights


def wide_logits(
    weights: Weights, features: Features, start: int, step: int, values: NDArray[np.int64], unseen: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the bias and the values' own weights, summed for an example: the logit as if there were no network, ``(N,)``.

    Args:
        weights: The weights, of which nothing changes.
        features: The examples.
        start: The first example to look at; of those before it, and between those looked at, the logit is NaN.
        step: How far it is to the next one.
        values: ``(F,)``, to which how many values of each field were looked at is added.
        unseen: ``(F,)``, to which how many of them have no row is added.
    """
    logits = np.full((len(features.starts) - 1) // len(values), np.nan)
    features = features.contiguous(len(logits))
    bias = float(weights.layout.bias.of(weights.dense)[0])
    _look(weights.keys, weights.rows, weights.spec.model.wide, bias, features.keys, features.starts, start, step, values, unseen, logits)
    return logits


@kernel
def _look(
    keys: NDArray[np.uint64],
    rows: NDArray[Any],
    wide: bool,
    bias: float,
    wanted: NDArray[np.uint64],
    starts: NDArray[np.int64],
    first: int,
    step: int,
    values: NDArray[np.int64],
    unseen: NDArray[np.int64],
    logits: NDArray[np.float64],
) -> None:
    fields = values.shape[0]
    for n in range(first, logits.shape[0], step):
        logit = bias
        for f in range(fields):
            start, end = starts[n * fields + f], starts[n * fields + f + 1]
            values[f] += end - start
            for i in range(start, end):
                row = find(keys, wanted[i])
                if row < 0:
                    unseen[f] += 1
                elif wide:
                    logit += rows[row, -1] / (end - start)
        logits[n] = logit
