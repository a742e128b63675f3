"""The compressed interaction network beside the tower, forward and backward with the update; torch's twin is ``model.xdeepfm``.

Along each of the embedding's ``d`` positions a layer maps the products of the last layer's features and the input's.

Shapes: K layers, F fields, d the width of an embedding, H the feature maps of the layer at hand (F of the input), M the
most of them. Places: each layer's weight ``(H_{l-1} F, H_l)``, the output.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.layout import COLUMNS, ROWS
from model.maps import learn_each, map_each, output_backward, output_forward, sums_at, weights_at
from model.network import Network
from model.target import kernel


class Compressed(NamedTuple):
    """What a forward pass leaves for the backward pass: views of one array."""

    x: NDArray[Any]  # (K + 1, d, M), x[0] is the input
    gradient: NDArray[Any]  # (2, d, M)
    products: NDArray[Any]  # (2, d, M F), of the layer at hand, and their gradient
    pooled: NDArray[Any]  # (2, ΣH), every layer's features summed over d, and their gradient
    row: NDArray[Any]  # (M,)


def room(net: Network) -> int:
    """How many numbers :class:`Compressed` holds."""
    maps = net.places[:-1, COLUMNS]
    most = max(net.fields, maps.max())
    return int((len(maps) + 3 + 2 * net.fields) * net.embedding * most + 2 * maps.sum() + most)


@kernel
def compressed(net: Network, room: NDArray[Any]) -> Compressed:
    """Divide the room."""
    layers, d, most, outputs = net.places.shape[0] - 1, net.embedding, net.fields, net.places[-1, ROWS]
    for layer in range(layers):
        most = max(most, net.places[layer, COLUMNS])
    x = room[: (layers + 3) * d * most].reshape(layers + 3, d, most)
    rest = room[x.size :]
    products = rest[: 2 * d * most * net.fields].reshape(2, d, most * net.fields)
    rest = rest[products.size :]
    return Compressed(x[: layers + 1], x[layers + 1 :], products, rest[: 2 * outputs].reshape(2, outputs), rest[2 * outputs :])


@kernel
def multiply(kept: Compressed, layer: int, features: int, fields: int) -> None:
    """``products_{k, i F + j} = x^l_{k i} x^0_{k j}``."""
    for k in range(kept.x.shape[1]):
        x, x0, products = kept.x[layer, k], kept.x[0, k], kept.products[0, k]
        for i in range(features):
            for j in range(fields):
                products[i * fields + j] = x[i] * x0[j]


@kernel
def forward(net: Network, x: NDArray[Any], every: NDArray[np.int64], room: NDArray[Any]) -> Any:  # noqa: ARG001
    """``Σ_l w_l · Σ_k x^l_k`` with ``x^{l+1}_{k h} = Σ_ij W^l_{ij h} x^l_{k i} x^0_{k j}`` (xDeepFM's Eq. 6, 7 and 8)."""
    kept = compressed(net, room)
    d, fields, layers, at = net.embedding, net.fields, kept.x.shape[0] - 1, 0
    for f in range(fields):
        for k in range(d):
            kept.x[0, k, f] = x[f * d + k]
    for layer in range(layers):
        n = net.places[layer, COLUMNS]
        multiply(kept, layer, net.places[layer, ROWS] // fields, fields)
        map_each(net.dense[weights_at(net, layer)], n, kept.products[0], kept.x[layer + 1])
        for h in range(n):
            kept.pooled[0, at + h] = 0
            for k in range(d):
                kept.pooled[0, at + h] += kept.x[layer + 1, k, h]
        at += n
    return output_forward(net, kept.pooled[0])


@kernel
def backward(
    net: Network,
    every: NDArray[np.int64],  # noqa: ARG001
    room: NDArray[Any],
    slope: Any,
    rate: Any,
    below: NDArray[Any],
) -> Any:
    """Take one Adagrad step; add the input's gradient to ``below``. Gives a sum that is finite if and only if the step is."""
    kept = compressed(net, room)
    d, fields, layers, at = net.embedding, net.fields, kept.x.shape[0] - 1, kept.pooled.shape[1]
    here, of_input, of_products = kept.gradient[0], kept.gradient[1], kept.products[1]
    total = output_backward(net, kept.pooled[0], slope, rate, kept.pooled[1])
    here[...] = 0
    of_input[...] = 0
    for layer in range(layers - 1, -1, -1):
        features, n = net.places[layer, ROWS] // fields, net.places[layer, COLUMNS]
        at -= n
        for k in range(d):
            for h in range(n):
                here[k, h] += kept.pooled[1, at + h]
        multiply(kept, layer, features, fields)
        of_products[...] = 0
        total += learn_each(
            net.dense[weights_at(net, layer)], net.sums[sums_at(net, layer)], kept.products[0], here, rate, kept.row[:n], of_products
        )
        for k in range(d):
            x, x0 = kept.x[layer, k], kept.x[0, k]
            for i in range(features):
                pull = net.dense.dtype.type(0)
                for j in range(fields):
                    g = of_products[k, i * fields + j]
                    pull += g * x0[j]
                    of_input[k, j] += g * x[i]
                here[k, i] = pull
    for f in range(fields):
        for k in range(d):
            below[f * d + k] += of_input[k, f] + here[k, f]
    return total
