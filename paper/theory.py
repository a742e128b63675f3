"""The paper's theory, put to the test: how variance grows with depth, and where linear skip logit networks have their minima.

    python -m paper.theory

prints the tables of benchmarks/paper/theory.md, which says what of it holds.

Shapes: n the width of a layer, L the depth, S samples; in linear networks d the width of everything and l the depth.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Random: TypeAlias = np.random.Generator


def he(random: Random, n: int) -> Floats:
    """Zero-mean weights ``(n, n)`` under which a layer behind ReLU keeps the second moment: ``N(0, 2 / n)``."""
    return random.standard_normal((n, n)) * (2 / n) ** 0.5


def relu(x: Floats) -> Floats:
    """``max(x, 0)``."""
    return np.maximum(x, 0)


def residual(random: Random, x: Floats, depth: int) -> Floats:
    """The last layer of one residual network, ``(S, n)``: ``x_i = x_{i-1} + relu(x_{i-1}) W_i``."""
    for _ in range(depth):
        x = x + relu(x) @ he(random, x.shape[1])
    return x


def skip_terms(random: Random, x: Floats, depth: int) -> Floats:
    """The terms that each layer of one network adds to its logit, ``(S, L)``: ``z_i · w_i`` with ``z_i = relu(z_{i-1}) W_i``."""
    n = x.shape[1]
    terms = []
    for _ in range(depth):
        z = x @ he(random, n)  # (S, n)
        terms.append(z @ random.standard_normal(n) / n**0.5)
        x = relu(z)
    return np.array(terms).T


def tanh_sum(random: Random, x: Floats, depth: int) -> Floats:
    """The skip logit of one network whose weights W are 1, ``(S, 1)``: ``Σ_i Σ_k tanh(z_ik)``."""
    total = np.zeros(len(x))
    for _ in range(depth):
        z = x @ he(random, x.shape[1])  # (S, n)
        total += np.tanh(z).sum(1)
        x = relu(z)
    return total[:, None]


class Variances(NamedTuple):
    """Of something a random network gives; the mean over its columns, ``(columns,)``."""

    over_draws: Floats  # each sample from a network of its own
    over_inputs: Floats  # of one network at a time, then the mean over networks


def variances(random: Random, network: Callable[[Random, Floats, int], Floats], n: int, depth: int, draws: int) -> Variances:
    """Measure the variance of what ``network`` gives for standard normal inputs."""
    drawn = np.concatenate([network(random, random.standard_normal((1, n)), depth) for _ in range(draws)])
    fixed = [network(random, random.standard_normal((500, n)), depth).var(0) for _ in range(max(draws // 50, 8))]
    return Variances(drawn.var(0), np.mean(fixed, axis=0))


def summed(network: Callable[[Random, Floats, int], Floats]) -> Callable[[Random, Floats, int], Floats]:
    """The first term of a network, and the sum of all: ``(S, 2)``."""

    def first_and_sum(random: Random, x: Floats, depth: int) -> Floats:
        terms = network(random, x, depth)
        return np.stack([terms[:, 0], terms.sum(1)], axis=1)

    return first_and_sum


class LinearSkip(NamedTuple):
    """A linear skip logit network, and the least-squares problem that it is to solve.

        h_0 = x,   h_j = A_j h_{j-1},   ŷ = Σ_{j=0..l} h_j = E x
        f   = E‖ŷ - (R x + ξ)‖² = C + ‖(E - R) Σ^½‖²,   Σ = E[x xᵀ],   C = E‖ξ‖²

    With ``T_j`` the sum that a layer still has before it, ``T_{l+1} = I`` and ``T_j = I + T_{j+1} A_j``, the whole is
    ``E = T_1 = I + T_2 A_1``.

    Attributes:
        target: ``R``, ``(d, d)``.
        covariance: ``Σ``, ``(d, d)``.
    """

    target: Floats
    covariance: Floats

    def excess(self, matrices: Sequence[Floats]) -> float:
        """``f - C``."""
        wrong = tails(matrices)[0] - self.target
        return float(np.trace(wrong @ self.covariance @ wrong.T))

    def gradient(self, matrices: Sequence[Floats]) -> list[Floats]:
        """By each ``A_j``: ``2 T_{j+1}ᵀ (E - R) Σ (A_{j-1} … A_1)ᵀ``."""
        after = tails(matrices)
        of_end = 2 * (after[0] - self.target) @ self.covariance
        before = np.eye(len(self.target))
        gradients = []
        for j, matrix in enumerate(matrices):
            gradients.append(after[j + 1].T @ of_end @ before.T)
            before = matrix @ before
        return gradients

    def bound(self, matrices: Sequence[Floats]) -> float:
        """What ``‖∇f‖²`` is at least: ``4 (1 - γ/(1-γ))² σ_min(Σ) (f - C)`` with ``γ`` the largest ``‖A_j‖`` of ``j ≥ 2``, below ½.

        Raises:
            ValueError: ``γ`` is not below ½.
        """
        gamma = max((float(np.linalg.norm(matrix, 2)) for matrix in matrices[1:]), default=0.0)
        if gamma >= 1 / 2:
            raise ValueError(f"got a spectral norm of {gamma:.3f}, expected one below 1/2")
        least = float(np.linalg.eigvalsh(self.covariance)[0])
        return 4 * (1 - gamma / (1 - gamma)) ** 2 * least * self.excess(matrices)

    def descend(self, matrices: Sequence[Floats], rate: float, steps: int) -> list[Floats]:
        """Take ``steps`` steps of gradient descent."""
        matrices = [matrix.copy() for matrix in matrices]
        for _ in range(steps):
            for matrix, gradient in zip(matrices, self.gradient(matrices), strict=True):
                matrix -= rate * gradient
        return matrices


def tails(matrices: Sequence[Floats]) -> list[Floats]:
    """``T_1, …, T_{l+1}``; the first is ``E``."""
    identity = np.eye(len(matrices[0]))
    after = [identity]
    for matrix in reversed(matrices):
        after.append(identity + after[-1] @ matrix)
    return after[::-1]


def square(gradient: Sequence[Floats]) -> float:
    """``‖∇f‖²``, over all matrices."""
    return float(sum((part**2).sum() for part in gradient))


def of_norm(random: Random, d: int, norm: float) -> Floats:
    """A random matrix ``(d, d)`` of this spectral norm."""
    matrix = random.standard_normal((d, d))
    return np.asarray(norm * matrix / np.linalg.norm(matrix, 2))


def problem(random: Random, d: int, spread: float) -> LinearSkip:
    """A random problem: ``R - I`` of spectral norm ``spread``, and inputs that are correlated."""
    root = np.eye(d) + of_norm(random, d, 0.5)
    return LinearSkip(np.eye(d) + of_norm(random, d, spread), root @ root.T)


def counterexample() -> tuple[LinearSkip, list[Floats]]:
    """Where Theorem 1 as printed fails: a point with no gradient, spectral norms below 1, and ``f - C = 1``.

    ``T_2 = 1 + A_2 (1 + A_3) = 1 - 1.9 / 1.9 = 0``, so that ``A_1`` has no gradient; and ``A_1 = 0``, so that no other has.
    """
    matrices = [np.array([[value]]) for value in (0.0, -1 / 1.9, 0.9)]
    return LinearSkip(np.array([[2.0]]), np.array([[1.0]])), matrices


def reached(random: Random, d: int, depth: int, spread: float, starts: int) -> tuple[int, float]:
    """How many random starts near 0 descend to the least-squares optimum (``f - C`` below 1e-6 of its start), and the largest norm met at the end."""
    count, largest = 0, 0.0
    for _ in range(starts):
        task = problem(random, d, spread)
        start = [of_norm(random, d, 0.05) for _ in range(depth)]
        end = task.descend(start, rate=0.02, steps=4000)
        count += task.excess(end) < 1e-6 * task.excess(start)
        largest = max(largest, *(float(np.linalg.norm(matrix, 2)) for matrix in end[1:]), 0.0)
    return count, largest
