"""The deep tower with its skip meta logits, forward and backward with the update in one pass; torch's twin is ``model.dnn``.

Rows of a matrix whose input ReLU has silenced are skipped in both directions. A matrix is visited once on the way
back: its input gradient is read from a row just before the row is updated.

Shapes: L layers, ``n`` the width of the layer at hand, W the widest of all layers and of the input.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.layout import BIAS, IN, META, OUT, SCALE, SKIP, SQUARE, SUMS, WEIGHT
from model.target import kernel
from model.terms import EPSILON, FROM_LAYER, LEARNED, MEMORY, NO_TERM, RELU, SIGMOID, TANH

LEAK = 0.01  # leaky_relu's slope below zero
SINGLE = 4  # bytes of a single-precision number


class Network(NamedTuple):
    """The dense half of a model, as the kernels see it."""

    dense: NDArray[Any]  # (P,)
    sums: NDArray[Any]  # (A,), Adagrad's accumulators
    layers: NDArray[np.int64]  # (L, 12), see model.layout
    output: int  # where the output weights, the bias and the default embeddings begin
    output_sum: int
    bias: int
    bias_sum: int
    defaults: int
    scale: int  # of the skip terms, and their activation: see model.terms
    activation: int
    normed: bool
    pre: bool  # the terms read a layer before ReLU
    wide: bool
    branch: int  # what stands beside the tower, see model.branch
    places: NDArray[np.int64]  # (P', 4), its parameters, see model.layout
    fields: int
    embedding: int
    heads: int  # of an attention layer


class Activations(NamedTuple):
    """What a forward pass leaves for the backward pass; allocated once for a run of examples."""

    x: NDArray[Any]  # (L + 1, W), a layer's output after ReLU; x[0] is the input
    read: NDArray[Any]  # (L + 1, W), what the layer's skip term reads: x, or the value before ReLU
    scale: NDArray[Any]  # (L + 1, W), s of the skip term
    bounded: NDArray[Any]  # (L + 1, W), act(s * read)
    active: NDArray[np.int64]  # (L + 1, W), the places where x is not silenced
    actives: NDArray[np.int64]  # (L + 1,), how many they are
    every: NDArray[np.int64]  # (W,), 0, 1, 2, …
    gradient: NDArray[Any]  # (4, W)


@kernel
def activations(layers: NDArray[np.int64], like: NDArray[Any]) -> Activations:
    """Room for one example's pass, of the float type of ``like``."""
    depth = layers.shape[0] + 1
    width = max(layers[:, IN].max(), layers[:, OUT].max())
    every = np.arange(width)
    active = np.zeros((depth, width), np.int64)
    active[0] = every
    actives = np.zeros(depth, np.int64)
    actives[0] = layers[0, IN]
    x = np.zeros((depth, width), like.dtype)
    return Activations(x, np.zeros_like(x), np.zeros_like(x), np.zeros_like(x), active, actives, every, np.zeros((4, width), like.dtype))


@kernel
def affine(weight: NDArray[Any], bias: NDArray[Any], x: NDArray[Any], active: NDArray[np.int64], out: NDArray[Any]) -> None:
    """``out = bias + Σ_j x_j W_j`` over the active inputs ``j``, four rows at a time."""
    n = out.shape[0]
    for k in range(n):
        out[k] = bias[k]
    whole = active.shape[0] // 4 * 4
    for a in range(0, whole, 4):
        j0, j1, j2, j3 = active[a], active[a + 1], active[a + 2], active[a + 3]
        x0, x1, x2, x3 = x[j0], x[j1], x[j2], x[j3]
        w0, w1 = weight[j0 * n : j0 * n + n], weight[j1 * n : j1 * n + n]
        w2, w3 = weight[j2 * n : j2 * n + n], weight[j3 * n : j3 * n + n]
        for k in range(n):
            out[k] += x0 * w0[k] + x1 * w1[k] + x2 * w2[k] + x3 * w3[k]
    for a in range(whole, active.shape[0]):
        j = active[a]
        xj = x[j]
        w = weight[j * n : j * n + n]
        for k in range(n):
            out[k] += xj * w[k]


@kernel
def forward(net: Network, act: Activations) -> Any:
    """The logit of the input in ``act.x[0]``: ``main(x_L) + Σ_i F(x_i)`` (Eq. 5), without the wide term and the bias."""
    p = net.dense
    logit = p.dtype.type(0)
    for layer in range(net.layers.shape[0]):
        at = net.layers[layer]
        n = at[OUT]
        x, read = act.x[layer + 1, :n], act.read[layer + 1, :n]
        weight = p[at[WEIGHT] : at[WEIGHT] + at[IN] * n]
        affine(weight, p[at[BIAS] : at[BIAS] + n], act.x[layer], act.active[layer, : act.actives[layer]], read)
        count = 0
        for k in range(n):
            if read[k] > 0:
                x[k] = read[k]
                act.active[layer + 1, count] = k
                count += 1
            else:
                x[k] = 0
        act.actives[layer + 1] = count
        if net.scale != NO_TERM:
            logit += skip_forward(net, act, layer)
    n = net.layers[-1, OUT]
    output, x = p[net.output : net.output + n], act.x[-1, :n]
    total = p.dtype.type(0)
    for k in range(n):
        total += output[k] * x[k]
    return logit + total


