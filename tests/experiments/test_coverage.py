"""Intervals hold at every look, shares are seldom said to be wrong, and an effect is found; benchmarks/experiments does it at length."""

import pytest

from benchmarks.experiments import intervals, power
from benchmarks.experiments.simulation import World

SMALL = World(visitors=500, days=12, a_day=0.8, ranked=False)


@pytest.fixture(scope="module")
def alike() -> list[dict[str, dict[str, int]]]:
    """Run experiments between arms that are the same."""
    return [intervals.run(SMALL, seed) for seed in range(60)]


def test_between_arms_that_are_the_same_no_look_at_any_measure_sees_a_difference_in_57_of_60(
    alike: list[dict[str, dict[str, int]]],
) -> None:
    for measure in ("click_rate", "value_per_impression", "log_loss", "calibration"):
        assert sum(measure in run["always"] for run in alike) <= 3


def test_looking_daily_at_intervals_for_one_look_sees_differences_that_are_not_there(alike: list[dict[str, dict[str, int]]]) -> None:
    assert sum("click_rate" in run["once"] for run in alike) > 3


def test_shares_that_are_right_are_hardly_ever_said_to_be_wrong(alike: list[dict[str, dict[str, int]]]) -> None:
    assert sum(run["shares"] is not None for run in alike) <= 1


def test_an_effect_is_found_and_the_ratio_is_near_the_true_one() -> None:
    runs = [power.run(SMALL._replace(lift=0.8), seed) for seed in range(20)]

    assert sum(any(always) for always, _, _ in runs) >= 18
    assert 0.5 < sum(ratio for _, _, ratio in runs) / len(runs) < 1.0
