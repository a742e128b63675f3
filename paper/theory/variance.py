"""How the variance of a random network's output grows with its depth: Eq. 4, 6, 11 and 12, measured.

Shapes: n the width of a layer, L the depth, S samples.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Random: TypeAlias = np.random.Generator
Network: TypeAlias = Callable[[Random, Floats, int], Floats]  # draw a network of this depth; return its outputs, (S, columns)

INPUTS = 500  # over which one network is measured


def he(random: Random, n: int) -> Floats:
    """Return zero-mean weights ``(n, n)`` under which a layer behind ReLU keeps the second moment: ``N(0, 2 / n)``."""
    return random.normal(0, (2 / n) ** 0.5, (n, n))


def relu(x: Floats) -> Floats:
    """Return ``max(x, 0)``."""
    return np.maximum(x, 0)


def residual(random: Random, x: Floats, depth: int) -> Floats:
    """Return the last layer of one residual network, ``(S, n)``: ``x_i = x_{i-1} + relu(x_{i-1}) W_i``."""
    for _ in range(depth):
        x = x + relu(x) @ he(random, x.shape[1])
    return x


def layers(random: Random, x: Floats, depth: int) -> Iterator[Floats]:
    """Yield the layers of one plain network before ReLU, ``(S, n)``: ``z_i = relu(z_{i-1}) W_i``; the first reads ``x``."""
    for _ in range(depth):
        z = x @ he(random, x.shape[1])
        yield z
        x = relu(z)


def skip_terms(random: Random, x: Floats, depth: int) -> Floats:
    """Return the term that each layer of one network adds to its logit, ``(S, L)``: ``z_i · w_i``, with ``w_i`` from ``N(0, 1 / n)``."""
    n = x.shape[1]
    return np.array([z @ random.standard_normal(n) / n**0.5 for z in layers(random, x, depth)]).T


def skip_logit(random: Random, x: Floats, depth: int) -> Floats:
    """Return the sum of the terms, ``(S, 1)``."""
    return np.asarray(skip_terms(random, x, depth).sum(1, keepdims=True))


def tanh_logit(random: Random, x: Floats, depth: int) -> Floats:
    """Return the skip logit of one network with every W at 1, ``(S, 1)``: ``Σ_i Σ_k tanh(z_ik)``."""
    return np.asarray(sum(np.tanh(z).sum(1, keepdims=True) for z in layers(random, x, depth)))


class Variances(NamedTuple):
    """The variance of a random network's outputs, the mean over its columns."""

    over_draws: float  # each sample from a network of its own
    over_inputs: float  # of one network at a time, then the mean over networks


def variances(random: Random, network: Network, n: int, depth: int, draws: int) -> Variances:
    """Measure the variance of the outputs of ``network`` for standard normal inputs."""
    drawn = np.concatenate([network(random, random.standard_normal((1, n)), depth) for _ in range(draws)])
    fixed = [network(random, random.standard_normal((INPUTS, n)), depth).var(0) for _ in range(max(draws // 50, 8))]
    return Variances(float(drawn.var(0).mean()), float(np.mean(fixed)))
