"""Self-attention over the fields beside the tower, forward and backward with the update; ``model.networks.autoint`` defines it.

Shapes: L layers, F fields, H heads, n = H times a head's width, W the widest of all layers and of an embedding.
Parameters, by index: each layer's query, key, value and residual weights ``(in, n)``, the output ``(F n,)``.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.kernels.branches.parameters import accumulators_at, learn_each, map_each, output_backward, output_forward, weights_at
from model.kernels.intrinsics import SINGLE, power_of_two
from model.kernels.matrix import affine
from model.kernels.memory import Scratch, array1, array2, array3, array4
from model.kernels.network import COLUMNS, Activations, Network
from model.kernels.target import inner

PARTS = 4
QUERY, KEY, VALUE, RESIDUAL = range(PARTS)


class Attended(NamedTuple):
    """What a forward pass leaves for the backward pass."""

    x: NDArray[Any]  # (L + 1, F, W), x[0] is the input
    mapped: NDArray[Any]  # (L, 4, F, W), query, key, value, residual
    grad_mapped: NDArray[Any]  # (4, F, W), their gradient in the current layer
    gradient: NDArray[Any]  # (2, F, W)
    flat: NDArray[Any]  # (2, F W), the last layer's output, and its gradient
    share: NDArray[Any]  # (L, H, F, F), how much a field attends to each other
    transposed: NDArray[Any]  # (4, W F), a head's keys and values (width, F), then (F, width), each contiguous
    grad_share: NDArray[Any]  # (F,)
    row: NDArray[Any]  # (W,)
    zeros: NDArray[Any]  # (max(F, W),)


def scratch_shapes(net: Network) -> dict[str, tuple[int, ...]]:
    """Return the shape of each of :class:`Attended`."""
    layers, fields, width = len(net.branch_parameters) // PARTS, net.fields, max(net.embedding, net.branch_parameters[:-1, COLUMNS].max())
    return {
        "x": (layers + 1, fields, width),
        "mapped": (layers, PARTS, fields, width),
        "grad_mapped": (PARTS, fields, width),
        "gradient": (2, fields, width),
        "flat": (2, fields * width),
        "share": (layers, net.heads, fields, fields),
        "transposed": (4, fields * width),
        "grad_share": (fields,),
        "row": (width,),
        "zeros": (max(fields, width),),
    }


@inner
def attended(scratch: Scratch) -> Attended:
    """Return the scratch arrays by their names."""
    return Attended(
        array3(scratch, 0),
        array4(scratch, 1),
        array3(scratch, 2),
        array3(scratch, 3),
        array2(scratch, 4),
        array4(scratch, 5),
        array2(scratch, 6),
        array1(scratch, 7),
        array1(scratch, 8),
        array1(scratch, 9),
    )


@inner
def exponential(values: NDArray[Any], most: Any) -> None:
    """Compute ``exp(v_k - most)`` in place. In single precision ``2ⁿ p(r)`` as in Cephes' expf, vectorised when compiled: within 2 ulp."""
    if values.itemsize > SINGLE:
        for k in range(values.shape[0]):
            values[k] = np.exp(values[k] - most)
        return
    least, per_bit = np.float32(-87), np.float32(1.44269504088896341)
    for k in range(values.shape[0]):
        x = values[k] - most
        x = max(x, least)  # NaN stays NaN
        n = np.floor(x * per_bit + np.float32(0.5))
        r = x - n * np.float32(0.693359375)
        r -= n * np.float32(-2.12194440e-4)
        p = np.float32(1.9875691500e-4)
        p = p * r + np.float32(1.3981999507e-3)
        p = p * r + np.float32(8.3334519073e-3)
        p = p * r + np.float32(4.1665795894e-2)
        p = p * r + np.float32(1.6666665459e-1)
        p = p * r + np.float32(5.0000001201e-1)
        values[k] = (p * r * r + r + np.float32(1)) * power_of_two(n)


@inner
def softmax(values: NDArray[Any]) -> None:
    """Compute ``exp(v_k) / Σ exp(v)`` in place."""
    most = values[0]
    total = values.dtype.type(0)
    for k in range(values.shape[0]):
        most = max(most, values[k])
    exponential(values, most)
    for k in range(values.shape[0]):
        total += values[k]
    total = values.dtype.type(1) / total
    for k in range(values.shape[0]):
        values[k] *= total


@inner
def transpose(mapped: NDArray[Any], a: int, width: int, transposed: NDArray[Any]) -> None:
    """Copy a head's keys and values, whose columns start at ``a``, so that each matrix and its transpose are contiguous."""
    fields = mapped.shape[1]
    for k in range(fields):
        for c in range(width):
            transposed[0, c * fields + k] = transposed[2, k * width + c] = mapped[KEY, k, a + c]
            transposed[1, c * fields + k] = transposed[3, k * width + c] = mapped[VALUE, k, a + c]