@kernel
def bound(values: NDArray[Any]) -> None:
    """``tanh`` in place. In single precision by Eigen's rational approximation, which the compiler vectorises: within 5 ulp."""
    if values.itemsize > SINGLE:
        for k in range(values.shape[0]):
            values[k] = np.tanh(values[k])
        return
    one, end = np.float32(1), np.float32(7.90531110763549805)  # beyond it tanh is 1 in single precision
    for k in range(values.shape[0]):
        x = values[k]
        x = min(x, end)
        x = max(x, -end)  # NaN stays NaN
        y = x * x
        p = np.float32(-2.76076847742355e-16)
        p = p * y + np.float32(2.00018790482477e-13)
        p = p * y + np.float32(-8.60467152213735e-11)
        p = p * y + np.float32(5.12229709037114e-08)
        p = p * y + np.float32(1.48572235717979e-05)
        p = p * y + np.float32(6.37261928875436e-04)
        p = p * y + np.float32(4.89352455891786e-03)
        q = np.float32(1.19825839466702e-06)
        q = q * y + np.float32(1.18534705686654e-04)
        q = q * y + np.float32(2.26843463243900e-03)
        q = q * y + np.float32(4.89352518554385e-03)
        values[k] = x * p * (one / q)


@kernel
def activate(activation: int, values: NDArray[Any]) -> None:
    """Apply the activation of a skip term, in place."""
    half = values.dtype.type(0.5)
    if activation == RELU:
        for k in range(values.shape[0]):
            values[k] = values[k] if values[k] > 0 else values[k] * 0  # NaN stays NaN
    if activation == SIGMOID:  # 1 / (1 + exp(-x)) = (1 + tanh(x / 2)) / 2
        for k in range(values.shape[0]):
            values[k] *= half
    if activation in (SIGMOID, TANH):
        bound(values)
    if activation == SIGMOID:
        for k in range(values.shape[0]):
            values[k] = half + half * values[k]


@kernel
def slope_at(activation: int, value: Any) -> Any:
    """The derivative of an activation where it gives ``value``."""
    one = value * 0 + 1
    if activation == TANH:
        return one - value * value
    if activation == SIGMOID:
        return value * (one - value)
    if activation == RELU:
        return one if value > 0 else value * 0
    return one


@kernel
def skip_forward(net: Network, act: Activations, layer: int) -> Any:
    """``F(x) = Σ W ⊙ act(s ⊙ x)`` (Eq. 10), by default with ``s = leaky_relu(M x' + b)`` (Eq. 16)."""
    p, at = net.dense, net.layers[layer]
    n = at[OUT]
    read, scale, bounded = act.read[layer + 1, :n], act.scale[layer + 1, :n], act.bounded[layer + 1, :n]
    active = act.every[:n]
    if not net.pre:
        active = act.active[layer + 1, : act.actives[layer + 1]]
        for k in range(n):
            read[k] = act.x[layer + 1, k]
    if net.scale == FROM_LAYER:
        affine(p[at[META] : at[META] + n * n], p[at[SCALE] : at[SCALE] + n], read, active, scale)
        leak = p.dtype.type(LEAK)
        for k in range(n):
            scale[k] = scale[k] if scale[k] > 0 else leak * scale[k]
    else:
        for k in range(n):
            scale[k] = p[at[SCALE] + k] if net.scale == LEARNED else 1
    if net.normed:
        for k in range(n):
            scale[k] /= np.sqrt(p[at[SQUARE] + k] + p.dtype.type(EPSILON))
    for k in range(n):
        bounded[k] = scale[k] * read[k]
    activate(net.activation, bounded)
    total, weight = p.dtype.type(0), p[at[SKIP] : at[SKIP] + n]
    for k in range(n):
        total += weight[k] * bounded[k]
    return total


@kernel
def learn_vector(weight: NDArray[Any], sums: NDArray[Any], gradient: NDArray[Any], rate: Any) -> Any:
    """Adagrad, an accumulator per weight. Gives the accumulators' sum, which is finite if and only if the step is."""
    total = weight.dtype.type(0)
    for k in range(weight.shape[0]):
        sums[k] += gradient[k] * gradient[k]
        weight[k] -= rate * gradient[k] / np.sqrt(sums[k])
        total += sums[k]
    return total


