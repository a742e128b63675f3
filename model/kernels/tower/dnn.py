"""The deep tower with its skip meta logits, forward and backward with the update in one pass; ``model.networks.dnn`` defines it.

Rows of a matrix whose input ReLU has silenced are skipped in both directions. A matrix is visited once on the way
back: its input gradient is read from a row just before the row is updated.

Shapes: ``n`` the width of the current layer.
"""

from typing import Any

import numpy as np

from model.kernels.matrix import affine, learn_and_pass, learn_vector, update_accumulators
from model.kernels.network import BIAS, BIAS_ACCUMULATORS, IN, OUT, WEIGHT, WEIGHT_ACCUMULATORS, Activations, Network
from model.kernels.target import inner
from model.kernels.tower import skip
from model.terms import NO_TERM

# Where a pass begins: at the input, or where model.kernels.tower.batch.begin has left it. Of True and False it would be compiled twice.
FROM_START, BEGUN = np.bool_(False), np.bool_(True)


@inner
def forward(net: Network, act: Activations, begun: Any) -> Any:
    """Return the logit of the input in ``act.x[0]``: ``main(x_L) + Σ_i F(x_i)`` (Eq. 5), without the wide term and the bias.

    ``begun`` is one of the above.
    """
    p = net.dense
    logit = p.dtype.type(0)
    for layer in range(net.layers.shape[0]):
        at = net.layers[layer]
        n = at[OUT]
        x, z, active = act.x[layer + 1, :n], act.skip_input[layer, :n], act.active[layer + 1]
        weight = p[at[WEIGHT] : at[WEIGHT] + at[IN] * n]
        if not begun or layer > 0:
            affine(weight, p[at[BIAS] : at[BIAS] + n], act.x[layer], act.active[layer, : act.active_count[layer]], z)
        count = 0
        for k in range(n):
            x[k] = z[k] if z[k] > 0 else p.dtype.type(0)
        for k in range(n):  # without a jump, which would be guessed wrongly half of the time
            active[count] = k
            count += z[k] > 0
        act.active_count[layer + 1] = count
        if net.scale != NO_TERM:
            if not net.pre:
                for k in range(n):
                    z[k] = x[k]
            logit += skip.forward(net, act, layer, act.all_indices[:n] if net.pre else active[:count], begun and layer == 0 and net.pre)
    n = net.layers[-1, OUT]
    output, x = p[net.output : net.output + n], act.x[-1, :n]
    total = p.dtype.type(0)
    for k in range(n):
        total += output[k] * x[k]
    return logit + total


@inner
def backward(net: Network, act: Activations, dlogit: Any, rate: Any) -> Any:
    """Take one Adagrad step on every dense parameter; ``dlogit`` is the loss's derivative by the logit.

    Leaves the input's gradient in ``act.gradient[0]``. Returns a sum that is finite if and only if the step is.
    """
    p = net.dense
    n = net.layers[-1, OUT]
    grad_x, grad_z = act.gradient[0], act.gradient[1]
    for k in range(n):
        grad_x[k] = dlogit * p[net.output + k]
        grad_z[k] = dlogit * act.x[-1, k]  # for a moment, the gradient of the output weights
    accumulators = net.accumulators[net.output_accumulator : net.output_accumulator + n]
    total = learn_vector(p[net.output : net.output + n], accumulators, grad_z[:n], rate)
    for layer in range(net.layers.shape[0] - 1, -1, -1):
        at = net.layers[layer]
        n = at[OUT]
        x = act.x[layer + 1, :n]
        has_term = net.scale != NO_TERM
        if has_term:
            active = act.all_indices[:n] if net.pre else act.active[layer + 1, : act.active_count[layer + 1]]
            total += skip.backward(net, act, layer, active, dlogit, rate, grad_z)
        for k in range(n):
            open_ = x[k] > 0
            g = grad_x[k] if open_ else p.dtype.type(0)
            if has_term and (net.pre or open_):
                g += grad_z[k]
            grad_z[k] = g
        weight = p[at[WEIGHT] : at[WEIGHT] + at[IN] * n]
        accumulators = net.accumulators[at[WEIGHT_ACCUMULATORS] : at[WEIGHT_ACCUMULATORS] + at[IN]]
        total += update_accumulators(accumulators, act.x[layer], grad_z[:n], rate, act.step)
        learn_and_pass(weight, act.step, grad_z[:n], act.active[layer, : act.active_count[layer]], grad_x)
        accumulators = net.accumulators[at[BIAS_ACCUMULATORS] : at[BIAS_ACCUMULATORS] + n]
        total += learn_vector(p[at[BIAS] : at[BIAS] + n], accumulators, grad_z[:n], rate)
    return total
