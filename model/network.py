"""A network as the kernels see it: flat arrays and where things lie in them, so that depth and widths are data, never types.

Shapes: L layers, W the widest of all layers and of the input, P parameters, A accumulators.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.layout import IN, OUT
from model.target import kernel


class Network(NamedTuple):
    """The dense half of a model, as the kernels see it."""

    dense: NDArray[Any]  # (P,)
    sums: NDArray[Any]  # (A,), Adagrad's accumulators
    layers: NDArray[np.int64]  # (L, columns), see model.layout
    output: int  # where the output weights, the bias and the default embeddings begin
    output_sum: int
    bias: int
    bias_sum: int
    defaults: int
    scale: int  # of the skip terms, and their activation: see model.terms
    activation: int
    normed: bool
    pre: bool  # the terms read a layer before ReLU
    wide: bool
    branch: int  # what stands beside the tower, see model.branch
    places: NDArray[np.int64]  # (P', 4), its parameters, see model.layout
    fields: int
    embedding: int
    heads: int  # of an attention layer


class Activations(NamedTuple):
    """What a forward pass leaves for the backward pass; allocated once for a run of examples."""

    x: NDArray[Any]  # (L + 1, W), a layer's output after ReLU; x[0] is the input
    read: NDArray[Any]  # (L + 1, W), what the layer's skip term reads: x, or the value before ReLU
    scale: NDArray[Any]  # (L + 1, W), s of the skip term
    bounded: NDArray[Any]  # (L + 1, W), act(s * read)
    active: NDArray[np.int64]  # (L + 1, W), the places where x is not silenced
    actives: NDArray[np.int64]  # (L + 1,), how many they are
    every: NDArray[np.int64]  # (W,), 0, 1, 2, …
    gradient: NDArray[Any]  # (4, W)


@kernel
def activations(layers: NDArray[np.int64], like: NDArray[Any]) -> Activations:
    """Room for one example's pass, of the float type of ``like``."""
    depth = layers.shape[0] + 1
    width = max(layers[:, IN].max(), layers[:, OUT].max())
    every = np.arange(width)
    active = np.zeros((depth, width), np.int64)
    active[0] = every
    actives = np.zeros(depth, np.int64)
    actives[0] = layers[0, IN]
    x = np.zeros((depth, width), like.dtype)
    return Activations(x, np.zeros_like(x), np.zeros_like(x), np.zeros_like(x), active, actives, every, np.zeros((4, width), like.dtype))
