"""The deep tower with its skip meta logits, forward and backward with the update in one pass; ``model.networks.dnn`` defines it.

Rows of a matrix whose input ReLU has silenced are skipped in both directions. A matrix is visited once on the way
back: its input gradient is read from a row just before the row is updated.

Shapes: ``n`` the width of the layer at hand.
"""

from typing import Any

from model.kernels import skip
from model.kernels.matrix import affine, learn_and_pass, learn_vector, update_accumulators
from model.kernels.network import Activations, Network
from model.kernels.target import kernel
from model.layout import BIAS, BIAS_ACCUMULATORS, IN, OUT, WEIGHT, WEIGHT_ACCUMULATORS
from model.terms import NO_TERM


@kernel
def forward(net: Network, act: Activations) -> Any:
    """Return the logit of the input in ``act.x[0]``: ``main(x_L) + Σ_i F(x_i)`` (Eq. 5), without the wide term and the bias."""
    p = net.dense
    logit = p.dtype.type(0)
    for layer in range(net.layers.shape[0]):
        at = net.layers[layer]
        n = at[OUT]
        x, skip_input, active = act.x[layer + 1, :n], act.skip_input[layer, :n], act.active[layer + 1]
        weight = p[at[WEIGHT] : at[WEIGHT] + at[IN] * n]
        affine(weight, p[at[BIAS] : at[BIAS] + n], act.x[layer], act.active[layer, : act.actives[layer]], skip_input)
        count = 0
        for k in range(n):
            x[k] = skip_input[k] if skip_input[k] > 0 else p.dtype.type(0)
        for k in range(n):  # without a branch, which would be guessed wrongly half of the time
            active[count] = k
            count += skip_input[k] > 0
        act.actives[layer + 1] = count
        if net.scale != NO_TERM:
            if not net.pre:
                for k in range(n):
                    skip_input[k] = x[k]
            logit += skip.forward(net, act, layer, act.all_indices[:n] if net.pre else active[:count])
    n = net.layers[-1, OUT]
    output, x = p[net.output : net.output + n], act.x[-1, :n]
    total = p.dtype.type(0)
    for k in range(n):
        total += output[k] * x[k]
    return logit + total


@kernel
def backward(net: Network, act: Activations, dlogit: Any, rate: Any) -> Any:
    """Take one Adagrad step on every dense parameter, ``dlogit`` being the loss's derivative by the logit.

    Leaves the input's gradient in ``act.gradient[0]``. Return a sum that is finite if and only if the step is.
    """
    p = net.dense
    n = net.layers[-1, OUT]
    above, grad_out = act.gradient[0], act.gradient[1]
    for k in range(n):
        above[k] = dlogit * p[net.output + k]
        grad_out[k] = dlogit * act.x[-1, k]
    total = learn_vector(
        p[net.output : net.output + n], net.accumulators[net.output_accumulators : net.output_accumulators + n], grad_out[:n], rate
    )
    for layer in range(net.layers.shape[0] - 1, -1, -1):
        at = net.layers[layer]
        n = at[OUT]
        x = act.x[layer + 1, :n]
        has_term = net.scale != NO_TERM
        if has_term:
            active = act.all_indices[:n] if net.pre else act.active[layer + 1, : act.actives[layer + 1]]
            total += skip.backward(net, act, layer, active, dlogit, rate, grad_out)
        for k in range(n):
            open_ = x[k] > 0
            g = above[k] if open_ else p.dtype.type(0)
            if has_term and (net.pre or open_):
                g += grad_out[k]
            grad_out[k] = g
        weight, accumulators = (
            p[at[WEIGHT] : at[WEIGHT] + at[IN] * n],
            net.accumulators[at[WEIGHT_ACCUMULATORS] : at[WEIGHT_ACCUMULATORS] + at[IN]],
        )
        total += update_accumulators(accumulators, act.x[layer], grad_out[:n], rate, act.step)
        learn_and_pass(weight, act.step, grad_out[:n], act.active[layer, : act.actives[layer]], above)
        total += learn_vector(
            p[at[BIAS] : at[BIAS] + n], net.accumulators[at[BIAS_ACCUMULATORS] : at[BIAS_ACCUMULATORS] + n], grad_out[:n], rate
        )
    return total
