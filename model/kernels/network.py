"""A network as the kernels see it: flat arrays and where things lie in them, so that depth and widths are data, never types.

Shapes: L layers, T ≥ L skip terms, W the widest of all layers and of the input, P parameters, A accumulators.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.kernels.aligned import zeros
from model.layout import COLUMNS, IN, OUT, ROWS


class Network(NamedTuple):
    """The dense half of a model, as the kernels see it."""

    dense: NDArray[Any]  # (P,)
    accumulators: NDArray[Any]  # (A,), Adagrad's accumulators; (0,) where nothing is learned
    layers: NDArray[np.int64]  # (L, columns), see model.layout
    terms: NDArray[np.int64]  # (T, columns): a row for each layer of the tower, then for each of the branch's that has a term
    output: int  # where the output weights, the bias and the default embeddings begin
    output_accumulators: int
    bias: int
    bias_accumulator: int
    defaults: int
    scale: int  # of the skip terms, and their activation: see model.terms
    activation: int
    normed: bool
    pre: bool  # the tower's terms read a layer before ReLU
    wide: bool
    branch: int  # what stands beside the tower, see model.kernels.branch
    branch_parameters: NDArray[np.int64]  # (P', 4), its parameters, see model.layout
    fields: int
    embedding: int
    heads: int  # of an attention layer


class Activations(NamedTuple):
    """What a forward pass leaves for the backward pass; allocated once for a model."""

    x: NDArray[Any]  # (L + 1, W), a layer's output after ReLU; x[0] is the input
    skip_input: NDArray[Any]  # (T, W), what a skip term reads; of the tower's the value before ReLU, or x
    scale: NDArray[Any]  # (T, W), s of the skip term
    bounded: NDArray[Any]  # (T, W), act(s * read)
    active: NDArray[np.int64]  # (L + 1, W), the indices where x is not silenced
    actives: NDArray[np.int64]  # (L + 1,), how many they are
    all_indices: NDArray[np.int64]  # 0, 1, 2, … as far as any input of the tower or of the branch goes
    gradient: NDArray[Any]  # (4, W)
    step: NDArray[Any]  # (W,), by which each row of the matrix at hand is to move
    deferred: NDArray[Any]  # (T, W), by which each row of a term's meta learner is still to move
    deferred_gradient: NDArray[Any]  # (T, W), along which


def activations(net: Network) -> Activations:
    """Return scratch for one example's pass."""
    depth, width = len(net.layers) + 1, int(net.layers[:, [IN, OUT]].max())
    all_indices = np.arange(max(width, net.branch_parameters[:, [ROWS, COLUMNS]].max(initial=0)))
    active, actives = np.zeros((depth, width), np.int64), np.zeros(depth, np.int64)
    active[0], actives[0] = all_indices[:width], net.layers[0, IN]

    def scratch(*shape: int) -> NDArray[Any]:
        return zeros(shape, net.dense.dtype)

    terms = (len(net.terms), width)
    return Activations(
        x=scratch(depth, width),
        skip_input=scratch(*terms),
        scale=scratch(*terms),
        bounded=scratch(*terms),
        active=active,
        actives=actives,
        all_indices=all_indices,
        gradient=scratch(4, width),
        step=scratch(width),
        deferred=scratch(*terms),
        deferred_gradient=scratch(*terms),
    )
