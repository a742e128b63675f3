"""Would a step be faster if its large matrices were stored as bfloat16? Their passes alone, forward and back, in single precision and so.

    python -m benchmarks.half

The arithmetic is float32 in all of them. Stored are float32; bfloat16, rounded to the nearest; bfloat16, rounded up or down at random, by
a hash of the number of the step and of the weight, as steps smaller than half a bfloat16's last digit need. Medians of turns; the gain is
at most that of a whole step, for nothing else in it is timed.
"""

import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from model.kernels.intrinsics import llvm_intrinsic
from model.kernels.target import kernel

TOWERS = ((624, 1024, 512, 256), (624, 2048, 2048))
TURNS, SECONDS = 9, 0.3


@llvm_intrinsic
def widen(_typing: Any, half: Any) -> Any:  # noqa: ARG001
    """Return a bfloat16, given by its bits, as float32."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        bits = builder.shl(builder.zext(arguments[0], ir.IntType(32)), ir.Constant(ir.IntType(32), 16))
        return builder.bitcast(bits, ir.FloatType())

    return types.float32(types.uint16), generate


@llvm_intrinsic
def narrow(_typing: Any, number: Any, chance: Any) -> Any:  # noqa: ARG001
    """Return the bits of a float32 as bfloat16, rounded up if ``chance``, of 16 bits, and what is cut off carry."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        bits = builder.add(builder.bitcast(arguments[0], ir.IntType(32)), arguments[1])
        return builder.trunc(builder.lshr(bits, ir.Constant(ir.IntType(32), 16)), ir.IntType(16))

    return types.uint16(types.float32, types.uint32), generate


@kernel
def forward(weight: Any, x: Any, out: Any) -> None:
    """Map as :func:`model.kernels.matrix.affine` does."""
    n = out.shape[0]
    out[:] = 0
    for j in range(0, x.shape[0], 4):
        w0, w1 = weight[j * n : j * n + n], weight[j * n + n : j * n + 2 * n]
        w2, w3 = weight[j * n + 2 * n : j * n + 3 * n], weight[j * n + 3 * n : j * n + 4 * n]
        for k in range(n):
            out[k] = out[k] + x[j] * w0[k] + x[j + 1] * w1[k] + x[j + 2] * w2[k] + x[j + 3] * w3[k]


@kernel
def forward_half(weight: Any, x: Any, out: Any) -> None:
    """Do the same with bfloat16."""
    n = out.shape[0]
    out[:] = 0
    for j in range(0, x.shape[0], 4):
        w0, w1 = weight[j * n : j * n + n], weight[j * n + n : j * n + 2 * n]
        w2, w3 = weight[j * n + 2 * n : j * n + 3 * n], weight[j * n + 3 * n : j * n + 4 * n]
        for k in range(n):
            out[k] = out[k] + x[j] * widen(w0[k]) + x[j + 1] * widen(w1[k]) + x[j + 2] * widen(w2[k]) + x[j + 3] * widen(w3[k])


@kernel
def back(weight: Any, step: Any, gradient: Any, grad_x: Any, number: Any) -> None:  # noqa: ARG001
    """Learn and pass back as :func:`model.kernels.matrix.learn_and_pass` does."""
    n = gradient.shape[0]
    for j in range(0, step.shape[0], 2):
        w0, w1, s0, s1 = weight[j * n : j * n + n], weight[j * n + n : j * n + 2 * n], step[j], step[j + 1]
        dot0 = dot1 = np.float32(0)
        for k in range(n):
            g, v0, v1 = gradient[k], w0[k], w1[k]
            dot0 += v0 * g
            dot1 += v1 * g
            w0[k] = v0 - s0 * g
            w1[k] = v1 - s1 * g
        grad_x[j], grad_x[j + 1] = dot0, dot1


