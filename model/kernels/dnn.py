"""The deep tower with its skip meta logits, forward and backward with the update in one pass; ``model.networks.dnn`` defines it.

Rows of a matrix whose input ReLU has silenced are skipped in both directions. A matrix is visited once on the way
back: its input gradient is read from a row just before the row is updated.

Shapes: ``n`` the width of the layer at hand.
"""

from typing import Any

from model.kernels import skip
from model.kernels.matrix import affine, learn_and_pass, learn_sums, learn_vector
from model.kernels.network import Activations, Network
from model.kernels.target import kernel
from model.layout import BIAS, BIAS_SUMS, IN, OUT, WEIGHT, WEIGHT_SUMS
from model.terms import NO_TERM


@kernel
def forward(net: Network, act: Activations) -> Any:
    """Return the logit of the input in ``act.x[0]``: ``main(x_L) + Σ_i F(x_i)`` (Eq. 5), without the wide term and the bias."""
    p = net.dense
    logit = p.dtype.type(0)
    for layer in range(net.layers.shape[0]):
        at = net.layers[layer]
        n = at[OUT]
        x, read, active = act.x[layer + 1, :n], act.read[layer, :n], act.active[layer + 1]
        weight = p[at[WEIGHT] : at[WEIGHT] + at[IN] * n]
        affine(weight, p[at[BIAS] : at[BIAS] + n], act.x[layer], act.active[layer, : act.actives[layer]], read)
        count = 0
        for k in range(n):
            x[k] = read[k] if read[k] > 0 else p.dtype.type(0)
        for k in range(n):  # without a branch, which would be guessed wrongly half of the time
            active[count] = k
            count += read[k] > 0
        act.actives[layer + 1] = count
        if net.scale != NO_TERM:
            if not net.pre:
                for k in range(n):
                    read[k] = x[k]
            logit += skip.forward(net, act, layer, act.every[:n] if net.pre else active[:count])
    n = net.layers[-1, OUT]
    output, x = p[net.output : net.output + n], act.x[-1, :n]
    total = p.dtype.type(0)
    for k in range(n):
        total += output[k] * x[k]
    return logit + total


@kernel
def backward(net: Network, act: Activations, slope: Any, rate: Any) -> Any:
    """Take one Adagrad step on every dense parameter, ``slope`` being the loss's derivative by the logit.

    Leaves the input's gradient in ``act.gradient[0]``. Gives a sum that is finite if and only if the step is.
    """
    p = net.dense
    n = net.layers[-1, OUT]
    above, here = act.gradient[0], act.gradient[1]
    for k in range(n):
        above[k] = slope * p[net.output + k]
        here[k] = slope * act.x[-1, k]
    total = learn_vector(p[net.output : net.output + n], net.sums[net.output_sum : net.output_sum + n], here[:n], rate)
    for layer in range(net.layers.shape[0] - 1, -1, -1):
        at = net.layers[layer]
        n = at[OUT]
        x = act.x[layer + 1, :n]
        has_term = net.scale != NO_TERM
        if has_term:
            active = act.every[:n] if net.pre else act.active[layer + 1, : act.actives[layer + 1]]
            total += skip.backward(net, act, layer, active, slope, rate, here)
        for k in range(n):
            open_ = x[k] > 0
            g = above[k] if open_ else p.dtype.type(0)
            if has_term and (net.pre or open_):
                g += here[k]
            here[k] = g
        weight, sums = p[at[WEIGHT] : at[WEIGHT] + at[IN] * n], net.sums[at[WEIGHT_SUMS] : at[WEIGHT_SUMS] + at[IN]]
        total += learn_sums(sums, act.x[layer], here[:n], rate, act.step)
        learn_and_pass(weight, act.step, here[:n], act.active[layer, : act.actives[layer]], above)
        total += learn_vector(p[at[BIAS] : at[BIAS] + n], net.sums[at[BIAS_SUMS] : at[BIAS_SUMS] + n], here[:n], rate)
    return total
