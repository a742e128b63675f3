"""The paper's theory: what of it holds holds here, and what does not has its counterexample."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from paper.theory.linear import LinearSkip, counterexample, descents, of_norm, problem, square
from paper.theory.variance import relu, residual, skip_logit, skip_terms, tanh_logit, variances

Random = np.random.Generator


@pytest.fixture
def random() -> Random:
    return np.random.default_rng(0)


@pytest.mark.parametrize("deviation", [0.5, 1.0, 3.0])
def test_relu_halves_the_second_moment_and_leaves_a_third_of_the_variance(random: Random, deviation: float) -> None:
    """Eq. 3: the variance behind ReLU stays below half of that before it; the mean is δ / √(2π)."""
    rectified = relu(deviation * random.standard_normal(1_000_000))

    assert rectified.mean() == pytest.approx(deviation / np.sqrt(2 * np.pi), rel=0.01)
    assert np.mean(rectified**2) == pytest.approx(deviation**2 / 2, rel=0.01)
    assert rectified.var() == pytest.approx(deviation**2 * (1 / 2 - 1 / (2 * np.pi)), rel=0.01)
    assert rectified.var() < deviation**2 / 2


@pytest.mark.parametrize("depth", [2, 4, 6])
def test_over_draws_of_the_weights_a_residual_network_doubles_its_variance_in_each_layer(random: Random, depth: int) -> None:
    over = variances(random, residual, n=48, depth=depth, draws=1500)

    assert over.over_draws == pytest.approx(2**depth, rel=0.15)


def test_over_draws_of_the_weights_skip_terms_add_their_variances_and_over_inputs_they_do_not(random: Random) -> None:
    """Eq. 6. With the weights fixed, deep layers tell inputs less and less apart, and their terms hardly vary."""
    one = variances(random, first_term, n=48, depth=1, draws=4000)
    over = variances(random, skip_logit, n=48, depth=32, draws=1500)

    assert over.over_draws / one.over_draws == pytest.approx(32, rel=0.2)
    assert over.over_inputs / one.over_inputs < 32 / 2


def first_term(random: Random, x: NDArray[np.float64], depth: int) -> NDArray[np.float64]:
    return skip_terms(random, x, depth)[:, :1]


@pytest.mark.parametrize("scale", [0.1, 1.0, 100.0])
def test_a_bounded_term_varies_by_no_more_than_the_square_of_its_weight(random: Random, scale: float) -> None:
    """Eq. 11, for a scalar term: what lies within ±W has at most the variance W²."""
    for draw in (random.standard_normal, random.standard_cauchy, lambda size: random.choice([-1.0, 1.0], size)):
        weight = random.uniform(-2, 2)

        assert (weight * np.tanh(scale * draw(10_000))).var() <= weight**2


def test_the_sum_of_uncorrelated_bounded_terms_varies_by_no_more_than_their_number(random: Random) -> None:
    """Eq. 12, one number a layer: true where the terms are uncorrelated, and they are over draws of the weights."""
    assert variances(random, tanh_logit, n=1, depth=8, draws=1500).over_draws < 8


def test_without_its_assumption_the_bound_on_the_sum_is_wrong(random: Random) -> None:
    """Eq. 12 read as one number a layer: 64 numbers vary by far more; where all are one, by 64² times as much."""
    depth = 3
    over = variances(random, tanh_logit, n=64, depth=depth, draws=1500)
    same = np.repeat(random.choice([-1.0, 1.0], (2000, 1)), 64 * depth, axis=1)

    assert over.over_draws > 20 * depth
    assert same.sum(1).var() == pytest.approx((64 * depth) ** 2, rel=0.01)


def test_the_gradient_of_the_linear_network_equals_autograd(random: Random) -> None:
    task = problem(random, d=3, spread=2)
    matrices = [of_norm(random, 3, 0.7) for _ in range(4)]
    leaves = [torch.tensor(matrix, requires_grad=True) for matrix in matrices]
    h = total = torch.eye(3, dtype=torch.float64)
    for leaf in leaves:
        h = leaf @ h
        total = total + h
    wrong = total - torch.tensor(task.target)
    loss = torch.trace(wrong @ torch.tensor(task.covariance) @ wrong.T)
    loss.backward()  # type: ignore[no-untyped-call]

    gradients = task.gradient(matrices)

    assert task.excess(matrices) == pytest.approx(float(loss.detach()))
    for ours, leaf in zip(gradients, leaves, strict=True):
        assert leaf.grad is not None
        np.testing.assert_allclose(ours, leaf.grad, rtol=1e-12, atol=1e-12)


def test_theorem_1_as_printed_has_a_counterexample() -> None:
    """No gradient, spectral norms below 1, and 1 above the least: no bound ``‖∇f‖² ≥ c (f - C)`` with c > 0 can hold."""
    task, matrices = counterexample()

    assert [float(matrix[0, 0]) for matrix in matrices] == pytest.approx([0, -1 / 1.9, 0.9])
    assert square(task.gradient(matrices)) < 1e-30
    assert max(np.linalg.norm(matrix, 2) for matrix in matrices) < 1
    assert task.excess(matrices) == pytest.approx(1)


@pytest.mark.parametrize(("norm", "depth"), [(0.51, 7), (0.6, 4), (0.99, 3)])
def test_above_one_half_there_is_always_a_depth_with_a_counterexample(norm: float, depth: int) -> None:
    task, matrices = counterexample(norm, depth)

    assert square(task.gradient(matrices)) < 1e-30
    assert max(np.linalg.norm(matrix, 2) for matrix in matrices) <= norm
    assert task.excess(matrices) == pytest.approx(1)


def test_the_counterexample_is_a_saddle(random: Random) -> None:
    """Not a local minimum: close by there is less."""
    task, matrices = counterexample()

    near = [task.excess([matrix + 0.01 * random.standard_normal((1, 1)) for matrix in matrices]) for _ in range(100)]

    assert min(near) < task.excess(matrices) < max(near)


@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("depth", [2, 3, 8])
def test_below_one_half_the_gradient_is_at_least_the_bound(random: Random, d: int, depth: int) -> None:
    """``‖∇f‖² ≥ 4 (1 - γ/(1-γ))² σ_min(Σ) (f - C)`` for ``‖A_j‖ ≤ γ < ½``, j ≥ 2; the first matrix is free."""
    for _ in range(100):
        task = problem(random, d, spread=random.uniform(0.1, 4))
        gamma = random.uniform(0, 0.499)
        matrices = [of_norm(random, d, random.uniform(0, 5)), *(of_norm(random, d, gamma) for _ in range(depth - 1))]

        assert square(task.gradient(matrices)) >= task.bound(matrices)


def test_the_bound_is_one_that_is_reached() -> None:
    """To within 2 %, where every matrix pulls the other way: one dimension, A_1 = 0, A_2 = -γ, then γ."""
    task = LinearSkip(np.array([[2.0]]), np.array([[1.0]]))
    matrices = [np.array([[value]]) for value in (0.0, -0.4, *[0.4] * 8)]

    assert square(task.gradient(matrices)) == pytest.approx(task.bound(matrices), rel=0.02)


def test_the_bound_says_where_it_does_not_hold() -> None:
    task, matrices = counterexample()

    with pytest.raises(ValueError, match=r"got a spectral norm of 0\.900, expected one below 1/2"):
        task.bound(matrices)
    with pytest.raises(ValueError, match="expected norm"):
        counterexample(norm=0.5, depth=20)


def test_descent_from_small_random_starts_reaches_the_least_squares_optimum(random: Random) -> None:
    got = descents(random, d=3, depth=4, spread=1.0, starts=3)

    assert got.reached == got.starts