@kernel
def learn_matrix(
    weight: NDArray[Any], sums: NDArray[Any], x: NDArray[Any], active: NDArray[np.int64], gradient: NDArray[Any], rate: Any
) -> Any:
    """Adagrad, an accumulator per input row ``j``: ``A_j += x_j² mean(g²)``, ``W_j -= rate x_j g / √A_j``.

    Gives the accumulators' sum, which is finite if and only if the step is: a row moves by at most ``rate √n``.
    """
    n = gradient.shape[0]
    total = mean_square = weight.dtype.type(0)
    for k in range(n):
        mean_square += gradient[k] * gradient[k]
    mean_square /= weight.dtype.type(n)
    for a in range(active.shape[0]):
        j = active[a]
        w = weight[j * n : j * n + n]
        sums[j] += x[j] * x[j] * mean_square
        step = rate * x[j] / np.sqrt(sums[j])
        total += sums[j]
        for k in range(n):
            w[k] -= step * gradient[k]
    return total


@kernel
def learn_and_pass(
    weight: NDArray[Any],
    sums: NDArray[Any],
    x: NDArray[Any],
    active: NDArray[np.int64],
    gradient: NDArray[Any],
    rate: Any,
    below: NDArray[Any],
) -> Any:
    """As :func:`learn_matrix`, and ``below_j = W_j · g`` of the weights before the step, at the active ``j``."""
    n = gradient.shape[0]
    total = mean_square = weight.dtype.type(0)
    for k in range(n):
        mean_square += gradient[k] * gradient[k]
    mean_square /= weight.dtype.type(n)
    for a in range(active.shape[0]):
        j = active[a]
        w = weight[j * n : j * n + n]
        sums[j] += x[j] * x[j] * mean_square
        step = rate * x[j] / np.sqrt(sums[j])
        total += sums[j]
        dot = weight.dtype.type(0)
        for k in range(n):
            dot += w[k] * gradient[k]
            w[k] -= step * gradient[k]
        below[j] = dot
    return total


@kernel
def skip_backward(net: Network, act: Activations, layer: int, slope: Any, rate: Any, pull: NDArray[Any]) -> Any:
    """Learn a layer's skip term; ``pull`` is its gradient for what it read. ``s`` does not pull (Eq. 16's stop-gradient)."""
    p, at = net.dense, net.layers[layer]
    n = at[OUT]
    read, scale, bounded = act.read[layer + 1, :n], act.scale[layer + 1, :n], act.bounded[layer + 1, :n]
    of_weight, of_scale = act.gradient[2, :n], act.gradient[3, :n]
    weight = p[at[SKIP] : at[SKIP] + n]
    for k in range(n):
        through = slope * weight[k] * slope_at(net.activation, bounded[k])
        of_weight[k] = slope * bounded[k]
        of_scale[k] = through * read[k]
        pull[k] = through * scale[k]
    total = learn_vector(weight, net.sums[at[SKIP + SUMS] : at[SKIP + SUMS] + n], of_weight, rate)
    if net.normed:
        total += renorm(p[at[SQUARE] : at[SQUARE] + n], read, of_scale)
    if net.scale == FROM_LAYER:
        leak = p.dtype.type(LEAK)
        for k in range(n):
            of_scale[k] = of_scale[k] if scale[k] > 0 else leak * of_scale[k]
        active = act.every[:n] if net.pre else act.active[layer + 1, : act.actives[layer + 1]]
        meta, sums = p[at[META] : at[META] + n * n], net.sums[at[META + SUMS] : at[META + SUMS] + n]
        total += learn_matrix(meta, sums, read, active, of_scale, rate)
    if net.scale in (LEARNED, FROM_LAYER):
        total += learn_vector(p[at[SCALE] : at[SCALE] + n], net.sums[at[SCALE + SUMS] : at[SCALE + SUMS] + n], of_scale, rate)
    return total


@kernel
def renorm(square: NDArray[Any], read: NDArray[Any], of_scale: NDArray[Any]) -> Any:
    """Take the gradient through ``1 / √(v + ε)``, then bring the mean square ``v`` up to date; gives the sum of ``v``."""
    epsilon, memory = square.dtype.type(EPSILON), square.dtype.type(MEMORY)
    total = square.dtype.type(0)
    for k in range(square.shape[0]):
        of_scale[k] /= np.sqrt(square[k] + epsilon)
        square[k] += (read[k] * read[k] - square[k]) / memory
        total += square[k]
    return total


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
            total += skip_backward(net, act, layer, slope, rate, here)
        for k in range(n):
            open_ = x[k] > 0
            g = above[k] if open_ else p.dtype.type(0)
            if has_term and (net.pre or open_):
                g += here[k]
            here[k] = g
        weight, sums = p[at[WEIGHT] : at[WEIGHT] + at[IN] * n], net.sums[at[WEIGHT + SUMS] : at[WEIGHT + SUMS] + at[IN]]
        active = act.active[layer, : act.actives[layer]]
        total += learn_and_pass(weight, sums, act.x[layer], active, here[:n], rate, above)
        total += learn_vector(p[at[BIAS] : at[BIAS] + n], net.sums[at[BIAS + SUMS] : at[BIAS + SUMS] + n], here[:n], rate)
    return total
