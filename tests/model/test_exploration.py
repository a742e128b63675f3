"""The chances to be among the best are those that Monte Carlo finds, whatever the candidates; and what is less known is more uncertain."""

from collections.abc import Mapping
from itertools import product
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from model.encoding.features import Encoder, Features
from model.exploration import LEAST, PRIOR, _nodes, chances
from model.online import OnlineModel
from model.settings import Field, ModelSettings, Spec, TableSettings

DELAY = 1_000  # ms: so long waits a label
NOW = 1_000 * DELAY  # when every label is decided


def monte_carlo(means: np.ndarray, spreads: np.ndarray, count: int, rounds: int = 40_000) -> np.ndarray:
    drawn = means + spreads * np.random.default_rng(0).standard_normal((rounds, len(means)))
    best = np.argpartition(-drawn, count - 1, axis=1)[:, :count]
    return np.bincount(best.ravel(), minlength=len(means)) / rounds


@pytest.mark.parametrize(("candidates", "count"), [(5, 1), (5, 4), (100, 1), (100, 3), (100, 10)])
def test_the_chances_are_those_that_monte_carlo_finds(candidates: int, count: int) -> None:
    random = np.random.default_rng(candidates + count)
    for spread in (0.2, 0.05 + random.random(candidates)):
        means, spreads = random.normal(-3, 0.7, candidates), np.full(candidates, spread)

        assert chances(means, spreads, count) == pytest.approx(monte_carlo(means, spreads, count), abs=0.015)


@pytest.mark.parametrize(("gap", "one", "other"), [*product([0.0, 0.3, 2.0], [0.05, 1.0], [0.05, 0.4])])
def test_of_two_candidates_the_chances_are_known(gap: float, one: float, other: float) -> None:
    expected = NormalDist().cdf(gap / (one**2 + other**2) ** 0.5)

    assert chances([gap, 0.0], [one, other], 1)[0] == pytest.approx(expected, abs=0.005)


@settings(deadline=None, max_examples=60)
@given(st.data(), st.one_of(st.integers(1, 6), st.sampled_from([100, 1000])))
def test_whatever_the_candidates_the_chances_sum_to_how_many_are_chosen(data: st.DataObject, candidates: int) -> None:
    count = data.draw(st.integers(1, min(candidates + 1, 7)))
    random = np.random.default_rng(data.draw(st.integers(0, 5)))
    means = data.draw(st.sampled_from([0.0, 1e-9, 1.0, 28.0])) * random.normal(size=candidates)
    spreads = data.draw(st.sampled_from([0.0, 1e-3, 1.0, 5.0])) * random.random(candidates)

    found = chances(means, spreads, count)

    assert found.sum() == pytest.approx(min(count, candidates), rel=1e-12)
    assert ((found > LEAST / 2) & (found <= 1)).all()  # NaN is neither


def test_the_work_of_choosing_is_bounded_however_many_are_asked_for() -> None:
    means = np.random.default_rng(0).normal(-3, 0.7, 1000)
    for count in (1, 10, 50, 500, 999):
        assert len(_nodes(means, np.full(1000, 0.5), count)) * count * 1000 <= 16_000_000
    many = chances(means, np.full(1000, 0.5), 500)

    assert many.sum() == pytest.approx(500)
    assert many == pytest.approx(monte_carlo(means, np.full(1000, 0.5), 500, rounds=5_000), abs=0.04)


def test_equal_candidates_have_equal_chances() -> None:
    for candidates in (2, 100, 1000):
        assert chances(np.full(candidates, -3.0), np.full(candidates, 0.5), 2) == pytest.approx(2 / candidates)


def test_of_two_that_promise_the_same_the_less_known_is_chosen_more_often() -> None:
    leader, known, unknown = chances([0.0, -1.0, -1.0], [0.1, 0.1, 1.0], 1)

    assert known < LEAST * 10 < 0.1 < unknown < leader


SPEC = Spec(
    model=ModelSettings(hidden=(8, 4), embedding=4, records=True),
    table=TableSettings(capacity=1024),
    fields=(Field(name="user"), Field(name="item"), Field(name="tags", kind="multi")),
    label_delay=DELAY,
)


def encoded(*examples: Mapping[str, object], time: int = NOW) -> Features:
    features, bad = Encoder(SPEC.fields).encode(list(examples), [time] * len(examples))  # type: ignore[arg-type]
    assert not bad
    return features


@pytest.fixture(scope="module")
def model() -> OnlineModel:
    """Return a model that has seen item a 100 times and item b 10 times, tag t with each."""
    model = OnlineModel(SPEC)
    shown = encoded(*[{"user": "u", "item": "b" if n % 11 == 10 else "a", "tags": ["t"]} for n in range(110)], time=0)
    model.learn(shown, (np.arange(110) % 3 == 0).astype(np.float32))
    return model


def test_a_spread_is_the_formula_written_out_over_the_fields_in_which_candidates_differ(model: OnlineModel) -> None:
    candidates = encoded(*[{"user": "u", "item": item, "tags": tags} for item, tags in (("a", ["t"]), ("b", ["t", "new"]), ("c", ["t"]))])
    p = np.array([0.2, 0.3, 0.4])

    def variance(seen: int, p: float) -> float:
        return 1 / (2 / PRIOR**2 + seen * p * (1 - p))

    assert model.weights.spreads(candidates, p) ** 2 == pytest.approx(
        [
            variance(100, 0.2) + variance(110, 0.2),
            variance(10, 0.3) + variance(110, 0.3) / 4 + variance(0, 0.3) / 4,
            variance(0, 0.4) + variance(110, 0.4),
        ]
    )


def test_labels_that_are_not_decided_tell_nothing(model: OnlineModel) -> None:
    early = encoded({"user": "u", "item": "a", "tags": "t"}, {"user": "u", "item": "c", "tags": "t"}, time=DELAY)

    assert model.weights.spreads(early, np.array([0.3, 0.3])) == pytest.approx(PRIOR)


def test_no_candidate_is_more_uncertain_than_one_of_which_nothing_is_known(model: OnlineModel) -> None:
    new = {"user": "new", "item": "new", "tags": ["new", "newer", "newest"]}
    candidates = encoded({"user": "u", "item": "a", "tags": ["t"]}, new, {**new, "tags": ["one"]})

    known, several, one = model.weights.spreads(candidates, np.array([0.3, 0.3, 1e-9]))

    assert known < several < one == pytest.approx(PRIOR)


@pytest.mark.parametrize("records", [True, False])
def test_candidates_that_are_alike_and_models_that_can_not_tell_have_no_spread(model: OnlineModel, records: bool) -> None:
    one = {"user": "u", "item": "a", "tags": "t"}
    plain = OnlineModel(SPEC.model_copy(update={"model": SPEC.model.model_copy(update={"records": False})}))
    candidates = encoded(one, one if records else {**one, "item": "c"})

    assert (model if records else plain).weights.spreads(candidates, np.array([0.3, 0.3])).tolist() == [0, 0]
    assert model.weights.spreads(encoded(), np.empty(0)).tolist() == []