@kernel
def back_nearest(weight: Any, step: Any, gradient: Any, grad_x: Any, number: Any) -> None:  # noqa: ARG001
    """Do the same with bfloat16, rounded to the nearest."""
    n = gradient.shape[0]
    for j in range(0, step.shape[0], 2):
        w0, w1, s0, s1 = weight[j * n : j * n + n], weight[j * n + n : j * n + 2 * n], step[j], step[j + 1]
        dot0 = dot1 = np.float32(0)
        for k in range(n):
            g, v0, v1 = gradient[k], widen(w0[k]), widen(w1[k])
            dot0 += v0 * g
            dot1 += v1 * g
            w0[k] = narrow(v0 - s0 * g, np.uint32(0x8000))
            w1[k] = narrow(v1 - s1 * g, np.uint32(0x8000))
        grad_x[j], grad_x[j + 1] = dot0, dot1


@kernel
def back_random(weight: Any, step: Any, gradient: Any, grad_x: Any, number: Any) -> None:
    """Do the same with bfloat16, rounded at random."""
    n = gradient.shape[0]
    for j in range(0, step.shape[0], 2):
        w0, w1, s0, s1 = weight[j * n : j * n + n], weight[j * n + n : j * n + 2 * n], step[j], step[j + 1]
        dot0 = dot1 = np.float32(0)
        seed = np.uint32(number * 0x9E3779B9 + j * 0x85EBCA6B)
        for k in range(n):
            g, v0, v1 = gradient[k], widen(w0[k]), widen(w1[k])
            dot0 += v0 * g
            dot1 += v1 * g
            chance = (np.uint32(k) ^ seed) * np.uint32(0xC2B2AE35)
            chance = np.uint32((chance ^ (chance >> np.uint32(15))) * np.uint32(0x27D4EB2F))
            w0[k] = narrow(v0 - s0 * g, np.uint32(chance & np.uint32(0xFFFF)))
            w1[k] = narrow(v1 - s1 * g, np.uint32(chance >> np.uint32(16)))
        grad_x[j], grad_x[j + 1] = dot0, dot1


KERNELS = {
    "float32": (np.float32, forward, back),
    "bfloat16, to the nearest": (np.uint16, forward_half, back_nearest),
    "bfloat16, at random": (np.uint16, forward_half, back_random),
}


def passes(tower: tuple[int, ...], stored: Any, there: Callable[..., None], again: Callable[..., None]) -> Callable[[int], None]:
    """Return what passes through all matrices of a tower and of its meta learners, forward and back, as a step does."""
    random = np.random.default_rng(0)
    shapes = [*pairwise(tower), *((n, n) for n in tower[1:])]
    layers = []
    for inputs, outputs in shapes:
        weight = (random.standard_normal(inputs * outputs) / 30).astype(np.float32)
        bits = weight if stored is np.float32 else (weight.view(np.uint32) >> 16).astype(np.uint16)
        layers.append((bits, *(random.standard_normal(n).astype(np.float32) for n in (inputs, outputs, inputs, outputs, inputs))))

    def once(number: int) -> None:
        for weight, x, out, _, _, _ in layers:
            there(weight, x, out)
        for weight, _, _, step, gradient, grad_x in reversed(layers):
            again(weight, step, gradient, grad_x, number)

    for layer in layers:
        layer[3][:] *= 1e-5  # small steps
    return once


def main() -> None:
    """Print passes a second of each storage, for each tower, in turn."""
    for tower in TOWERS:
        sides = {name: passes(tower, *kernels) for name, kernels in KERNELS.items()}
        speeds: dict[str, list[float]] = {name: [] for name in sides}
        for side in sides.values():
            side(0)
        for _ in range(TURNS):
            for name, side in sides.items():
                number, begin = 0, time.thread_time()
                while time.thread_time() - begin < SECONDS:
                    side(number)
                    number += 1
                speeds[name].append(number / (time.thread_time() - begin))
        weights = sum(a * b for a, b in pairwise(tower)) + sum(n * n for n in tower[1:])
        base = statistics.median(speeds["float32"])
        told = ", ".join(f"{name} {statistics.median(each):,.0f} ({statistics.median(each) / base:.2f})" for name, each in speeds.items())
        print(f"{tower[1:]}, {4 * weights / 1e6:.1f} MB as float32: passes a second {told}", flush=True)


if __name__ == "__main__":
    main()
