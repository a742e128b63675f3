"""What the branches share: their parameters by index, output weights, and a matrix that maps every position of an example alike.

Shapes: P positions, a matrix ``(in, n)``, one accumulator for each of its input rows.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.kernels.intrinsics import root
from model.kernels.matrix import affine, learn_vector
from model.kernels.network import ACCUMULATOR_START, COLUMNS, ROWS, START, Network
from model.kernels.target import inner


@inner
def weights_at(net: Network, index: int) -> slice:
    """Return where in ``net.dense`` a parameter of the branch lies, flat."""
    at = net.branch_parameters[index]
    return slice(at[START], at[START] + at[ROWS] * at[COLUMNS])


@inner
def accumulators_at(net: Network, index: int) -> slice:
    """Return where in ``net.accumulators`` its accumulators lie."""
    at = net.branch_parameters[index]
    return slice(at[ACCUMULATOR_START], at[ACCUMULATOR_START] + at[ROWS])


@inner
def map_each(weight: NDArray[Any], zeros: NDArray[Any], x: NDArray[Any], all_indices: NDArray[np.int64], out: NDArray[Any]) -> None:
    """Compute ``out_p = Σ_j x_pj W_j`` for each position ``p``; ``n`` is the length of ``zeros (n,)``."""
    n = zeros.shape[0]
    inputs = weight.shape[0] // n
    for p in range(x.shape[0]):
        affine(weight, zeros, x[p], all_indices[:inputs], out[p, :n])


@inner
def learn_each(
    weight: NDArray[Any],
    accumulators: NDArray[Any],
    x: NDArray[Any],
    gradient: NDArray[Any],
    rate: Any,
    row: NDArray[Any],
    grad_x: NDArray[Any],
) -> Any:
    """Take an Adagrad step on a matrix that mapped every position; ``row (n,)`` is scratch for a row's gradient ``r = Σ_p x_pj g_p``.

    Adds ``W_j · g_p`` of the weights before the step to ``grad_x_pj``. A row has one accumulator, or several, each of an equal part of it.
    Returns the accumulators' sum, which is finite if and only if the step is.
    """
    n = row.shape[0]
    part = weight.shape[0] // accumulators.shape[0]
    total = weight.dtype.type(0)
    for j in range(weight.shape[0] // n):
        w = weight[j * n : j * n + n]
        for k in range(n):
            row[k] = 0
        for p in range(x.shape[0]):
            xj, g = x[p, j], gradient[p, :n]
            dot = weight.dtype.type(0)
            for k in range(n):
                row[k] += xj * g[k]
                dot += w[k] * g[k]
            grad_x[p, j] += dot
        for a in range(0, n, part):
            total += learn_row(w[a : a + part], accumulators, (j * n + a) // part, row[a : a + part], rate)
    return total


@inner
def learn_row(weight: NDArray[Any], accumulators: NDArray[Any], index: int, gradient: NDArray[Any], rate: Any) -> Any:
    """Take an Adagrad step on weights that share the accumulator at ``index``: it grows by ``mean(g²)``."""
    square = weight.dtype.type(0)
    for k in range(gradient.shape[0]):
        square += gradient[k] * gradient[k]
    accumulators[index] += square / weight.dtype.type(gradient.shape[0])
    step = rate / root(accumulators[index])
    for k in range(gradient.shape[0]):
        weight[k] -= step * gradient[k]
    return accumulators[index]


@inner
def output_forward(net: Network, x: NDArray[Any]) -> Any:
    """Return ``w · x``, ``w`` being the branch's last parameter."""
    output = net.dense[weights_at(net, net.branch_parameters.shape[0] - 1)]
    logit = net.dense.dtype.type(0)
    for k in range(output.shape[0]):
        logit += output[k] * x[k]
    return logit


@inner
def output_backward(net: Network, x: NDArray[Any], dlogit: Any, rate: Any, grad_x: NDArray[Any]) -> Any:
    """Learn ``w``; ``grad_x`` gets the gradient of ``x``, and ``x`` becomes that of ``w``."""
    last = net.branch_parameters.shape[0] - 1
    output = net.dense[weights_at(net, last)]
    n = output.shape[0]
    for k in range(n):
        grad_x[k] = dlogit * output[k]
        x[k] *= dlogit
    return learn_vector(output, net.accumulators[accumulators_at(net, last)], x[:n], rate)
