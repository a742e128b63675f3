"""A network as the kernels see it: flat arrays and where things lie in them, so that depth and widths are data, never types.

Shapes: L layers, T ≥ L skip terms, W the widest of all layers and of the input, P parameters, A accumulators.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.kernels.memory import zeros

# The columns of ``Network.layers``: widths, then where each parameter and its accumulators start.
IN, OUT, WEIGHT, BIAS, WEIGHT_ACCUMULATORS, BIAS_ACCUMULATORS = range(6)

# The columns of ``Network.terms``: the width, then where each parameter starts. Its accumulators' start is ACCUMULATORS columns further.
WIDTH, META, SCALE, SKIP, SQUARE = range(5)
ACCUMULATORS = 4

# The columns of ``Network.branch_parameters``, a row for each parameter; a vector has one column.
ROWS, COLUMNS, START, ACCUMULATOR_START = range(4)


class Network(NamedTuple):
    """The dense half of a model, as the kernels see it; :class:`~model.layout.Layout` fills it in."""

    dense: NDArray[Any]  # (P,)
    accumulators: NDArray[Any]  # (A,), Adagrad's; (0,) where nothing is learned
    layers: NDArray[np.int64]  # (L, columns)
    terms: NDArray[np.int64]  # (T, columns): a row for each layer of the tower, then for each of the branch's that has a term
    output: int  # where the output weights, the bias and the default embeddings start, and the accumulators of the first two
    output_accumulator: int
    bias: int
    bias_accumulator: int
    defaults: int
    scale: int  # of the skip terms, and their activation: see model.terms
    activation: int
    normed: bool
    deferred: bool  # a meta learner's step is taken when its matrix is next read: see model.kernels.tower.skip
    pre: bool  # the tower's terms read a layer before ReLU
    wide: bool
    branch_parameters: NDArray[np.int64]  # (P', columns)
    fields: int
    embedding: int
    heads: int  # of an attention layer


class Activations(NamedTuple):
    """What a forward pass leaves for the backward pass; allocated once for a model."""

    x: NDArray[Any]  # (L + 1, W), a layer's output after ReLU; x[0] is the input
    skip_input: NDArray[Any]  # (T, W), what a skip term reads; of the tower's the value before ReLU, or x
    scale: NDArray[Any]  # (T, W), s of the skip term
    activated: NDArray[Any]  # (T, W), act(s * skip_input)
    active: NDArray[np.int64]  # (L + 1, W), the indices where x is not silenced
    active_count: NDArray[np.int64]  # (L + 1,), how many they are
    all_indices: NDArray[np.int64]  # 0, 1, 2, … as far as any input of the tower or of the branch goes
    gradient: NDArray[Any]  # (4, W)
    step: NDArray[Any]  # (W,), by which each row of the matrix at hand is to move
    deferred_step: NDArray[Any]  # (T, W), by which each row of a term's meta learner is still to move
    deferred_gradient: NDArray[Any]  # (T, W), along which


def activations(net: Network) -> Activations:
    """Allocate what one example's pass needs."""
    depth, width = len(net.layers) + 1, int(net.layers[:, [IN, OUT]].max())
    all_indices = np.arange(max(width, net.branch_parameters[:, [ROWS, COLUMNS]].max(initial=0)))
    active, active_count = np.zeros((depth, width), np.int64), np.zeros(depth, np.int64)
    active[0], active_count[0] = all_indices[:width], net.layers[0, IN]

    def scratch(*shape: int) -> NDArray[Any]:
        return zeros(shape, net.dense.dtype)

    terms = (len(net.terms), width)
    return Activations(
        x=scratch(depth, width),
        skip_input=scratch(*terms),
        scale=scratch(*terms),
        activated=scratch(*terms),
        active=active,
        active_count=active_count,
        all_indices=all_indices,
        gradient=scratch(4, width),
        step=scratch(width),
        deferred_step=scratch(*terms),
        deferred_gradient=scratch(*terms),
    )
