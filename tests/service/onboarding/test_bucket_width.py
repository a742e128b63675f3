"""The buckets that ``sml init`` gives a number are as wide as its values want, and no column is too odd for it."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.onboarding.bucket_width import bucket_width
from service.onboarding.sample import Column

ROWS = 20_000
RNG = np.random.default_rng(0)
NO_LABELS = np.zeros(ROWS)


def width_of(values: Any, labels: NDArray[np.float64] = NO_LABELS) -> float | None:
    column = Column("x")
    column.extend(list(values))
    return bucket_width(column, labels[: len(values)])


@pytest.mark.parametrize(
    ("values", "least", "most"),
    [
        (RNG.normal(44.97, 0.03, ROWS), 0.005, 0.01),  # latitudes of a town
        (RNG.normal(0, 1, ROWS), 0.1, 0.2),
        (-RNG.uniform(0, 1000, ROWS), 20, 50),
        (RNG.integers(600, 800, ROWS), 5, 10),  # scores
        (RNG.integers(0, 8, ROWS), 1, 1),  # whole numbers
        (1000 + RNG.exponential(1, ROWS), 0.1, 0.5),  # uneven, but far from zero
    ],
)
def test_numbers_that_spread_evenly_or_close_together_get_about_two_dozen_equal_buckets(values: Any, least: float, most: float) -> None:
    width = width_of(values)

    assert width is not None
    assert least <= width <= most


@pytest.mark.parametrize(
    "values",
    [
        np.exp(RNG.normal(3, 1.5, ROWS)),  # amounts
        RNG.poisson(10 * RNG.pareto(1.0, ROWS).clip(0, 1e6)),  # counts
        np.where(RNG.random(ROWS) < 0.95, 0, RNG.uniform(1, 2000, ROWS)),  # mostly nothing
    ],
)
def test_counts_and_amounts_keep_buckets_that_widen(values: Any) -> None:
    assert width_of(values) is None


def test_places_that_return_get_buckets_which_tell_them_apart_once_they_are_known_to_matter() -> None:
    places = RNG.uniform(44.9, 45.1, 200)
    at, rates = RNG.integers(0, 200, ROWS), RNG.random(200)
    labels = (RNG.random(ROWS) < rates[at]).astype(float)

    told, untold = width_of(places[at], labels), width_of(places[at], RNG.permutation(labels))

    assert told is not None
    assert untold is not None
    assert told <= untold / 10


@pytest.mark.parametrize(
    "values",
    [
        [1e308, -1e308] * 100,
        [5e-324, 0.0] * 100,
        [7.5] * 100,
        [None] * 100,
        ["a", 1.5] * 50,
        [None, 2.5] * 50,
    ],
)
def test_odd_columns_keep_buckets_that_widen(values: list[Any]) -> None:
    assert width_of(values) is None


def test_a_few_odd_values_do_not_decide() -> None:
    evenly = RNG.normal(44.97, 0.03, ROWS)

    assert width_of([*evenly[:-20], *[1e308, -1e308, 0.0, 5e-324] * 5]) == width_of(evenly)
