"""The factorisation machine's second order beside the tower, forward and backward; ``model.networks.deepfm`` defines it.

It has no weights of its own: its gradient goes to the embeddings alone.

Shapes: F fields, d the width of an embedding; the input is ``(F d,)``.
"""

from typing import Any

from model.kernels.memory import Scratch, array1
from model.kernels.network import Activations, Network
from model.kernels.target import inner


def scratch_shapes(net: Network) -> dict[str, tuple[int, ...]]:
    """Return the shapes of what a forward pass leaves for the backward pass: ``Σ_f v_f``, and the input."""
    return {"total": (net.embedding,), "x": (net.fields * net.embedding,)}


@inner
def forward(net: Network, act: Activations, scratch: Scratch) -> Any:
    """Return ``½ Σ_k ((Σ_f v_fk)² − Σ_f v_fk²)``."""
    d, x = net.embedding, act.x[0]
    total, kept = array1(scratch, 0), array1(scratch, 1)
    for k in range(kept.shape[0]):
        kept[k] = x[k]
    for k in range(d):
        total[k] = 0
    squares = both = net.dense.dtype.type(0)
    for f in range(net.fields):
        v = x[f * d : f * d + d]
        for k in range(d):
            total[k] += v[k]
            squares += v[k] * v[k]
    for k in range(d):
        both += total[k] * total[k]
    return net.dense.dtype.type(0.5) * (both - squares)


@inner
def backward(net: Network, act: Activations, scratch: Scratch, dlogit: Any, rate: Any) -> Any:  # noqa: ARG001
    """Add the input's gradient, ``dlogit (Σ_g v_g − v_f)``, to ``act.gradient[0]``."""
    d, grad_input = net.embedding, act.gradient[0]
    total, x = array1(scratch, 0), array1(scratch, 1)
    for f in range(net.fields):
        for k in range(d):
            grad_input[f * d + k] += dlogit * (total[k] - x[f * d + k])
    return net.dense.dtype.type(0)
