"""The first layer of several examples at once: it is most of a network, and is read from memory once for all instead of once for each.

Each sum keeps the order that it has for an example alone, so that its bits are the same.

Shapes: T examples at most, W the widest of all layers and of the input, ``n`` the width of the first layer.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.kernels.matrix import affine, affine_each
from model.kernels.memory import zeros
from model.kernels.network import BIAS, IN, META, OUT, SCALE, WEIGHT, Activations, Network
from model.kernels.target import inner
from model.terms import FROM_LAYER

MOST = 32  # T, an even number: what they begin with stays in the cache


class Batch(NamedTuple):
    """Some examples whose passes begin together; allocated once for a model."""

    x: NDArray[Any]  # (T, W), their inputs
    z: NDArray[Any]  # (T, W), the first layer before ReLU
    scale: NDArray[Any]  # (T, W), what its meta learner makes of that, before it is bounded: M z + b


def batch_of(net: Network) -> Batch:
    """Allocate what the passes of some examples begin with."""
    shape = MOST, int(net.layers[:, [IN, OUT]].max())
    return Batch(zeros(shape, net.dense.dtype), zeros(shape, net.dense.dtype), zeros(shape, net.dense.dtype))


@inner
def begin(net: Network, batch: Batch, indices: NDArray[np.int64], count: int) -> None:
    """Begin the passes of ``count`` inputs; what all have in their first fields, such as those of a request's context, is summed once."""
    p, at, term = net.dense, net.layers[0], net.terms[0]
    n, shared = at[OUT], leading(batch.x, at[IN], count)
    weight, begun = p[at[WEIGHT] : at[WEIGHT] + at[IN] * n], batch.scale[0, :n]  # for a moment
    affine(weight, p[at[BIAS] : at[BIAS] + n], batch.x[0], indices[:shared], begun)
    affine_each(weight, begun, batch.x, shared, count, batch.z)
    if net.scale == FROM_LAYER and net.pre:
        meta, bias = p[term[META] : term[META] + n * n], p[term[SCALE] : term[SCALE] + n]
        affine_each(meta, bias, batch.z, np.int64(0), count, batch.scale)  # of 0 it would be compiled anew


@inner
def leading(x: NDArray[Any], inputs: int, count: int) -> int:
    """Return how many of the first inputs ``count`` examples share: a multiple of four, as a sum takes four inputs at a time."""
    same = inputs
    for t in range(1, count):
        k = 0
        while k < same and x[t, k] == x[0, k]:
            k += 1
        same = k
    return same // 4 * 4


@inner
def take(net: Network, act: Activations, batch: Batch, t: int) -> None:
    """Make example ``t`` the one at hand, whose pass has begun."""
    n = net.layers[0, OUT]
    for k in range(net.layers[0, IN]):
        act.x[0, k] = batch.x[t, k]
    for k in range(n):
        act.skip_input[0, k], act.scale[0, k] = batch.z[t, k], batch.scale[t, k]
