"""What a matrix ``(in, out)`` and a vector do: map an input, and take a step of Adagrad.

A matrix has one accumulator for each input row ``j``: ``A_j += x_j² mean(g²)``, ``W_j -= s_j g`` with ``s_j = rate x_j / √A_j``. The
kernels that learn return the sum of the accumulators, which is finite if and only if the step is: a row moves by at most ``rate √n``.

Shapes: ``n`` the width of the output; a matrix is flat, row after row.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.kernels.intrinsics import root
from model.kernels.target import inner, inner_ordered_sum


@inner_ordered_sum
def affine(weight: NDArray[Any], bias: NDArray[Any], x: NDArray[Any], active: NDArray[np.int64], out: NDArray[Any]) -> None:
    """Compute ``out = bias + Σ_j x_j W_j`` over the active inputs ``j``, in their order, four rows at a time."""
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
            out[k] = out[k] + x0 * w0[k] + x1 * w1[k] + x2 * w2[k] + x3 * w3[k]
    for a in range(whole, active.shape[0]):
        j = active[a]
        x0 = x[j]
        w = weight[j * n : j * n + n]
        for k in range(n):
            out[k] = out[k] + x0 * w[k]


@inner_ordered_sum
def affine_each(weight: NDArray[Any], begun: NDArray[Any], x: NDArray[Any], first: int | np.int64, count: int, out: NDArray[Any]) -> None:
    """Map each row of ``x[:count]`` as :func:`affine` does, to the bit: ``out_t = begun + Σ_j x_tj W_j`` over the inputs from ``first`` on.

    Two rows at a time, so both arrays have an even number of them: that of the last may be computed in vain. A weight is read once for all.
    """
    n = begun.shape[0]
    for t in range(count):
        for k in range(n):
            out[t, k] = begun[k]
    inputs = weight.shape[0] // n
    whole = first + (inputs - first) // 4 * 4
    for j in range(first, whole, 4):
        w0, w1 = weight[j * n : j * n + n], weight[j * n + n : j * n + 2 * n]
        w2, w3 = weight[j * n + 2 * n : j * n + 3 * n], weight[j * n + 3 * n : j * n + 4 * n]
        for t in range(0, count, 2):
            x0, x1, x2, x3 = x[t, j], x[t, j + 1], x[t, j + 2], x[t, j + 3]
            y0, y1, y2, y3 = x[t + 1, j], x[t + 1, j + 1], x[t + 1, j + 2], x[t + 1, j + 3]
            a, b = out[t], out[t + 1]
            for k in range(n):
                a[k] = a[k] + x0 * w0[k] + x1 * w1[k] + x2 * w2[k] + x3 * w3[k]
                b[k] = b[k] + y0 * w0[k] + y1 * w1[k] + y2 * w2[k] + y3 * w3[k]
    for j in range(whole, inputs):
        w = weight[j * n : j * n + n]
        for t in range(count):
            x0, a = x[t, j], out[t]
            for k in range(n):
                a[k] = a[k] + x0 * w[k]


@inner_ordered_sum
def flush_and_map(
    weight: NDArray[Any], bias: NDArray[Any], step: NDArray[Any], gradient: NDArray[Any], x: NDArray[Any], out: NDArray[Any]
) -> None:
    """Take a deferred step as :func:`move_rows` does, of every row, and map as :func:`affine`, to the bit; in one pass, four at a time."""
    n = out.shape[0]
    for k in range(n):
        out[k] = bias[k]
    whole = x.shape[0] // 4 * 4
    for j in range(0, whole, 4):
        x0, x1, x2, x3 = x[j], x[j + 1], x[j + 2], x[j + 3]
        s0, s1, s2, s3 = step[j], step[j + 1], step[j + 2], step[j + 3]
        w0, w1 = weight[j * n : j * n + n], weight[j * n + n : j * n + 2 * n]
        w2, w3 = weight[j * n + 2 * n : j * n + 3 * n], weight[j * n + 3 * n : j * n + 4 * n]
        for k in range(n):
            g = gradient[k]
            v0, v1, v2, v3 = w0[k] - s0 * g, w1[k] - s1 * g, w2[k] - s2 * g, w3[k] - s3 * g
            w0[k], w1[k], w2[k], w3[k] = v0, v1, v2, v3
            out[k] = out[k] + x0 * v0 + x1 * v1 + x2 * v2 + x3 * v3
    for j in range(whole, x.shape[0]):
        x0, s0, w = x[j], step[j], weight[j * n : j * n + n]
        for k in range(n):
            v0 = w[k] - s0 * gradient[k]
            w[k] = v0
            out[k] = out[k] + x0 * v0


@inner_ordered_sum
def move_rows(weight: NDArray[Any], step: NDArray[Any], gradient: NDArray[Any], active: NDArray[np.int64]) -> None:
    """Compute ``W_j -= s_j g`` for the active rows."""
    n = gradient.shape[0]
    for a in range(active.shape[0]):
        s0, w = step[active[a]], weight[active[a] * n : active[a] * n + n]
        for k in range(n):
            w[k] = w[k] - s0 * gradient[k]


@inner
def learn_vector(weight: NDArray[Any], accumulators: NDArray[Any], gradient: NDArray[Any], rate: Any) -> Any:
    """Take an Adagrad step, with an accumulator per weight."""
    total = weight.dtype.type(0)
    for k in range(weight.shape[0]):
        accumulators[k] += gradient[k] * gradient[k]
        weight[k] -= rate * gradient[k] / root(accumulators[k])
        total += accumulators[k]
    return total


@inner
def update_accumulators(accumulators: NDArray[Any], x: NDArray[Any], gradient: NDArray[Any], rate: Any, step: NDArray[Any]) -> Any:
    """Update a matrix's accumulators; fill ``step`` with each row's ``s_j``. Silenced inputs are 0 and move nothing."""
    square = accumulators.dtype.type(0)
    for k in range(gradient.shape[0]):
        square += gradient[k] * gradient[k]
    square /= accumulators.dtype.type(gradient.shape[0])
    total = accumulators.dtype.type(0)
    for j in range(accumulators.shape[0]):
        accumulators[j] += x[j] * x[j] * square
        step[j] = rate * x[j] / root(accumulators[j])
        total += accumulators[j]
    return total


@inner
def learn_and_pass(
    weight: NDArray[Any], step: NDArray[Any], gradient: NDArray[Any], active: NDArray[np.int64], grad_x: NDArray[Any]
) -> None:
    """Move the rows as :func:`move_rows` does; ``grad_x_j = W_j · g`` of the weights before the step; in one pass, two rows at a time."""
    n = gradient.shape[0]
    whole = active.shape[0] // 2 * 2
    for a in range(0, whole, 2):
        j0, j1 = active[a], active[a + 1]
        s0, s1 = step[j0], step[j1]
        w0, w1 = weight[j0 * n : j0 * n + n], weight[j1 * n : j1 * n + n]
        dot0 = dot1 = weight.dtype.type(0)
        for k in range(n):
            g, v0, v1 = gradient[k], w0[k], w1[k]
            dot0 += v0 * g
            dot1 += v1 * g
            w0[k] = v0 - s0 * g
            w1[k] = v1 - s1 * g
        grad_x[j0], grad_x[j1] = dot0, dot1
    if whole < active.shape[0]:
        j0 = active[whole]
        s0, w = step[j0], weight[j0 * n : j0 * n + n]
        dot0 = weight.dtype.type(0)
        for k in range(n):
            g, v0 = gradient[k], w[k]
            dot0 += v0 * g
            w[k] = v0 - s0 * g
        grad_x[j0] = dot0
