"""The wide term alone: the logit without the deep part, and which values the table does not hold yet.

Axes: N examples, F fields.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.features import Features
from model.kernels.table import find
from model.kernels.target import kernel
from model.weights import Weights


def wide_logits(weights: Weights, features: Features, unseen: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the bias and the values' own weights, summed for each example, ``(N,)``: the logit as if there were no network.

    Args:
        weights: The weights, of which nothing changes.
        features: The examples.
        unseen: ``(F,)``, of each field: the values among the examples that have no row are added.
    """
    model, fields = weights.spec.model, len(weights.spec.fields)
    logits = np.full((len(features.starts) - 1) // fields, float(weights.layout.bias.of(weights.dense)[0]))
    features = features.contiguous(len(logits))
    _add_wide(weights.keys, weights.rows, model.wide, features.keys, features.starts, unseen, logits)
    return logits


@kernel
def _add_wide(
    keys: NDArray[np.uint64],
    rows: NDArray[Any],
    wide: bool,
    values: NDArray[np.uint64],
    starts: NDArray[np.int64],
    unseen: NDArray[np.int64],
    logits: NDArray[np.float64],
) -> None:
    fields = unseen.shape[0]
    for n in range(logits.shape[0]):
        for f in range(fields):
            start, end = starts[n * fields + f], starts[n * fields + f + 1]
            for i in range(start, end):
                row = find(keys, values[i])
                if row < 0:
                    unseen[f] += 1
                elif wide:
                    logits[n] += rows[row, -1] / (end - start)
