"""Where linear skip logit networks have their minima: Theorem 1, what is wrong with it, and what holds.

Shapes: d the width of everything, l the depth.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Random: TypeAlias = np.random.Generator


class LinearSkip(NamedTuple):
    """The least-squares problem that a linear skip logit network is to solve.

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
        moved = list(matrices)
        for _ in range(steps):
            moved = [matrix - rate * gradient for matrix, gradient in zip(moved, self.gradient(moved), strict=True)]
        return moved


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


def counterexample(norm: float = 0.9, depth: int = 3) -> tuple[LinearSkip, list[Floats]]:
    """A point that has no gradient and is no minimum: ``f - C = 1``, and no matrix is larger than ``norm``. In one dimension.

    ``A_3 = … = A_l = norm`` and ``A_2 = -1 / T_3`` make ``T_2 = 1 + T_3 A_2 = 0``, so that ``A_1`` has no gradient; ``A_1 = 0``, so
    that no other has. What is asked for is 2 and what is given is 1. By default it is ``A = (0, -1/1.9, 0.9)``.

    Raises:
        ValueError: ``norm + … + norm^(l-1)`` is below 1, and there is no such point.
    """
    after = sum(norm**k for k in range(depth - 1))  # T_3
    if norm * after < 1:
        raise ValueError(f"got a norm of {norm} at depth {depth}, expected norm + … + norm^(l-1) to be 1 at least")
    values = [0.0, -1 / after, *[norm] * (depth - 2)]
    return LinearSkip(np.array([[2.0]]), np.array([[1.0]])), [np.array([[value]]) for value in values]


class Descents(NamedTuple):
    """What came of gradient descent from small random starts."""

    starts: int
    reached: int  # ended with f - C below a millionth of what it was at the start
    largest: float  # the largest spectral norm of any A_j, j ≥ 2, at the end


def descents(random: Random, d: int, depth: int, spread: float, starts: int) -> Descents:
    """Descend from matrices of spectral norm 0.05, each time on a problem of its own."""
    reached, largest = 0, 0.0
    for _ in range(starts):
        task = problem(random, d, spread)
        start = [of_norm(random, d, 0.05) for _ in range(depth)]
        end = task.descend(start, rate=0.02, steps=3000)
        reached += task.excess(end) < task.excess(start) / 1e6
        largest = max(largest, *(float(np.linalg.norm(matrix, 2)) for matrix in end[1:]))
    return Descents(starts, reached, largest)
