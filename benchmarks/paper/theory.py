"""Check the paper's theory: print the tables of benchmarks/paper/theory.md.

python -m benchmarks.paper.theory
"""

import numpy as np

from paper.theory.linear import counterexample, descents, of_norm, problem, square
from paper.theory.variance import relu, residual, skip_logit, skip_terms, tanh_logit, variances

WIDTH = 64
DRAWS = 2000


def main() -> None:
    """Print every table."""
    random = np.random.default_rng(0)
    _moments(random)
    _growth(random)
    _bounded(random)
    _gradients(random)
    _descents(random)


def _moments(random: np.random.Generator) -> None:
    rectified = relu(random.standard_normal(10_000_000))
    print("ReLU of a standard normal value: mean, mean square, variance")
    print(f"{rectified.mean():.4f} {np.mean(rectified**2):.4f} {rectified.var():.4f}\n")


def _growth(random: np.random.Generator) -> None:
    print("| network | depth | the paper's | over draws of the weights | over inputs, weights fixed |\n| --- | --- | --- | --- | --- |")
    for depth in (4, 8, 16):
        over = variances(random, residual, WIDTH, depth, DRAWS)
        print(f"| residual | {depth} | 2^L = {2**depth:,} | {over.over_draws:,.0f} | {over.over_inputs:,.0f} |", flush=True)
    for depth in (4, 16, 64):
        one = variances(random, lambda *of: skip_terms(*of)[:, :1], WIDTH, depth, DRAWS)
        over = variances(random, skip_logit, WIDTH, depth, DRAWS)
        draws, inputs = over.over_draws / one.over_draws, over.over_inputs / one.over_inputs
        print(f"| skip logit | {depth} | L = {depth} | {draws:.1f} | {inputs:.1f} |", flush=True)
    print()


def _bounded(random: np.random.Generator) -> None:
    print("| width | depth | variance over draws, by L | over inputs, by L |\n| --- | --- | --- | --- |")
    for width in (1, WIDTH):
        for depth in (1, 3, 16):
            over = variances(random, tanh_logit, width, depth, DRAWS)
            print(f"| {width} | {depth} | {over.over_draws / depth:.2f} | {over.over_inputs / depth:.2f} |", flush=True)
    print()


def _gradients(random: np.random.Generator) -> None:
    task, matrices = counterexample()
    print(f"counterexample: squared gradient {square(task.gradient(matrices)):.1e}, f - C = {task.excess(matrices):.3f}")
    ratios = []
    for _ in range(20_000):
        d, depth = (int(n) for n in random.integers((1, 2), (6, 8)))
        task = problem(random, d, random.uniform(0.1, 4))
        matrices = [of_norm(random, d, random.uniform(0, 2)), *(of_norm(random, d, random.uniform(0, 0.499)) for _ in range(depth - 1))]
        ratios.append(square(task.gradient(matrices)) / task.bound(matrices))
    print(f"squared gradient over the bound that holds: least {min(ratios):.3f}, median {np.median(ratios):.1f}, {len(ratios):,} draws\n")


def _descents(random: np.random.Generator) -> None:
    print("| d | depth | norm of R - I | starts | reached the optimum | largest norm at the end |\n| --- | --- | --- | --- | --- | --- |")
    for d, depth, spread in ((1, 3, 1.0), (4, 3, 0.5), (4, 3, 1.0), (4, 3, 3.0), (4, 8, 1.0), (8, 16, 1.0)):
        got = descents(random, d, depth, spread, 50)
        print(f"| {d} | {depth} | {spread} | {got.starts} | {got.reached} | {got.largest:.2f} |", flush=True)


if __name__ == "__main__":
    main()
