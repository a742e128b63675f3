"""The compressed interaction network beside the tower, forward and backward with the update; in torch it is ``model.networks.xdeepfm``.

Along each of the embedding's ``d`` positions a layer maps the products of the last layer's features and the input's. No product is
formed: ``Σ_ij W_ij x_i x⁰_j = Σ_j x⁰_j Σ_i x_i W_i``, so that a weight is a matrix ``(H_{l-1}, F H_l)`` like any other.

Shapes: K layers, F fields, d the width of an embedding, H the feature maps of the layer at hand (F of the input), M the
most of them. Places: each layer's weight ``(H_{l-1} F, H_l)``, the output.
"""

from typing import Any, NamedTuple

from numpy.typing import NDArray

from model.kernels.branch_parameters import accumulators_at, learn_each, map_each, output_backward, output_forward, weights_at
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


def scratch(net: Network) -> int:
    """Return how many numbers :class:`Compressed` holds."""
    maps = net.branch_parameters[:-1, COLUMNS]
    most = max(net.fields, maps.max())
    layers, d = len(maps), net.embedding
    return int(((layers + 3) * d + ((layers + 1) * d + 2) * net.fields) * most + 2 * maps.sum())


@kernel
def compressed(net: Network, scratch: NDArray[Any]) -> Compressed:
    """Divide the scratch."""
    layers, d, most, outputs = net.branch_parameters.shape[0] - 1, net.embedding, net.fields, net.branch_parameters[-1, ROWS]
    for layer in range(layers):
        most = max(most, net.branch_parameters[layer, COLUMNS])
    wide = most * net.fields
    x = scratch[: (layers + 3) * d * most].reshape(layers + 3, d, most)
    rest = scratch[x.size :]
    mixed = rest[: (layers + 1) * d * wide].reshape(layers + 1, d, wide)
    rest = rest[mixed.size :]
    pooled = rest[: 2 * outputs].reshape(2, outputs)
    rest = rest[pooled.size :]
    return Compressed(x[: layers + 1], x[layers + 1 :], mixed, pooled, rest[:wide], rest[wide:])


@kernel
def forward(net: Network, act: Activations, scratch: NDArray[Any]) -> Any:
    """``Σ_l w_l · Σ_k x^l_k`` with ``x^{l+1}_{k h} = Σ_ij W^l_{ij h} x^l_{k i} x^0_{k j}`` (xDeepFM's Eq. 6, 7 and 8)."""
    kept = compressed(net, scratch)
    d, fields, layers, at = net.embedding, net.fields, kept.x.shape[0] - 1, 0
    for f in range(fields):
        for k in range(d):
            kept.x[0, k, f] = act.x[0, f * d + k]
    for layer in range(layers):
        n, mixed, above = net.branch_parameters[layer, COLUMNS], kept.mixed[layer], kept.x[layer + 1]
        map_each(net.dense[weights_at(net, layer)], kept.zeros[: fields * n], kept.x[layer], act.all_indices, mixed)
        pooled = kept.pooled[0, at : at + n]
        pooled[...] = 0
        for k in range(d):
            affine(mixed[k, : fields * n], kept.zeros[:n], kept.x[0, k], act.all_indices[:fields], above[k, :n])
            for h in range(n):
                pooled[h] += above[k, h]
        at += n
    return output_forward(net, kept.pooled[0])


@kernel
def unmix(x0: NDArray[Any], grad_out: NDArray[Any], mixed: NDArray[Any], grad_mixed: NDArray[Any], grad_input: NDArray[Any]) -> None:
    """At one position, through ``x_h = Σ_j x⁰_j u_jh``: ``∂u_jh = x⁰_j ∂x_h`` and ``∂x⁰_j += u_j · ∂x``."""
    n = grad_out.shape[0]
    for j in range(grad_input.shape[0]):
        u, grad_u, xj = mixed[j * n : j * n + n], grad_mixed[j * n : j * n + n], x0[j]
        grad_xj = grad_out.dtype.type(0)
        for h in range(n):
            grad_xj += u[h] * grad_out[h]
            grad_u[h] = xj * grad_out[h]
        grad_input[j] += grad_xj


@kernel
def backward(net: Network, act: Activations, scratch: NDArray[Any], dlogit: Any, rate: Any) -> Any:
    """Take one Adagrad step; add the input's gradient to ``act.gradient[0]``. Return a sum that is finite if and only if the step is."""
    kept = compressed(net, scratch)
    d, fields, layers, at = net.embedding, net.fields, kept.x.shape[0] - 1, kept.pooled.shape[1]
    grad_out, grad_input, grad_mixed = kept.gradient[0], kept.gradient[1], kept.mixed[layers]
    total = output_backward(net, kept.pooled[0], dlogit, rate, kept.pooled[1])
    kept.gradient[...] = 0
    for layer in range(layers - 1, -1, -1):
        n = net.branch_parameters[layer, COLUMNS]
        at -= n
        for k in range(d):
            for h in range(n):
                grad_out[k, h] += kept.pooled[1, at + h]
            unmix(kept.x[0, k], grad_out[k, :n], kept.mixed[layer, k], grad_mixed[k], grad_input[k, :fields])
        grad_out[...] = 0
        weight, accumulators, row = net.dense[weights_at(net, layer)], net.accumulators[accumulators_at(net, layer)], kept.row[: fields * n]
        total += learn_each(weight, accumulators, kept.x[layer], grad_mixed, rate, row, grad_out)
    for f in range(fields):
        for k in range(d):
            act.gradient[0, f * d + k] += grad_input[k, f] + grad_out[k, f]
    return total
