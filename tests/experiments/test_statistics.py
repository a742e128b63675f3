"""The estimates are those of formulas written out longhand, and of other ways to the same number."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from experiments import bins
from experiments.comparison import Arm, compare, wait_for
from experiments.moments import COLUMNS, INDEX, RATES, estimates, moments, total
from experiments.sequence import best_ratio, interval, multiplier
from experiments.shares import log_odds, mismatch
from tests.experiments.worlds import World, arm_of, units_of


@pytest.fixture
def chance() -> np.random.Generator:
    return np.random.default_rng(7)


def test_the_margin_is_that_of_the_paper_written_out() -> None:
    t, rho, alpha, sigma = 4_321.0, math.sqrt(best_ratio(0.05) / 10_000), 0.05, 0.3

    margin = sigma * math.sqrt(2 * (t * rho**2 + 1) / (t**2 * rho**2) * math.log(math.sqrt(t * rho**2 + 1) / alpha))

    assert interval(1.0, sigma / math.sqrt(t), t, alpha).high == pytest.approx(1 + margin)
    assert min(multiplier(t * 1.01**n, alpha) for n in range(200)) == pytest.approx(multiplier(10_000, alpha), rel=1e-4)


def test_a_rate_and_its_error_are_those_of_the_delta_method_longhand(chance: np.random.Generator) -> None:
    units = units_of(World(), chance, 500)

    (found,) = estimates([moments(units)], RATES["click_rate"], adjust=False)

    x, y = units[:, INDEX["clicks"]], units[:, INDEX["impressions"]]
    ratio, n = x.sum() / y.sum(), len(units)
    covariance = np.cov(x, y)
    variance = (covariance[0, 0] - 2 * ratio * covariance[0, 1] + ratio**2 * covariance[1, 1]) / (n * y.mean() ** 2)
    assert found.value == pytest.approx(ratio)
    assert found.error == pytest.approx(math.sqrt(variance))


def test_the_error_by_units_is_that_of_a_bootstrap_over_units_and_above_the_naive_one(chance: np.random.Generator) -> None:
    units = units_of(World(effect=0.8), chance, 2_000)
    (found,) = estimates([moments(units)], RATES["click_rate"], adjust=False)

    draws = [units[chance.integers(len(units), size=len(units))].sum(axis=0) for _ in range(400)]

    spread = np.std([draw[INDEX["clicks"]] / draw[INDEX["impressions"]] for draw in draws])
    assert found.error == pytest.approx(float(spread), rel=0.12)
    assert found.error > 1.15 * found.naive


def test_moments_of_parts_add_to_those_of_the_whole(chance: np.random.Generator) -> None:
    units = units_of(World(), chance, 300)

    assert np.allclose(moments(units[:100]) + moments(units[100:]), moments(units))
    assert total(moments(units), "units") == 300


def test_behaviour_before_narrows_the_interval_and_moves_no_mean_in_expectation(chance: np.random.Generator) -> None:
    world = World(effect=1.0, before=20)
    plain: list[tuple[float, float]] = []
    adjusted: list[tuple[float, float]] = []
    for _ in range(200):
        arms = [moments(units_of(world, chance, 200)) for _ in "ab"]
        for found, adjust in ((plain, False), (adjusted, True)):
            one, other = estimates(arms, RATES["click_rate"], adjust=adjust)
            found.append((one.value - other.value, math.hypot(one.error, other.error)))

    spread, error = (np.array(adjusted)[:, n] for n in (0, 1))
    assert spread.std() < 0.8 * np.array(plain)[:, 0].std()
    assert error.mean() == pytest.approx(spread.std(), rel=0.15)
    assert abs(spread.mean()) < 3 * spread.std() / math.sqrt(len(spread))


def test_the_adjustment_is_the_regression_on_behaviour_before_with_an_intercept_for_each_arm(chance: np.random.Generator) -> None:
    ones, others = units_of(World(before=10), chance, 400), units_of(World(before=10), chance, 300)

    one, other = estimates([moments(ones), moments(others)], RATES["value_per_impression"])

    x, y = (np.concatenate([each[:, INDEX[name]] for each in (ones, others)]) for name in ("value", "impressions"))
    group = np.repeat([0, 1], [400, 300])
    rate = np.array([x[group == g].sum() / y[group == g].sum() for g in (0, 1)])
    influence = (x - rate[group] * y) / np.array([y[group == g].mean() for g in (0, 1)])[group]
    before = np.concatenate([ones, others])[:, [INDEX[n] for n in ("known", "impressions_before", "clicks_before", "value_before")]]
    design = np.column_stack([group == 0, group == 1, before])
    theta = np.linalg.lstsq(design, influence, rcond=None)[0][2:]
    expected = rate[0] - rate[1] - theta @ (before[group == 0].mean(axis=0) - before[group == 1].mean(axis=0))
    assert one.value - other.value == pytest.approx(expected)


def test_a_covariate_that_never_varies_or_is_another_ones_multiple_does_no_harm(chance: np.random.Generator) -> None:
    units = units_of(World(before=10), chance, 300)
    units[:, INDEX["value_before"]] = 1e9 * units[:, INDEX["clicks_before"]]
    units[:, INDEX["known"]] = 1

    found = estimates([moments(units[:150]), moments(units[150:])], RATES["click_rate"])

    assert all(math.isfinite(part) for each in found for part in each)


def test_the_auc_from_bins_is_that_of_scikit_learn(chance: np.random.Generator) -> None:
    p = chance.beta(1, 9, 5_000)
    clicked = chance.random(5_000) < p
    counts = bins.empty()

    bins.add(counts, chance.integers(1, 500, 5_000).astype(np.uint64), p, np.full(5_000, -1), clicked.astype(int))

    found = bins.auc(counts)
    assert found
    assert found[0] == pytest.approx(roc_auc_score(clicked, p), abs=2e-4)


def test_the_error_of_the_auc_is_that_of_drawing_the_units_anew() -> None:
    def draw(seed: int) -> tuple[NDArray[np.uint64], NDArray[np.float64], NDArray[np.bool_]]:
        random = np.random.default_rng(seed)
        unit = np.repeat(np.arange(200), 10)
        p = 1 / (1 + np.exp(2 - random.normal(0, 1, 2_000)))
        liking = random.normal(0, 1.5, 200)[unit]
        return (
            unit.astype(np.uint64) + np.uint64(seed * 1_000),
            p,
            random.random(2_000) < 1 / (1 + np.exp(2 - np.log(p / (1 - p)) - liking)),
        )

    errors, values = [], []
    for seed in range(30):
        counts = bins.empty()
        units, p, clicked = draw(seed)
        bins.add(counts, units, p, np.full(len(p), -1), clicked.astype(int))
        value, error = bins.auc(counts) or (math.nan, math.nan)
        values.append(value)
        errors.append(error)

    assert np.mean(errors) == pytest.approx(np.std(values, ddof=1), rel=0.25)


def test_weights_are_poisson_independent_of_each_other_and_the_same_for_a_unit() -> None:
    drawn = bins.weights(np.arange(4_000, dtype=np.uint64))

    assert (drawn[:, 0] == 1).all()
    assert drawn[:, 1:].mean() == pytest.approx(1, abs=0.01)
    assert drawn[:, 1:].var() == pytest.approx(1, abs=0.02)
    assert abs(np.corrcoef(drawn[:, 1:9].T) - np.eye(8)).max() < 0.06
    assert (bins.weights(np.array([3], np.uint64)) == drawn[3]).all()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.floats(0, 1), st.booleans()), min_size=1, max_size=20))
def test_a_click_that_is_counted_later_leaves_what_counting_it_at_once_would(shown: list[tuple[int, float, bool]]) -> None:
    units, p = np.array([u for u, _, _ in shown], np.uint64), [p for _, p, _ in shown]
    clicked = np.array([c for _, _, c in shown], int)
    at_once, later = bins.empty(), bins.empty()

    bins.add(at_once, units, p, np.full(len(p), -1), clicked)
    bins.add(later, units, p, np.full(len(p), -1), np.zeros(len(p), int))
    bins.add(later, units[clicked > 0], np.array(p)[clicked > 0], np.zeros(clicked.sum(), int), np.ones(clicked.sum(), int))

    assert (at_once == later).all()


@given(st.lists(st.integers(0, 2), max_size=60))
def test_the_odds_of_a_mismatch_are_the_products_of_what_each_unit_was_foretold(arms: list[int]) -> None:
    shares = [0.2, 0.3, 0.5]
    prior, foretold = [100 * share for share in shares], 0.0
    for arm in arms:
        foretold += math.log(prior[arm] / sum(prior)) - math.log(shares[arm])
        prior[arm] += 1

    assert log_odds([arms.count(n) for n in range(3)], shares) == pytest.approx(foretold, abs=1e-9)


def test_a_mismatch_of_one_in_fifty_is_seen_and_an_arm_without_a_share_must_be_empty() -> None:
    assert mismatch([51_000, 49_000], [0.5, 0.5])
    assert not mismatch([50_100, 49_900], [0.5, 0.5])
    assert mismatch([100, 1], [1.0, 0.0])
    assert not mismatch([100, 0], [1.0, 0.0])


def test_with_several_arms_each_comparison_gets_its_part_of_alpha(chance: np.random.Generator) -> None:
    arms = {name: arm_of(World(), chance, 600) for name in ("control", "one", "other")}

    both, alone = compare(arms, "control"), compare({name: arms[name] for name in ("control", "one")}, "control", alpha=0.025, adjust=False)

    assert both["one", "click_rate"].alpha == 0.025
    plain = compare(arms, "control", adjust=False)["one", "click_rate"].difference
    assert plain.high - plain.low == pytest.approx(alone["one", "click_rate"].difference.high - alone["one", "click_rate"].difference.low)


def test_no_interval_is_given_before_there_are_units_and_clicks_enough(chance: np.random.Generator) -> None:
    arms = {"control": arm_of(World(), chance, 600), "one": arm_of(World(), chance, 50), "two": arm_of(World(), chance, 600)}

    assert {arm for arm, _ in compare(arms, "control")} == {"two"}  # an arm that has few holds up no other
    assert compare(arms, "one") == {}


def test_an_effect_that_is_detectable_is_found_in_four_of_five_experiments(chance: np.random.Generator) -> None:
    arms = {name: arm_of(World(), chance, 2_000) for name in ("control", "one")}
    found = compare(arms, "control", adjust=False)["one", "click_rate"]

    power = 1 - NormalDist(found.detectable * found.base, found.error).cdf(multiplier(found.time, found.alpha) * found.error)

    assert power == pytest.approx(0.8, abs=1e-3)
    assert wait_for(found, found.detectable / 2) > 4


def test_the_columns_are_each_named_once() -> None:
    assert len(set(COLUMNS)) == len(COLUMNS)


def test_one_unit_however_much_it_is_worth_decides_nothing(chance: np.random.Generator) -> None:
    units = {name: units_of(World(), chance, 1_000) for name in ("control", "one")}
    units["one"][0, INDEX["value"]] = units["one"][0, INDEX["value_squares"]] = 2.0**53

    found = compare({name: Arm(moments(each), bins.empty()) for name, each in units.items()}, "control")["one", "value_per_impression"]

    assert found.difference.holds(0.0)
    assert found.relative
    assert found.relative.holds(0.0)
    assert (
        compare({name: Arm(moments(each), bins.empty()) for name, each in units.items()}, "one")["control", "value_per_impression"].relative
        is None
    )


def test_the_ratio_leaves_out_zero_where_the_difference_does_and_holds_what_can_not_be_told_from_it(chance: np.random.Generator) -> None:
    arms = {name: arm_of(World(lift=lift), chance, 1_500) for name, lift in (("control", 0.0), ("one", 0.5))}

    found = compare(arms, "control", adjust=False)["one", "click_rate"]

    assert found.relative
    one, control = estimates([arms["one"].moments, arms["control"].moments], RATES["click_rate"], adjust=False)
    for end in (found.relative.low, found.relative.high):
        ratio = 1 + end
        spread = math.hypot(one.error, ratio * control.error)
        assert abs(one.value - ratio * control.value) == pytest.approx(multiplier(found.time, found.alpha) * spread)
    assert found.relative.holds(0.0) == found.difference.holds(0.0)
