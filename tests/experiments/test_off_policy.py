"""What a policy that never served is worth, estimated from what another served, is what the simulated site's true probabilities say."""

import random
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from experiments.off_policy import Value, doubly, ips, snips
from model.exploration import chances
from service.api.choice import thompson
from service.commands.simulation.site import CANDIDATES, Site

Floats = NDArray[np.float64]
VISITS = 3_000


class Logged(NamedTuple):
    """Visits on which one candidate was shown by chance; V visits, C candidates."""

    units: NDArray[np.int64]  # (V,)
    true: Floats  # (V, C), which no estimator sees
    logging: Floats  # (V, C): the chance with which each was shown
    policy: Floats  # (V, C): that with which the policy would show it
    shown: NDArray[np.int64]  # (V,)
    clicked: Floats  # (V,)

    def of_shown(self, values: Floats) -> Floats:
        return np.asarray(values[np.arange(VISITS), self.shown])

    @property
    def weights(self) -> Floats:
        return self.of_shown(self.policy) / self.of_shown(self.logging)

    @property
    def truth(self) -> float:
        return float((self.policy * self.true).sum(axis=1).mean())


def softmax(scores: Floats) -> Floats:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


@pytest.fixture(scope="module")
def site() -> tuple[NDArray[np.int64], Floats]:
    made = Site(seed=1, rate=50)
    visits = [made.visit() for _ in range(VISITS)]
    return np.array([int(visit.context["user_id"][1:]) for visit in visits]), np.array([visit.probabilities for visit in visits])


def policies(true: Floats) -> tuple[Floats, Floats]:
    """Return the scores of a policy that hardly knows better, and the chances of one that knows much: the same in every repetition."""
    logit = np.log(true / (1 - true))
    noise = np.random.default_rng(99).normal(0, 1, (2, *true.shape))
    return 0.3 * logit + noise[0] / 2, softmax(2 * logit + noise[1])


@pytest.fixture(scope="module")
def uncertain(site: tuple[NDArray[np.int64], Floats]) -> tuple[Floats, Floats]:
    """Return how uncertain the policy that serves is of its scores, and by which chances it chooses by Thompson sampling."""
    scores, _ = policies(site[1])
    spreads = np.random.default_rng(98).uniform(0.8, 1.5, scores.shape)
    return spreads, np.array([chances(*each, 1) for each in zip(scores, spreads, strict=True)])


def served(site: tuple[NDArray[np.int64], Floats], seed: int, logging: Floats | None = None) -> Logged:
    """Show one candidate a visit by the policy that hardly knows better; the policy in question knows much."""
    random, (units, true) = np.random.default_rng(seed), site
    scores, policy = policies(true)
    logging = softmax(scores) if logging is None else logging
    shown = (logging.cumsum(axis=1) < random.random((VISITS, 1))).sum(axis=1).clip(max=CANDIDATES - 1)
    clicked = random.random(VISITS) < true[np.arange(VISITS), shown]
    return Logged(units, true, logging, policy, shown, clicked.astype(np.float64))


def estimate(name: str, logged: Logged, q: Floats | None = None, weights: Floats | None = None) -> Value:
    w = logged.weights if weights is None else weights
    if name == "doubly":
        q = np.full_like(logged.true, 0.2) if q is None else q
        return doubly(w, logged.clicked, logged.units, logged.of_shown(q), (logged.policy * q).sum(axis=1))
    return {"ips": ips, "snips": snips}[name](w, logged.clicked, logged.units)


@pytest.mark.parametrize("by_thompson", [False, True])
@pytest.mark.parametrize("name", ["ips", "snips", "doubly"])
def test_each_estimator_tells_the_truth_of_the_simulator_and_how_sure_it_is(
    site: Any, uncertain: Any, name: str, by_thompson: bool
) -> None:
    repeats = [served(site, seed, uncertain[1] if by_thompson else None) for seed in range(150)]
    found = [estimate(name, logged) for logged in repeats]

    values, truth = np.array([each.value for each in found]), repeats[0].truth

    assert abs(values.mean() - truth) < 4 * values.std() / np.sqrt(len(values)) + 0.001
    inside = np.mean([abs(each.value - truth) < 1.96 * each.error for each in found])
    assert 0.9 <= inside <= 0.995
    assert abs(repeats[0].clicked.mean() - truth) > 5 * values.std()  # what served is worth is another thing


def test_what_thompson_sampling_logs_tells_what_another_policy_is_worth(site: Any, uncertain: Any) -> None:
    units, true = site
    scores, policy = policies(true)
    chance = random.Random(0)
    picks = [
        thompson(probabilities, spreads, 1, chance)[0]
        for probabilities, spreads in zip((1 / (1 + np.exp(-scores))).tolist(), uncertain[0].tolist(), strict=True)
    ]
    shown, propensities = np.array([each.candidate for each in picks]), np.array([each.propensity for each in picks])
    weights = policy[np.arange(VISITS), shown] / propensities
    clicked = (np.random.default_rng(0).random(VISITS) < true[np.arange(VISITS), shown]).astype(np.float64)

    truth = float((policy * true).sum(axis=1).mean())
    for found in (ips(weights, clicked, units), snips(weights, clicked, units)):
        assert abs(found.value - truth) < 3 * found.error < 0.1


def test_the_doubly_robust_estimate_is_less_spread_where_it_foretells_well(site: Any) -> None:
    for logged in (served(site, seed) for seed in range(20)):
        assert estimate("doubly", logged, q=logged.true).error < estimate("ips", logged).error


def test_the_doubly_robust_estimate_is_right_where_propensities_are_wrong_and_what_it_foretells_is_not(site: Any) -> None:
    wrong = 2.0  # what every chance is believed to be smaller by
    found = [
        (estimate("doubly", each, each.true, wrong * each.weights), estimate("ips", each, weights=wrong * each.weights))
        for each in (served(site, seed) for seed in range(40))
    ]
    truth = served(site, 0).truth

    assert np.mean([doubly.value for doubly, _ in found]) == pytest.approx(truth, rel=0.03)
    assert np.mean([by_weights.value for _, by_weights in found]) == pytest.approx(wrong * truth, rel=0.05)


def test_a_policy_that_serves_is_worth_what_came_of_it(site: Any) -> None:
    logged = served(site, 0)
    same = np.ones(VISITS)

    for found in (ips(same, logged.clicked, logged.units), snips(same, logged.clicked, logged.units)):
        assert found.value == pytest.approx(logged.clicked.mean())
        assert found.effective == VISITS


def test_the_error_is_over_units() -> None:
    clicked = np.repeat([1.0, 0.0] * 50, 10)  # ten visits of a unit, all alike

    found = ips(np.ones(1_000), clicked, np.repeat(np.arange(100), 10))

    assert found.error == pytest.approx(np.sqrt(0.25 / 99), rel=1e-6)
