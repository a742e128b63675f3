"""What a matrix ``(in, out)`` and a vector do: map an input, and take a step of Adagrad.

Only the rows of active inputs are visited, once in each direction. The kernels that learn give the sum of the accumulators that they
touched, which is finite if and only if the step is: a row moves by at most ``rate √n``.

Shapes: ``n`` the width of the output; a matrix is flat, row after row.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.target import kernel


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
def learn_vector(weight: NDArray[Any], sums: NDArray[Any], gradient: NDArray[Any], rate: Any) -> Any:
    """Adagrad, an accumulator per weight."""
    total = weight.dtype.type(0)
    for k in range(weight.shape[0]):
        sums[k] += gradient[k] * gradient[k]
        weight[k] -= rate * gradient[k] / np.sqrt(sums[k])
        total += sums[k]
    return total


@kernel
def mean_square(values: NDArray[Any]) -> Any:
    """``mean(v²)``."""
    total = values.dtype.type(0)
    for k in range(values.shape[0]):
        total += values[k] * values[k]
    return total / values.dtype.type(values.shape[0])


@kernel
def learn_matrix(
    weight: NDArray[Any], sums: NDArray[Any], x: NDArray[Any], active: NDArray[np.int64], gradient: NDArray[Any], rate: Any
) -> Any:
    """Adagrad, an accumulator per input row ``j``: ``A_j += x_j² mean(g²)``, ``W_j -= rate x_j g / √A_j``."""
    n = gradient.shape[0]
    square = mean_square(gradient)
    total = weight.dtype.type(0)
    for a in range(active.shape[0]):
        j = active[a]
        w = weight[j * n : j * n + n]
        sums[j] += x[j] * x[j] * square
        total += sums[j]
        step = rate * x[j] / np.sqrt(sums[j])
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
    """As :func:`learn_matrix`, and ``below_j = W_j · g`` of the weights before the step, in the same pass over a row."""
    n = gradient.shape[0]
    square = mean_square(gradient)
    total = weight.dtype.type(0)
    for a in range(active.shape[0]):
        j = active[a]
        w = weight[j * n : j * n + n]
        sums[j] += x[j] * x[j] * square
        total += sums[j]
        step = rate * x[j] / np.sqrt(sums[j])
        dot = weight.dtype.type(0)
        for k in range(n):
            dot += w[k] * gradient[k]
            w[k] -= step * gradient[k]
        below[j] = dot
    return total
