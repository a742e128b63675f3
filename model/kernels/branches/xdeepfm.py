"""The compressed interaction network beside the tower, forward and backward with the update; ``model.networks.xdeepfm`` defines it.

Along each of the embedding's ``d`` positions a layer maps the products of the last layer's features and the input's. No product is
formed: ``Σ_ij W_ij x_i x⁰_j = Σ_j x⁰_j Σ_i x_i W_i``, so that a weight is a matrix ``(H_{l-1}, F H_l)`` like any other.

Shapes: K layers, F fields, d the width of an embedding, H the feature maps of the current layer (F of the input), M the
most of them. Parameters, by index: each layer's weight ``(H_{l-1} F, H_l)``, the output.
"""

from typing import Any, NamedTuple

from numpy.typing import NDArray

from model.kernels.branches.parameters import accumulators_at, learn_each, map_each, output_backward, output_forward, weights_at
from model.kernels.matrix import affine
from model.kernels.memory import Scratch, array1, array2, array3
from model.kernels.network import COLUMNS, Activations, Network
from model.kernels.target import inner


class Compressed(NamedTuple):
    """What a forward pass leaves for the backward pass."""

    x: NDArray[Any]  # (K + 1, d, M), x[0] is the input
    gradient: NDArray[Any]  # (2, d, M)
    mixed: NDArray[Any]  # (K + 1, d, F M), Σ_i x_i W_i of each layer, and the gradient of it
    pooled: NDArray[Any]  # (2, ΣH), every layer's features summed over d, and their gradient
    row: NDArray[Any]  # (F M,)
    zeros: NDArray[Any]  # (F M,)


def scratch_shapes(net: Network) -> dict[str, tuple[int, ...]]:
    """Return the shape of each of :class:`Compressed`."""
    maps = net.branch_parameters[:-1, COLUMNS]
    layers, d, most = len(maps), net.embedding, max(net.fields, maps.max())
    wide = most * net.fields
    return {
        "x": (layers + 1, d, most),
        "gradient": (2, d, most),
        "mixed": (layers + 1, d, wide),
        "pooled": (2, maps.sum()),
        "row": (wide,),
        "zeros": (wide,),
    }


@inner
def compressed(scratch: Scratch) -> Compressed:
    """Return the scratch arrays by their names."""
    return Compressed(
        array3(scratch, 0), array3(scratch, 1), array3(scratch, 2), array2(scratch, 3), array1(scratch, 4), array1(scratch, 5)
    )


@inner
def forward(net: Network, act: Activations, scratch: Scratch) -> Any:
    """Return ``Σ_l w_l · Σ_k x^l_k`` with ``x^{l+1}_{k h} = Σ_ij W^l_{ij h} x^l_{k i} x^0_{k j}`` (xDeepFM's Eq. 6, 7 and 8)."""
    kept = compressed(scratch)
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


@inner
def unmix(x0: NDArray[Any], grad_x: NDArray[Any], mixed: NDArray[Any], grad_mixed: NDArray[Any], grad_x0: NDArray[Any]) -> None:
    """Go back through ``x_h = Σ_j x⁰_j u_jh`` at one position: ``∂u_jh = x⁰_j ∂x_h`` and ``∂x⁰_j += u_j · ∂x``."""
    n = grad_x.shape[0]
    for j in range(grad_x0.shape[0]):
        u, grad_u, xj = mixed[j * n : j * n + n], grad_mixed[j * n : j * n + n], x0[j]
        dot = grad_x.dtype.type(0)
        for h in range(n):
            dot += u[h] * grad_x[h]
            grad_u[h] = xj * grad_x[h]
        grad_x0[j] += dot


@inner
def backward(net: Network, act: Activations, scratch: Scratch, dlogit: Any, rate: Any) -> Any:
    """Take one Adagrad step; add the input's gradient to ``act.gradient[0]``. Return a sum that is finite if and only if the step is."""
    kept = compressed(scratch)
    d, fields, layers, at = net.embedding, net.fields, kept.x.shape[0] - 1, kept.pooled.shape[1]
    grad_x, grad_x0, grad_mixed = kept.gradient[0], kept.gradient[1], kept.mixed[layers]
    total = output_backward(net, kept.pooled[0], dlogit, rate, kept.pooled[1])
    kept.gradient[...] = 0
    for layer in range(layers - 1, -1, -1):
        n = net.branch_parameters[layer, COLUMNS]
        at -= n
        for k in range(d):
            for h in range(n):
                grad_x[k, h] += kept.pooled[1, at + h]
            unmix(kept.x[0, k], grad_x[k, :n], kept.mixed[layer, k], grad_mixed[k], grad_x0[k, :fields])
        grad_x[...] = 0
        weight, accumulators = net.dense[weights_at(net, layer)], net.accumulators[accumulators_at(net, layer)]
        total += learn_each(weight, accumulators, kept.x[layer], grad_mixed, rate, kept.row[: fields * n], grad_x)
    for f in range(fields):
        for k in range(d):
            act.gradient[0, f * d + k] += grad_x0[k, f] + grad_x[k, f]
    return total
