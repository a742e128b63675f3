"""The minima of linear skip logit networks: Theorem 1, its counterexample, and the bound that holds.

Shapes: d the width of everything, l the depth.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Random: TypeAlias = np.random.Generator


class LinearSkip(NamedTuple):
    """The least-squares problem of a linear skip logit network.

        h_0 = x,   h_j = A_j h_{j-1},   ŷ = Σ_{j=0..l} h_j = E x
        f   = E‖ŷ - (R x + ξ)‖² = C + ‖(E - R) Σ^½‖²,   Σ = E[x xᵀ],   C = E‖ξ‖²

    With the tails ``T_{l+1} = I`` and ``T_j = I + T_{j+1} A_j``, the map from x to ŷ is ``E = T_1 = I + T_2 A_1``.

    Attributes:
        target: ``R``, ``(d, d)``.
        covariance: ``Σ``, ``(d, d)``.
    """

    target: Floats
    covariance: Floats

    def excess(self, matrices: Sequence[Floats]) -> float:
        """Return ``f - C``."""
        wrong = tails(matrices)[0] - self.target
        return float(np.trace(wrong @ self.covariance @ wrong.T))

    def gradient(self, matrices: Sequence[Floats]) -> list[Floats]:
        """Return the gradient by each ``A_j``: ``2 T_{j+1}ᵀ (E - R) Σ (A_{j-1} … A_1)ᵀ``."""
        after = tails(matrices)
        of_end = 2 * (after[0] - self.target) @ self.covariance
        before = np.eye(len(self.target))
        gradients = []
        for j, matrix in enumerate(matrices):
            gradients.append(after[j + 1].T @ of_end @ before.T)
            before = matrix @ before
        return gradients

    def bound(self, matrices: Sequence[Floats]) -> float:
        """Return a lower bound of ``‖∇f‖²``: ``4 (1 - γ/(1-γ))² σ_min(Σ) (f - C)``, ``γ`` the largest ``‖A_j‖`` of ``j ≥ 2``, below ½.

        Raises:
            ValueError: ``γ`` is not below ½.
        """
        gamma = max((float(np.linalg.norm(matrix, 2)) for matrix in matrices[1:]), default=0.0)
        if gamma >= 1 / 2:
            raise ValueError(f"got a spectral norm of {gamma:.3f}, expected one below 1/2")
        least = float(np.linalg.eigvalsh(self.covariance)[0])
        return 4 * (1 - gamma / (1 - gamma)) ** 2 * least * self.excess(matrices)

    def descend(self, matrices: Sequence[Floats], rate: float, steps: int) -> list[Floats]:
        """Return the matrices after ``steps`` steps of gradient descent."""
        moved = list(matrices)
        for _ in range(steps):
            moved = [matrix - rate * gradient for matrix, gradient in zip(moved, self.gradient(moved), strict=True)]
        return moved


def tails(matrices: Sequence[Floats]) -> list[Floats]:
    """Return ``T_1, …, T_{l+1}``; the first is ``E``."""
    identity = np.eye(len(matrices[0]))
    after = [identity]
    for matrix in reversed(matrices):
        after.append(identity + after[-1] @ matrix)
    return after[::-1]


def square(gradient: Sequence[Floats]) -> float:
    """Return ``‖∇f‖²``, over all matrices."""
    return float(sum((part**2).sum() for part in gradient))


def of_norm(random: Random, d: int, norm: float) -> Floats:
    """Return a random matrix ``(d, d)`` of this spectral norm."""
    matrix = random.standard_normal((d, d))
    return np.asarray(norm * matrix / np.linalg.norm(matrix, 2))


def problem(random: Random, d: int, spread: float) -> LinearSkip:
    """Return a random problem: ``R - I`` of spectral norm ``spread``, and correlated inputs."""
    root = np.eye(d) + of_norm(random, d, 0.5)
    return LinearSkip(np.eye(d) + of_norm(random, d, spread), root @ root.T)


def counterexample(norm: float = 0.9, depth: int = 3) -> tuple[LinearSkip, list[Floats]]:
    """Return a point without a gradient that is no minimum: ``f - C = 1``, and no matrix has a norm above ``norm``. One dimension.

    ``A_3 = … = A_l = norm`` and ``A_2 = -1 / T_3`` make ``T_2 = 1 + T_3 A_2 = 0``, so ``A_1`` has no gradient; ``A_1 = 0``, so no other
    has. The target is 2, and ``E`` is 1. By default ``A = (0, -1/1.9, 0.9)``.

    Raises:
        ValueError: ``norm + … + norm^(l-1)`` is below 1: there is no such point.
    """
    after = sum(norm**k for k in range(depth - 1))  # T_3
    if norm * after < 1:
        raise ValueError(f"got a norm of {norm} at depth {depth}, expected norm + … + norm^(l-1) to be 1 at least")
    values = [0.0, -1 / after, *[norm] * (depth - 2)]
    return LinearSkip(np.array([[2.0]]), np.array([[1.0]])), [np.array([[value]]) for value in values]


class Descents(NamedTuple):
    """The result of gradient descent from small random starts."""

    starts: int
    reached: int  # starts whose f - C fell below a millionth of its first value
    largest: float  # the largest spectral norm of any A_j, j ≥ 2, at the end


def descents(random: Random, d: int, depth: int, spread: float, starts: int) -> Descents:
    """Descend from matrices of spectral norm 0.05, each time on a new problem."""
    reached, largest = 0, 0.0
    for _ in range(starts):
        task = problem(random, d, spread)
        start = [of_norm(random, d, 0.05) for _ in range(depth)]
        end = task.descend(start, rate=0.02, steps=3000)
        reached += task.excess(end) < task.excess(start) / 1e6
        largest = max(largest, *(float(np.linalg.norm(matrix, 2)) for matrix in end[1:]))
    return Descents(starts, reached, largest)
