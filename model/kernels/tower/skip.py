"""The skip terms' kernels, forward and backward with the update; ``model.networks.skip`` defines them.

Where the terms read before ReLU, a meta learner's matrix is visited once an example: its step is deferred until the matrix is next read.

Shapes: ``n`` the width of the layer that a term reads.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.kernels.intrinsics import SINGLE, root
from model.kernels.matrix import affine, flush_and_map, learn_vector, move_rows, update_accumulators
from model.kernels.network import ACCUMULATORS, META, SCALE, SKIP, SQUARE, WIDTH, Activations, Network
from model.kernels.target import inner, view
from model.terms import EPSILON, FROM_LAYER, LEARNED, MEMORY, RELU, SIGMOID, TANH

LEAK = 0.01  # leaky_relu's slope below zero


@inner
def tanh_approx(values: NDArray[Any]) -> None:
    """Apply ``tanh`` in place. In single precision by Eigen's rational approximation, vectorised by the compiler: within 5 ulp."""
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


@inner
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


@inner
def derivative_at(activation: int, value: Any) -> Any:
    """Return the derivative of an activation where its result is ``value``."""
    one = value * 0 + 1
    if activation == TANH:
        return one - value * value
    if activation == SIGMOID:
        return value * (one - value)
    if activation == RELU:
        return one if value > 0 else value * 0
    return one


@inner
def flush(net: Network, act: Activations) -> None:
    """Take every step that is deferred."""
    if not net.deferred:
        return
    for term in range(net.terms.shape[0]):
        start, n = net.terms[term, META], net.terms[term, WIDTH]
        move_rows(net.dense[start : start + n * n], act.deferred_step[term, :n], act.deferred_gradient[term, :n], act.all_indices[:n])


@inner
def find_scale(
    net: Network, act: Activations, term: int, x: NDArray[Any], active: NDArray[np.int64], scale: NDArray[Any], begun: Any
) -> None:
    """Fill ``scale`` with ``s``: 1, a learned vector, or by default ``leaky_relu(M x' + b)`` (Eq. 16), where ``M x' + b`` may be there."""
    p, at, n = net.dense, net.terms[term], scale.shape[0]
    if net.scale == FROM_LAYER:
        meta, bias = p[at[META] : at[META] + n * n], p[at[SCALE] : at[SCALE] + n]
        if net.deferred:
            flush_and_map(meta, bias, act.deferred_step[term, :n], act.deferred_gradient[term, :n], x, scale)
        elif not begun:
            affine(meta, bias, x, active, scale)
        leak = p.dtype.type(LEAK)
        for k in range(n):
            scale[k] = scale[k] if scale[k] > 0 else leak * scale[k]
    else:
        for k in range(n):
            scale[k] = p[at[SCALE] + k] if net.scale == LEARNED else 1
    if net.normed:
        for k in range(n):
            scale[k] /= root(p[at[SQUARE] + k] + p.dtype.type(EPSILON))


@inner
def forward(net: Network, act: Activations, term: int, active: NDArray[np.int64], begun: Any) -> Any:
    """Return ``F(x) = Σ W ⊙ act(s ⊙ x)`` (Eq. 10), by default with ``s = leaky_relu(M x' + b)`` (Eq. 16).

    Args:
        net: the network.
        act: its activations; ``x`` is ``act.skip_input[term]``.
        term: the index of the term.
        active: the indices where ``x`` is not silenced.
        begun: ``M x' + b`` is in ``act.scale[term]`` already.
    """
    p, at = net.dense, net.terms[term]
    n = at[WIDTH]
    x, scale, activated = act.skip_input[term, :n], act.scale[term, :n], act.activated[term, :n]
    find_scale(net, act, term, x, active, scale, begun)
    for k in range(n):
        activated[k] = scale[k] * x[k]
    activate(net.activation, activated)
    total, weight = p.dtype.type(0), p[at[SKIP] : at[SKIP] + n]
    for k in range(n):
        total += weight[k] * activated[k]
    return total


@inner
def renorm(square: NDArray[Any], x: NDArray[Any], grad_scale: NDArray[Any]) -> Any:
    """Take the gradient through ``1 / √(v + ε)``, then update the mean square ``v``; return the sum of ``v``."""
    epsilon, memory = square.dtype.type(EPSILON), square.dtype.type(MEMORY)
    total = square.dtype.type(0)
    for k in range(square.shape[0]):
        grad_scale[k] /= root(square[k] + epsilon)
        square[k] += (x[k] * x[k] - square[k]) / memory
        total += square[k]
    return total


@inner
def backward(net: Network, act: Activations, term: int, active: NDArray[np.int64], dlogit: Any, rate: Any, grad_x: NDArray[Any]) -> Any:
    """Learn a skip term; fill ``grad_x``, the gradient of its input, to which ``s`` adds nothing (Eq. 16's stop-gradient)."""
    p, at = net.dense, net.terms[term]
    n = at[WIDTH]
    x, scale, activated = act.skip_input[term, :n], act.scale[term, :n], act.activated[term, :n]
    grad_weight, grad_scale = act.gradient[2, :n], act.deferred_gradient[term, :n]
    weight = p[at[SKIP] : at[SKIP] + n]
    for k in range(n):
        grad_scaled = dlogit * weight[k] * derivative_at(net.activation, activated[k])
        grad_weight[k] = dlogit * activated[k]
        grad_scale[k] = grad_scaled * x[k]
        grad_x[k] = grad_scaled * scale[k]
    total = learn_vector(weight, _accumulators(net, at[SKIP + ACCUMULATORS], n), grad_weight, rate)
    if net.normed:
        total += renorm(p[at[SQUARE] : at[SQUARE] + n], x, grad_scale)
    if net.scale == FROM_LAYER:
        leak = p.dtype.type(LEAK)
        for k in range(n):
            grad_scale[k] = grad_scale[k] if scale[k] > 0 else leak * grad_scale[k]
        step = act.deferred_step[term, :n]
        total += update_accumulators(_accumulators(net, at[META + ACCUMULATORS], n), x, grad_scale, rate, step)
        if not net.deferred:
            move_rows(p[at[META] : at[META] + n * n], step, grad_scale, active)
    if net.scale in (LEARNED, FROM_LAYER):
        total += learn_vector(p[at[SCALE] : at[SCALE] + n], _accumulators(net, at[SCALE + ACCUMULATORS], n), grad_scale, rate)
    return total


@view
def _accumulators(net: Network, start: int, n: int) -> NDArray[Any]:
    return net.accumulators[start : start + n]
