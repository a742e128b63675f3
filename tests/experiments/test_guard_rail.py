"""An arm is said to do harm only where it does, however often one looks, and soon where the harm is great."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.experiments.simulation import Simulation, World
from experiments import bins
from experiments.comparison import Arm
from experiments.guard_rail import harms, without_heavy
from experiments.moments import COLUMNS, INDEX, moments

WORLD = World(visitors=400, days=20, a_day=1.0, ranked=False)


def rows(rate: float, said: float, seed: int, units: int = 500, each: int = 20) -> NDArray[np.float64]:
    """Return units whose impressions are clicked with one chance, and predicted with another."""
    random = np.random.default_rng(seed)
    clicks = random.binomial(each, rate, units).astype(float)
    columns = {
        "units": np.ones(units),
        "impressions": np.full(units, each),
        "clicks": clicks,
        "prediction": np.full(units, each * said),
        "loss": -clicks * math.log(said) - (each - clicks) * math.log(1 - said),
        "loss_squares": clicks * math.log(said) ** 2 + (each - clicks) * math.log(1 - said) ** 2,
    }
    made = np.zeros((units, len(COLUMNS)))
    for name, values in columns.items():
        made[:, INDEX[name]] = values
    return made


def arm(rate: float, said: float, seed: int, units: int = 500) -> Arm:
    return Arm(moments(rows(rate, said, seed, units)), bins.empty())


def test_of_arms_that_are_alike_none_is_ever_stopped_though_looked_at_daily() -> None:
    stopped = [seed for seed in range(40) if any(harms(arms, "control", 0.0) for arms in Simulation(WORLD, seed).days())]

    assert len(stopped) <= 1


def test_an_arm_that_loses_a_third_of_its_clicks_is_stopped_and_the_reason_names_interval_and_bound() -> None:
    found = harms({"control": arm(0.2, 0.2, 1), "treatment": arm(0.12, 0.12, 2)}, "control", 0.1)

    assert list(found) == ["treatment"]
    assert found["treatment"].startswith("click rate -4")
    assert found["treatment"].endswith("bound -10.0%")


def test_harm_within_the_bound_is_left_alone() -> None:
    arms = {"control": arm(0.2, 0.2, 1), "treatment": arm(0.12, 0.12, 2)}

    assert harms(arms, "control", 0.6) == {}


def test_an_arm_that_predicts_rubbish_is_stopped_though_it_is_clicked_as_often() -> None:
    found = harms({"control": arm(0.2, 0.2, 1), "treatment": arm(0.2, 0.6, 2)}, "control", 0.1)

    assert found["treatment"].startswith("log loss +")


@pytest.mark.parametrize("better", [0.22, 0.3, 0.45, 0.6])
def test_an_arm_that_finds_more_clicks_is_not_stopped_for_the_higher_log_loss_that_comes_with_them(better: float) -> None:
    control, treatment = arm(0.2, 0.2, 1), arm(better, better, 2)

    assert harms({"control": control, "treatment": treatment}, "control", 0.0) == {}


def test_an_arm_that_predicts_next_to_nothing_whatever_is_shown_breaks_no_comparison() -> None:
    assert list(harms({"control": arm(0.2, 0.2, 1), "treatment": arm(0.2, 1e-300, 2)}, "control", 0.1)) == ["treatment"]
    assert list(harms({"control": arm(0.2, 1e-300, 1), "treatment": arm(0.2, 1e-300, 2)}, "control", 0.1)) == []


@pytest.mark.parametrize("size", [100, 1_000, 100_000])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_few_units_alone_stop_no_arm_whatever_they_are_said_to_have_been_shown(size: int, count: int) -> None:
    control, treatment = arm(0.2, 0.2, 1), rows(0.2, 0.2, 2)
    floods = [rows(0.0, 0.999, n, units=1, each=size * 9**n) for n in range(count)]
    flooded = np.concatenate([*reversed(floods), treatment])

    found = without_heavy(Arm(moments(flooded), bins.empty()), flooded[:100])

    assert harms({"control": control, "treatment": found}, "control", 0.1) == {}


def test_units_that_have_little_each_are_all_kept() -> None:
    kept = without_heavy(arm(0.2, 0.2, 1), rows(0.2, 0.2, 1))

    assert (kept.moments == arm(0.2, 0.2, 1).moments).all()


def test_before_there_are_units_and_clicks_enough_nobody_is_stopped() -> None:
    assert harms({"control": arm(0.2, 0.2, 1, units=99), "treatment": arm(0.02, 0.9, 2, units=99)}, "control", 0.0) == {}
