"""Blocks hold the means of any stream in constant memory, and tell a difference between two series from noise."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from service.report.blocks import BLOCKS, Blocks, Interval


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 40_000), cuts=st.lists(st.integers(1, 40_000), max_size=5), seed=st.integers(0, 9))
def test_however_a_stream_is_cut_a_block_has_the_mean_of_its_rows(rows: int, cuts: list[int], seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=rows)
    blocks = Blocks(1)
    for part in np.split(np.arange(rows), sorted(cut for cut in cuts if cut < rows)):
        blocks.add(0, part, values[part])

    expected = [values[start : start + blocks.size].mean() for start in range(0, rows, blocks.size)]

    assert len(expected) <= BLOCKS
    assert rows <= 64 * BLOCKS or len(expected) > BLOCKS / 2
    np.testing.assert_allclose(blocks.means()[0][: len(expected)], expected, rtol=1e-9, atol=1e-12)
    assert np.isnan(blocks.means()[0][len(expected) :]).all()
    assert blocks.means_so_far()[0][len(expected) - 1] == pytest.approx(values.mean(), abs=1e-12)


def two(first: np.ndarray, second: np.ndarray) -> Blocks:
    blocks = Blocks(2)
    for series, values in enumerate((first, second)):
        blocks.add(series, np.arange(len(values)), values)
    return blocks


def test_a_difference_much_smaller_than_the_noise_that_both_share_is_told() -> None:
    random = np.random.default_rng(0)
    noise = random.normal(size=8_000)

    difference = two(noise + 0.002 + 0.02 * random.normal(size=8_000), noise).difference(0, 1)

    assert difference.decided
    assert difference.low is not None
    assert difference.high is not None
    assert difference.low < 0.002 < difference.high
    assert difference.high - difference.low == pytest.approx(2 * 1.96 * 0.02 / 8_000**0.5, rel=0.3)


def test_the_interval_holds_the_truth_nineteen_times_in_twenty() -> None:
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(60):
        drift = np.repeat(random.normal(size=125), 64)  # rows that lie close together are alike
        interval = two(drift + random.normal(size=8_000), np.zeros(8_000)).difference(0, 1)
        covered += not interval.decided

    assert 52 <= covered < 60


def test_series_that_are_equal_are_not_told_apart() -> None:
    same = np.random.default_rng(0).normal(size=8_000)

    assert two(same, same).difference(0, 1) == Interval(0.0, 0.0, 0.0)
    assert not two(same, same).difference(0, 1).decided


def test_few_rows_give_no_interval() -> None:
    assert two(np.ones(300), np.zeros(300)).difference(0, 1) == Interval(1.0)