@inner
def attend(
    mapped: NDArray[Any], share: NDArray[Any], kept: Attended, all_indices: NDArray[np.int64], width: int, out: NDArray[Any]
) -> None:
    """Compute ``out_m = relu(Σ_k α_mk V_k + residual_m)`` with ``α_m = softmax_k(Q_m · K_k)`` of each head (AutoInt's Eq. 5, 6 and 8)."""
    fields, transposed = out.shape[0], kept.transposed
    for head in range(share.shape[0]):
        a, b = head * width, head * width + width
        transpose(mapped, a, width, transposed)
        for m in range(fields):
            alpha, attended = share[head, m], kept.row[:width]
            affine(transposed[0], kept.zeros[:fields], mapped[QUERY, m, a:b], all_indices[:width], alpha)
            softmax(alpha)
            affine(transposed[3], kept.zeros[:width], alpha, all_indices[:fields], attended)
            for c in range(width):
                value = mapped[RESIDUAL, m, a + c] + attended[c]
                out[m, a + c] = value * 0 if value <= 0 else value  # NaN stays NaN


@inner
def forward(net: Network, act: Activations, scratch: Scratch) -> Any:
    """Return ``w · x^L`` with ``x^{l+1} = relu(attend(x^l) + x^l W_res)``, every field's ``(in,)`` mapped to ``(n,)`` (Eq. 8)."""
    kept = attended(scratch)
    fields, layers, n = net.fields, kept.x.shape[0] - 1, net.embedding
    for f in range(fields):
        for k in range(n):
            kept.x[0, f, k] = act.x[0, f * n + k]
    for layer in range(layers):
        n = net.branch_parameters[PARTS * layer, COLUMNS]
        mapped, above = kept.mapped[layer], kept.x[layer + 1]
        for part in range(PARTS):
            map_each(net.dense[weights_at(net, PARTS * layer + part)], kept.zeros[:n], kept.x[layer], act.all_indices, mapped[part])
        attend(mapped, kept.share[layer], kept, act.all_indices, n // net.heads, above)
    for f in range(fields):
        for k in range(n):
            kept.flat[0, f * n + k] = kept.x[layers, f, k]
    return output_forward(net, kept.flat[0])


@inner
def attend_backward(
    mapped: NDArray[Any], share: NDArray[Any], kept: Attended, all_indices: NDArray[np.int64], width: int, grad_out: NDArray[Any]
) -> None:
    """Fill the gradients of query, key and value; ``grad_out`` is that of the layer's output before ReLU."""
    grad_mapped, transposed, grad_share, fields = kept.grad_mapped, kept.transposed, kept.grad_share, grad_out.shape[0]
    for head in range(share.shape[0]):
        a, b = head * width, head * width + width
        transpose(mapped, a, width, transposed)
        for m in range(fields):
            g, alpha, query = grad_out[m, a:b], share[head, m], mapped[QUERY, m, a:b]
            affine(transposed[1], kept.zeros[:fields], g, all_indices[:width], grad_share)
            mean = grad_out.dtype.type(0)
            for k in range(fields):
                mean += alpha[k] * grad_share[k]
            for k in range(fields):
                grad_share[k] = alpha[k] * (grad_share[k] - mean)
            affine(transposed[2], kept.zeros[:width], grad_share, all_indices[:fields], grad_mapped[QUERY, m, a:b])
            for k in range(fields):
                p, q, grad_key, grad_value = alpha[k], grad_share[k], grad_mapped[KEY, k, a:b], grad_mapped[VALUE, k, a:b]
                for c in range(width):
                    grad_value[c] += p * g[c]
                    grad_key[c] += q * query[c]


@inner
def backward(net: Network, act: Activations, scratch: Scratch, dlogit: Any, rate: Any) -> Any:
    """Take one Adagrad step; add the input's gradient to ``act.gradient[0]``. Return a sum that is finite if and only if the step is."""
    kept = attended(scratch)
    fields, layers = net.fields, kept.x.shape[0] - 1
    grad_out, grad_x = kept.gradient[0], kept.gradient[1]
    n = net.branch_parameters[PARTS * (layers - 1), COLUMNS]
    total = output_backward(net, kept.flat[0], dlogit, rate, kept.flat[1])
    for f in range(fields):
        for k in range(n):
            grad_x[f, k] = kept.flat[1, f * n + k]
    for layer in range(layers - 1, -1, -1):
        n = net.branch_parameters[PARTS * layer, COLUMNS]
        kept.grad_mapped[...] = 0
        for f in range(fields):
            for k in range(n):
                grad_out[f, k] = grad_x[f, k] if kept.x[layer + 1, f, k] > 0 else net.dense.dtype.type(0)
                kept.grad_mapped[RESIDUAL, f, k] = grad_out[f, k]
        attend_backward(kept.mapped[layer], kept.share[layer], kept, act.all_indices, n // net.heads, grad_out)
        grad_x[...] = 0
        for part in range(PARTS):
            index = PARTS * layer + part
            weight, accumulators = net.dense[weights_at(net, index)], net.accumulators[accumulators_at(net, index)]
            total += learn_each(weight, accumulators, kept.x[layer], kept.grad_mapped[part], rate, kept.row[:n], grad_x)
    for f in range(fields):
        for k in range(net.embedding):
            act.gradient[0, f * net.embedding + k] += grad_x[f, k]
    return total
