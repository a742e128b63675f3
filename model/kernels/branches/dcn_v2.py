"""The cross layers of DCN-V2 beside the tower, forward and backward with the update; ``model.networks.dcn_v2`` defines them.

Shapes: C layers, D = F d the width of the input and of every layer. Parameters, by index: each layer's weight and bias, the output.
"""

from typing import Any

from model.kernels.branches.dcn import crossed, skip_backward, skip_forward
from model.kernels.branches.parameters import accumulators_at, output_backward, output_forward, weights_at
from model.kernels.matrix import affine, learn_and_pass, learn_vector, update_accumulators
from model.kernels.memory import Scratch
from model.kernels.network import Activations, Network
from model.kernels.target import inner


@inner
def forward(net: Network, act: Activations, scratch: Scratch) -> Any:
    """Return ``w · x_C + Σ_l F(x_l)`` with ``x_{l+1} = x_0 ⊙ (x_l W_l + b_l) + x_l``."""
    kept = crossed(scratch)
    layers, width = kept.z.shape
    x0, logit = kept.x[0], net.dense.dtype.type(0)
    for k in range(width):
        x0[k] = act.x[0, k]
    for layer in range(layers):
        x, z, above = kept.x[layer], kept.z[layer], kept.x[layer + 1]
        affine(net.dense[weights_at(net, 2 * layer)], net.dense[weights_at(net, 2 * layer + 1)], x, act.all_indices[:width], z)
        for k in range(width):
            above[k] = x0[k] * z[k] + x[k]
        logit += skip_forward(net, act, layer, above)
    return logit + output_forward(net, kept.x[layers])


@inner
def backward(net: Network, act: Activations, scratch: Scratch, dlogit: Any, rate: Any) -> Any:
    """Take one Adagrad step; add the input's gradient to ``act.gradient[0]``. Return a sum that is finite if and only if the step is."""
    kept = crossed(scratch)
    layers, width = kept.z.shape
    x0, grad_input = kept.x[0], act.gradient[0]
    grad_x, grad_z, passed, step = kept.gradient[0], kept.gradient[1], kept.gradient[2], kept.gradient[3]
    total = output_backward(net, kept.x[layers], dlogit, rate, grad_x)
    for layer in range(layers - 1, -1, -1):
        z = kept.z[layer]
        total += skip_backward(net, act, layer, dlogit, rate, grad_x, passed)
        for k in range(width):
            grad_input[k] += grad_x[k] * z[k]
            grad_z[k] = grad_x[k] * x0[k]
        total += update_accumulators(net.accumulators[accumulators_at(net, 2 * layer)], kept.x[layer], grad_z, rate, step)
        learn_and_pass(net.dense[weights_at(net, 2 * layer)], step, grad_z, act.all_indices[:width], passed)
        bias = net.dense[weights_at(net, 2 * layer + 1)]
        total += learn_vector(bias, net.accumulators[accumulators_at(net, 2 * layer + 1)], grad_z, rate)
        for k in range(width):
            grad_x[k] += passed[k]
    for k in range(width):
        grad_input[k] += grad_x[k]
    return total
