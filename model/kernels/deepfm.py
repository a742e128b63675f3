"""The factorisation machine's second order beside the tower, forward and backward; in torch it is ``model.networks.deepfm``.

It has no weights of its own: its gradient goes to the embeddings alone.

Shapes: F fields, d the width of an embedding; the input is ``(F d,)``.
"""

from typing import Any

from numpy.typing import NDArray

from model.kernels.network import Activations, Network
from model.kernels.target import kernel


def scratch(net: Network) -> int:
    """Return what a forward pass leaves for the backward pass: ``Σ_f v_f (d,)``, and the input."""
    return net.embedding * (net.fields + 1)


@kernel
def forward(net: Network, act: Activations, scratch: NDArray[Any]) -> Any:
    """``½ Σ_k ((Σ_f v_fk)² − Σ_f v_fk²)``."""
    d, x = net.embedding, act.x[0]
    total, kept = scratch[:d], scratch[d:]
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


@kernel
def backward(net: Network, act: Activations, scratch: NDArray[Any], dlogit: Any, rate: Any) -> Any:  # noqa: ARG001
    """Add the input's gradient, ``dlogit (Σ_g v_g − v_f)``, to ``act.gradient[0]``."""
    d, below = net.embedding, act.gradient[0]
    total, x = scratch[:d], scratch[d:]
    for f in range(net.fields):
        for k in range(d):
            below[f * d + k] += dlogit * (total[k] - x[f * d + k])
    return net.dense.dtype.type(0)
