"""Self-attention over the fields beside the tower, forward and backward with the update; torch's twin is ``model.autoint``.

Shapes: L layers, F fields, H heads, n = H times a head's width, W the widest of all layers and of an embedding.
Places: each layer's query, key, value and residual weights ``(in, n)``, the output ``(F n,)``.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.layout import COLUMNS
from model.maps import learn_each, map_each, output_backward, output_forward, sums_at, weights_at
from model.network import Network
from model.target import kernel

PARTS = 4
QUERY, KEY, VALUE, RESIDUAL = range(PARTS)


class Attended(NamedTuple):
    """What a forward pass leaves for the backward pass: views of one array."""

    x: NDArray[Any]  # (L + 1, F, W), x[0] is the input
    mapped: NDArray[Any]  # (L, 4, F, W), query, key, value, residual
    of_mapped: NDArray[Any]  # (4, F, W), their gradient in the layer at hand
    gradient: NDArray[Any]  # (2, F, W)
    flat: NDArray[Any]  # (2, F W), the last layer's output, and its gradient
    share: NDArray[Any]  # (L, H, F, F), how much a field attends to each other
    of_share: NDArray[Any]  # (F,)
    row: NDArray[Any]  # (W,)


def room(net: Network) -> int:
    """How many numbers :class:`Attended` holds."""
    layers, fields, width = len(net.places) // PARTS, net.fields, max(net.embedding, net.places[:-1, COLUMNS].max())
    return int((5 * layers + 9) * fields * width + layers * net.heads * fields**2 + fields + width)


@kernel
def attended(net: Network, room: NDArray[Any]) -> Attended:
    """Divide the room."""
    layers, fields, heads, width = net.places.shape[0] // PARTS, net.fields, net.heads, net.embedding
    for layer in range(layers):
        width = max(width, net.places[PARTS * layer, COLUMNS])
    x = room[: (5 * layers + 7) * fields * width].reshape(5 * layers + 7, fields, width)
    flat = room[x.size : x.size + 2 * fields * width].reshape(2, fields * width)
    rest = room[x.size + flat.size :]
    shares = layers * heads * fields * fields
    return Attended(
        x[: layers + 1],
        x[layers + 1 : 5 * layers + 1].reshape(layers, PARTS, fields, width),
        x[5 * layers + 1 : 5 * layers + 5],
        x[5 * layers + 5 :],
        flat,
        rest[:shares].reshape(layers, heads, fields, fields),
        rest[shares : shares + fields],
        rest[shares + fields :],
    )


@kernel
def softmax(values: NDArray[Any]) -> None:
    """``exp(v_k) / Σ exp(v)`` in place."""
    most = values[0]
    for k in range(values.shape[0]):
        most = max(most, values[k])
    total = values.dtype.type(0)
    for k in range(values.shape[0]):
        values[k] = np.exp(values[k] - most)
        total += values[k]
    for k in range(values.shape[0]):
        values[k] /= total


@kernel
def attend(mapped: NDArray[Any], share: NDArray[Any], width: int, out: NDArray[Any]) -> None:
    """Of each head, of ``width``: ``out_m += Σ_k α_mk V_k`` with ``α_m = softmax_k(Q_m · K_k)`` (AutoInt's Eq. 5 and 6)."""
    for head in range(share.shape[0]):
        a, b = head * width, head * width + width
        for m in range(out.shape[0]):
            query, alpha, to = mapped[QUERY, m, a:b], share[head, m], out[m, a:b]
            for k in range(out.shape[0]):
                key = mapped[KEY, k, a:b]
                dot = out.dtype.type(0)
                for c in range(width):
                    dot += query[c] * key[c]
                alpha[k] = dot
            softmax(alpha)
            for k in range(out.shape[0]):
                value = mapped[VALUE, k, a:b]
                for c in range(width):
                    to[c] += alpha[k] * value[c]


@kernel
def forward(net: Network, x: NDArray[Any], every: NDArray[np.int64], room: NDArray[Any]) -> Any:  # noqa: ARG001
    """``w · x^L`` with ``x^{l+1} = relu(attend(x^l) + x^l W_res)``, every field's ``(in,)`` mapped to ``(n,)`` (Eq. 8)."""
    kept = attended(net, room)
    fields, layers, n = net.fields, kept.x.shape[0] - 1, net.embedding
    for f in range(fields):
        for k in range(n):
            kept.x[0, f, k] = x[f * n + k]
    for layer in range(layers):
        n = net.places[PARTS * layer, COLUMNS]
        mapped, above = kept.mapped[layer], kept.x[layer + 1]
        for part in range(PARTS):
            map_each(net.dense[weights_at(net, PARTS * layer + part)], n, kept.x[layer], mapped[part])
        above[...] = mapped[RESIDUAL]
        attend(mapped, kept.share[layer], n // net.heads, above)
        for f in range(fields):
            for k in range(n):
                above[f, k] = above.dtype.type(0) if above[f, k] <= 0 else above[f, k]  # NaN stays NaN
    for f in range(fields):
        for k in range(n):
            kept.flat[0, f * n + k] = kept.x[layers, f, k]
    return output_forward(net, kept.flat[0])


@kernel
def attend_backward(
    mapped: NDArray[Any], share: NDArray[Any], width: int, here: NDArray[Any], of: NDArray[Any], room: NDArray[Any]
) -> None:
    """Fill ``of`` with the gradients of query, key and value, ``here`` being the layer's."""
    for head in range(share.shape[0]):
        a, b = head * width, head * width + width
        for m in range(here.shape[0]):
            g, alpha, query, of_query = here[m, a:b], share[head, m], mapped[QUERY, m, a:b], of[QUERY, m, a:b]
            mean = here.dtype.type(0)
            for k in range(here.shape[0]):
                value, of_value = mapped[VALUE, k, a:b], of[VALUE, k, a:b]
                dot = here.dtype.type(0)
                for c in range(width):
                    dot += g[c] * value[c]
                    of_value[c] += alpha[k] * g[c]
                room[k] = dot
                mean += alpha[k] * dot
            for k in range(here.shape[0]):
                key, of_key = mapped[KEY, k, a:b], of[KEY, k, a:b]
                pull = alpha[k] * (room[k] - mean)
                for c in range(width):
                    of_query[c] += pull * key[c]
                    of_key[c] += pull * query[c]


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
    kept = attended(net, room)
    fields, layers = net.fields, kept.x.shape[0] - 1
    here, of_x = kept.gradient[0], kept.gradient[1]
    n = net.places[PARTS * (layers - 1), COLUMNS]
    total = output_backward(net, kept.flat[0], slope, rate, kept.flat[1])
    for f in range(fields):
        for k in range(n):
            of_x[f, k] = kept.flat[1, f * n + k]
    for layer in range(layers - 1, -1, -1):
        n = net.places[PARTS * layer, COLUMNS]
        kept.of_mapped[...] = 0
        for f in range(fields):
            for k in range(n):
                here[f, k] = of_x[f, k] if kept.x[layer + 1, f, k] > 0 else net.dense.dtype.type(0)
                kept.of_mapped[RESIDUAL, f, k] = here[f, k]
        attend_backward(kept.mapped[layer], kept.share[layer], n // net.heads, here, kept.of_mapped, kept.of_share)
        of_x[...] = 0
        for part in range(PARTS):
            place = PARTS * layer + part
            total += learn_each(
                net.dense[weights_at(net, place)],
                net.sums[sums_at(net, place)],
                kept.x[layer],
                kept.of_mapped[part],
                rate,
                kept.row[:n],
                of_x,
            )
    for f in range(fields):
        for k in range(net.embedding):
            below[f * net.embedding + k] += of_x[f, k]
    return total
