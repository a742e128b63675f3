"""The skip terms' kernels, forward and backward with the update; ``model.networks.skip`` defines them.

Where the terms read before ReLU, a meta learner's matrix is visited once an example: the step is owed until the matrix is next read.

Shapes: ``n`` the width of the layer that a term reads.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.kernels.intrinsics import SINGLE, root
from model.kernels.matrix import affine, flush, learn_vector, settle_and_map, update_accumulators
from model.kernels.network import Activations, Network
from model.kernels.target import kernel
from model.layout import META, SCALE, SKIP, SQUARE, SUMS, WIDTH
from model.terms import EPSILON, FROM_LAYER, LEARNED, MEMORY, RELU, SIGMOID, TANH

LEAK = 0.01  # leaky_relu's slope below zero


@kernel
def tanh_approx(values: NDArray[Any]) -> None:
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
        tanh_approx(values)
    if activation == SIGMOID:
        for k in range(values.shape[0]):
            values[k] = half + half * values[k]


@kernel
def slope_at(activation: int, value: Any) -> Any:
    """Return the derivative of an activation where it gives ``value``."""
    one = value * 0 + 1
    if activation == TANH:
        return one - value * value
    if activation == SIGMOID:
        return value * (one - value)
    if activation == RELU:
        return one if value > 0 else value * 0
    return one


@kernel
def has_deferred(net: Network) -> bool:
    """Return whether the meta learners' steps are deferred."""
    return net.scale == FROM_LAYER and net.pre and net.accumulators.shape[0] > 0


@kernel
def flush_all(net: Network, act: Activations) -> None:
    """Take every deferred step."""
    if not has_deferred(net):
        return
    for term in range(net.terms.shape[0]):
        start, n = net.terms[term, META], net.terms[term, WIDTH]
        flush(net.dense[start : start + n * n], act.deferred[term, :n], act.deferred_gradient[term, :n], act.all_indices[:n])


@kernel
def find_scale(net: Network, act: Activations, term: int, skip_input: NDArray[Any], active: NDArray[np.int64], scale: NDArray[Any]) -> None:
    """``s``: 1, a learned vector, or by default ``leaky_relu(M x' + b)`` (Eq. 16)."""
    p, at, n = net.dense, net.terms[term], scale.shape[0]
    if net.scale == FROM_LAYER:
        meta, bias = p[at[META] : at[META] + n * n], p[at[SCALE] : at[SCALE] + n]
        if has_deferred(net):
            settle_and_map(meta, bias, act.deferred[term, :n], act.deferred_gradient[term, :n], skip_input, scale)
        else:
            affine(meta, bias, skip_input, active, scale)
        leak = p.dtype.type(LEAK)
        for k in range(n):
            scale[k] = scale[k] if scale[k] > 0 else leak * scale[k]
    else:
        for k in range(n):
            scale[k] = p[at[SCALE] + k] if net.scale == LEARNED else 1
    if net.normed:
        for k in range(n):
            scale[k] /= root(p[at[SQUARE] + k] + p.dtype.type(EPSILON))


@kernel
def forward(net: Network, act: Activations, term: int, active: NDArray[np.int64]) -> Any:
    """``F(x) = Σ W ⊙ act(s ⊙ x)`` (Eq. 10), by default with ``s = leaky_relu(M x' + b)`` (Eq. 16); ``x`` is ``act.skip_input[term]``.

    Args:
        net: the network.
        act: room for its pass.
        term: which of its terms.
        active: the indices where ``x`` is not silenced.
    """
    p, at = net.dense, net.terms[term]
    n = at[WIDTH]
    skip_input, scale, bounded = act.skip_input[term, :n], act.scale[term, :n], act.bounded[term, :n]
    find_scale(net, act, term, skip_input, active, scale)
    for k in range(n):
        bounded[k] = scale[k] * skip_input[k]
    activate(net.activation, bounded)
    total, weight = p.dtype.type(0), p[at[SKIP] : at[SKIP] + n]
    for k in range(n):
        total += weight[k] * bounded[k]
    return total


@kernel
def renorm(square: NDArray[Any], skip_input: NDArray[Any], of_scale: NDArray[Any]) -> Any:
    """Take the gradient through ``1 / √(v + ε)``, then bring the mean square ``v`` up to date; return the sum of ``v``."""
    epsilon, memory = square.dtype.type(EPSILON), square.dtype.type(MEMORY)
    total = square.dtype.type(0)
    for k in range(square.shape[0]):
        of_scale[k] /= root(square[k] + epsilon)
        square[k] += (skip_input[k] * skip_input[k] - square[k]) / memory
        total += square[k]
    return total


@kernel
def backward(net: Network, act: Activations, term: int, active: NDArray[np.int64], dlogit: Any, rate: Any, grad_in: NDArray[Any]) -> Any:
    """Learn a skip term; ``grad_in`` is its gradient for its input. No gradient goes through ``s`` (Eq. 16's stop-gradient)."""
    p, at = net.dense, net.terms[term]
    n = at[WIDTH]
    skip_input, scale, bounded = act.skip_input[term, :n], act.scale[term, :n], act.bounded[term, :n]
    grad_weight, of_scale = act.gradient[2, :n], act.deferred_gradient[term, :n]
    weight = p[at[SKIP] : at[SKIP] + n]
    for k in range(n):
        through = dlogit * weight[k] * slope_at(net.activation, bounded[k])
        grad_weight[k] = dlogit * bounded[k]
        of_scale[k] = through * skip_input[k]
        grad_in[k] = through * scale[k]
    total = learn_vector(weight, net.accumulators[at[SKIP + SUMS] : at[SKIP + SUMS] + n], grad_weight, rate)
    if net.normed:
        total += renorm(p[at[SQUARE] : at[SQUARE] + n], skip_input, of_scale)
    if net.scale == FROM_LAYER:
        leak = p.dtype.type(LEAK)
        for k in range(n):
            of_scale[k] = of_scale[k] if scale[k] > 0 else leak * of_scale[k]
        deferred = act.deferred[term, :n]
        total += update_accumulators(net.accumulators[at[META + SUMS] : at[META + SUMS] + n], skip_input, of_scale, rate, deferred)
        if not has_deferred(net):
            flush(p[at[META] : at[META] + n * n], deferred, of_scale, active)
    if net.scale in (LEARNED, FROM_LAYER):
        total += learn_vector(p[at[SCALE] : at[SCALE] + n], net.accumulators[at[SCALE + SUMS] : at[SCALE + SUMS] + n], of_scale, rate)
    return total
