"""The compressed interaction network beside the tower, forward and backward with the update; torch's twin is ``model.networks.xdeepfm``.

Along each of the embedding's ``d`` positions a layer maps the products of the last layer's features and the input's. No product is
formed: ``Σ_ij W_ij x_i x⁰_j = Σ_j x⁰_j Σ_i x_i W_i``, so that a weight is a matrix ``(H_{l-1}, F H_l)`` like any other.

Shapes: K layers, F fields, d the width of an embedding, H the feature maps of the layer at hand (F of the input), M the
most of them. Places: each layer's weight ``(H_{l-1} F, H_l)``, the output.
"""

from typing import Any, NamedTuple

from numpy.typing import NDArray

from model.kernels.branch_parameters import learn_each, map_each, output_backward, output_forward, sums_at, weights_at
from model.kernels.matrix import affine
from model.kernels.network import Activations, Network
from model.kernels.target import kernel
from model.layout import COLUMNS, ROWS


class Compressed(NamedTuple):
    """What a forward pass leaves for the backward pass: views of one array."""

    x: NDArray[Any]  # (K + 1, d, M), x[0] is the input
    gradient: NDArray[Any]  # (2, d, M)
    mixed: NDArray[Any]  # (K + 1, d, F M), Σ_i x_i W_i of each layer, and the gradient of it
    pooled: NDArray[Any]  # (2, ΣH), every layer's features summed over d, and their gradient
    row: NDArray[Any]  # (F M,)
    zeros: NDArray[Any]  # (F M,)


def room(net: Network) -> int:
    """Return how many numbers :class:`Compressed` holds."""
    maps = net.places[:-1, COLUMNS]
    most = max(net.fields, maps.max())
    layers, d = len(maps), net.embedding
    return int(((layers + 3) * d + ((layers + 1) * d + 2) * net.fields) * most + 2 * maps.sum())


@kernel
def compressed(net: Network, room: NDArray[Any]) -> Compressed:
    """Divide the room."""
    layers, d, most, outputs = net.places.shape[0] - 1, net.embedding, net.fields, net.places[-1, ROWS]
    for layer in range(layers):
        most = max(most, net.places[layer, COLUMNS])
    wide = most * net.fields
    x = room[: (layers + 3) * d * most].reshape(layers + 3, d, most)
    rest = room[x.size :]
    mixed = rest[: (layers + 1) * d * wide].reshape(layers + 1, d, wide)
    rest = rest[mixed.size :]
    pooled = rest[: 2 * outputs].reshape(2, outputs)
    rest = rest[pooled.size :]
    return Compressed(x[: layers + 1], x[layers + 1 :], mixed, pooled, rest[:wide], rest[wide:])


@kernel
def forward(net: Network, act: Activations, room: NDArray[Any]) -> Any:
    """``Σ_l w_l · Σ_k x^l_k`` with ``x^{l+1}_{k h} = Σ_ij W^l_{ij h} x^l_{k i} x^0_{k j}`` (xDeepFM's Eq. 6, 7 and 8)."""
    kept = compressed(net, room)
    d, fields, layers, at = net.embedding, net.fields, kept.x.shape[0] - 1, 0
    for f in range(fields):
        for k in range(d):
            kept.x[0, k, f] = act.x[0, f * d + k]
    for layer in range(layers):
        n, mixed, above = net.places[layer, COLUMNS], kept.mixed[layer], kept.x[layer + 1]
        map_each(net.dense[weights_at(net, layer)], kept.zeros[: fields * n], kept.x[layer], act.every, mixed)
        pooled = kept.pooled[0, at : at + n]
        pooled[...] = 0
        for k in range(d):
            affine(mixed[k, : fields * n], kept.zeros[:n], kept.x[0, k], act.every[:fields], above[k, :n])
            for h in range(n):
                pooled[h] += above[k, h]
        at += n
    return output_forward(net, kept.pooled[0])


@kernel
def unmix(x0: NDArray[Any], here: NDArray[Any], mixed: NDArray[Any], of_mixed: NDArray[Any], of_input: NDArray[Any]) -> None:
    """At one position, through ``x_h = Σ_j x⁰_j u_jh``: ``∂u_jh = x⁰_j ∂x_h`` and ``∂x⁰_j += u_j · ∂x``."""
    n = here.shape[0]
    for j in range(of_input.shape[0]):
        u, of_u, xj = mixed[j * n : j * n + n], of_mixed[j * n : j * n + n], x0[j]
        pull = here.dtype.type(0)
        for h in range(n):
            pull += u[h] * here[h]
            of_u[h] = xj * here[h]
        of_input[j] += pull


@kernel
def backward(net: Network, act: Activations, room: NDArray[Any], slope: Any, rate: Any) -> Any:
    """Take one Adagrad step; add the input's gradient to ``act.gradient[0]``. Gives a sum that is finite if and only if the step is."""
    kept = compressed(net, room)
    d, fields, layers, at = net.embedding, net.fields, kept.x.shape[0] - 1, kept.pooled.shape[1]
    here, of_input, of_mixed = kept.gradient[0], kept.gradient[1], kept.mixed[layers]
    total = output_backward(net, kept.pooled[0], slope, rate, kept.pooled[1])
    kept.gradient[...] = 0
    for layer in range(layers - 1, -1, -1):
        n = net.places[layer, COLUMNS]
        at -= n
        for k in range(d):
            for h in range(n):
                here[k, h] += kept.pooled[1, at + h]
            unmix(kept.x[0, k], here[k, :n], kept.mixed[layer, k], of_mixed[k], of_input[k, :fields])
        here[...] = 0
        weight, sums, row = net.dense[weights_at(net, layer)], net.sums[sums_at(net, layer)], kept.row[: fields * n]
        total += learn_each(weight, sums, kept.x[layer], of_mixed, rate, row, here)
    for f in range(fields):
        for k in range(d):
            act.gradient[0, f * d + k] += of_input[k, f] + here[k, f]
    return total
