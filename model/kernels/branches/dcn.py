"""The cross layers of DCN beside the tower, forward and backward with the update; ``model.networks.dcn`` defines them.

Shapes: C layers, D = F d the width of the input and of every layer. Parameters, by index: each layer's weight and bias, the output.
"""

from typing import Any, NamedTuple

from numpy.typing import NDArray

from model.kernels.branches.parameters import accumulators_at, output_backward, output_forward, weights_at
from model.kernels.matrix import learn_vector
from model.kernels.memory import Scratch, array2
from model.kernels.network import Activations, Network
from model.kernels.target import inner
from model.kernels.tower import skip
from model.kernels.tower.dnn import FROM_START


class Crossed(NamedTuple):
    """What a forward pass leaves for the backward pass, of ``model.kernels.branches.dcn`` or of ``model.kernels.branches.dcn_v2``."""

    x: NDArray[Any]  # (C + 1, D), x[0] is the input
    z: NDArray[Any]  # (C, D), what x[0] is multiplied by; of ``model.kernels.branches.dcn`` a number, in z[:, 0]
    gradient: NDArray[Any]  # (4, D)


def scratch_shapes(net: Network) -> dict[str, tuple[int, ...]]:
    """Return the shape of each of :class:`Crossed`."""
    layers, width = len(net.branch_parameters) // 2, net.fields * net.embedding
    return {"x": (layers + 1, width), "z": (layers, width), "gradient": (4, width)}


@inner
def crossed(scratch: Scratch) -> Crossed:
    """Return the scratch arrays by their names."""
    return Crossed(array2(scratch, 0), array2(scratch, 1), array2(scratch, 2))


@inner
def skip_forward(net: Network, act: Activations, layer: int, x: NDArray[Any]) -> Any:
    """Return a layer's own term, if it has one; ``x`` is the layer's output."""
    term = net.layers.shape[0] + layer
    if term >= net.terms.shape[0]:
        return net.dense.dtype.type(0)
    for k in range(x.shape[0]):
        act.skip_input[term, k] = x[k]  # a copy: the last layer's is overwritten on the way back, before its term is
    return skip.forward(net, act, term, act.all_indices[: x.shape[0]], FROM_START)


@inner
def skip_backward(net: Network, act: Activations, layer: int, dlogit: Any, rate: Any, grad_x: NDArray[Any], grad_term: NDArray[Any]) -> Any:
    """Learn a layer's own term; add its gradient to ``grad_x``, that of the layer's output. ``grad_term`` is scratch of the same length."""
    term = net.layers.shape[0] + layer
    if term >= net.terms.shape[0]:
        return net.dense.dtype.type(0)
    total = skip.backward(net, act, term, act.all_indices[: grad_x.shape[0]], dlogit, rate, grad_term)
    for k in range(grad_x.shape[0]):
        grad_x[k] += grad_term[k]
    return total


@inner
def forward(net: Network, act: Activations, scratch: Scratch) -> Any:
    """Return ``w · x_C + Σ_l F(x_l)`` with ``x_{l+1} = x_0 (x_l · w_l) + b_l + x_l``."""
    kept = crossed(scratch)
    layers, width = kept.z.shape
    x0, logit = kept.x[0], net.dense.dtype.type(0)
    for k in range(width):
        x0[k] = act.x[0, k]
    for layer in range(layers):
        weight, bias = net.dense[weights_at(net, 2 * layer)], net.dense[weights_at(net, 2 * layer + 1)]
        x, above = kept.x[layer], kept.x[layer + 1]
        scale = net.dense.dtype.type(0)
        for k in range(width):
            scale += x[k] * weight[k]
        for k in range(width):
            above[k] = x0[k] * scale + bias[k] + x[k]
        kept.z[layer, 0] = scale
        logit += skip_forward(net, act, layer, above)
    return logit + output_forward(net, kept.x[layers])


@inner
def backward(net: Network, act: Activations, scratch: Scratch, dlogit: Any, rate: Any) -> Any:
    """Take one Adagrad step; add the input's gradient to ``act.gradient[0]``. Return a sum that is finite if and only if the step is."""
    kept = crossed(scratch)
    layers, width = kept.z.shape
    x0, grad_input = kept.x[0], act.gradient[0]
    grad_x, grad_weight, grad_bias = kept.gradient[0], kept.gradient[1], kept.gradient[2]
    total = output_backward(net, kept.x[layers], dlogit, rate, grad_x)
    for layer in range(layers - 1, -1, -1):
        weight, x, scale = net.dense[weights_at(net, 2 * layer)], kept.x[layer], kept.z[layer, 0]
        total += skip_backward(net, act, layer, dlogit, rate, grad_x, grad_weight)
        grad_scale = net.dense.dtype.type(0)
        for k in range(width):
            grad_scale += grad_x[k] * x0[k]
        for k in range(width):
            grad_input[k] += scale * grad_x[k]
            grad_bias[k] = grad_x[k]
            grad_weight[k] = grad_scale * x[k]
            grad_x[k] += grad_scale * weight[k]
        total += learn_vector(weight, net.accumulators[accumulators_at(net, 2 * layer)], grad_weight, rate)
        bias = net.dense[weights_at(net, 2 * layer + 1)]
        total += learn_vector(bias, net.accumulators[accumulators_at(net, 2 * layer + 1)], grad_bias, rate)
    for k in range(width):
        grad_input[k] += grad_x[k]
    return total
