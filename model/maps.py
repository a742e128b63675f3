"""What the branches share: parameters by place, output weights, and a matrix that maps every position of an example alike.

Shapes: P positions, a matrix ``(in, n)``, one accumulator for each of its input rows.
"""

from typing import Any

from numpy.typing import NDArray

from model.intrinsics import root
from model.layout import COLUMNS, ROWS, START, SUM_START
from model.matrix import learn_vector
from model.network import Network
from model.target import kernel


@kernel
def weights_at(net: Network, place: int) -> slice:
    """Where in ``net.dense`` a parameter of the branch lies, flat."""
    at = net.places[place]
    return slice(at[START], at[START] + at[ROWS] * at[COLUMNS])


@kernel
def sums_at(net: Network, place: int) -> slice:
    """Where in ``net.sums`` its accumulators lie."""
    at = net.places[place]
    return slice(at[SUM_START], at[SUM_START] + at[ROWS])


@kernel
def map_each(weight: NDArray[Any], n: int, x: NDArray[Any], out: NDArray[Any]) -> None:
    """``out_p = Σ_j x_pj W_j`` for each position ``p``, four rows at a time."""
    inputs = weight.shape[0] // n
    for p in range(x.shape[0]):
        to = out[p, :n]
        for k in range(n):
            to[k] = 0
    whole = inputs // 4 * 4
    for j in range(0, whole, 4):
        w = weight[j * n : j * n + 4 * n]
        w0, w1, w2, w3 = w[:n], w[n : 2 * n], w[2 * n : 3 * n], w[3 * n :]
        for p in range(x.shape[0]):
            x0, x1, x2, x3 = x[p, j], x[p, j + 1], x[p, j + 2], x[p, j + 3]
            to = out[p, :n]
            for k in range(n):
                to[k] += x0 * w0[k] + x1 * w1[k] + x2 * w2[k] + x3 * w3[k]
    for j in range(whole, inputs):
        w0 = weight[j * n : j * n + n]
        for p in range(x.shape[0]):
            x0 = x[p, j]
            to = out[p, :n]
            for k in range(n):
                to[k] += x0 * w0[k]


@kernel
def learn_each(
    weight: NDArray[Any],
    sums: NDArray[Any],
    x: NDArray[Any],
    gradient: NDArray[Any],
    rate: Any,
    row: NDArray[Any],
    below: NDArray[Any],
) -> Any:
    """Adagrad on a matrix that mapped every position, ``row (n,)`` being room for a row's gradient ``Σ_p x_pj g_p``.

    Adds ``W_j · g_p`` of the weights before the step to ``below_pj``. Gives the accumulators' sum, which is finite if
    and only if the step is.
    """
    n = row.shape[0]
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
            below[p, j] += dot
        mean_square = weight.dtype.type(0)
        for k in range(n):
            mean_square += row[k] * row[k]
        sums[j] += mean_square / weight.dtype.type(n)
        step = rate / root(sums[j])
        total += sums[j]
        for k in range(n):
            w[k] -= step * row[k]
    return total


@kernel
def output_forward(net: Network, x: NDArray[Any]) -> Any:
    """``w · x``, ``w`` being the branch's last parameter."""
    output = net.dense[weights_at(net, net.places.shape[0] - 1)]
    logit = net.dense.dtype.type(0)
    for k in range(output.shape[0]):
        logit += output[k] * x[k]
    return logit


@kernel
def output_backward(net: Network, x: NDArray[Any], slope: Any, rate: Any, below: NDArray[Any]) -> Any:
    """Learn ``w``; ``below`` gets the gradient of ``x``, and ``x`` becomes that of ``w``."""
    last = net.places.shape[0] - 1
    output = net.dense[weights_at(net, last)]
    n = output.shape[0]
    for k in range(n):
        below[k] = slope * output[k]
        x[k] *= slope
    return learn_vector(output, net.sums[sums_at(net, last)], x[:n], rate)
