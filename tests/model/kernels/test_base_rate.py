"""The bias follows the click rate so far, whatever it is, from the first hundred examples on."""

from math import log

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from model.kernels.base_rate import counts_of
from model.online import OnlineModel
from model.settings import ModelSettings
from tests.model.examples import Examples, examples, learn_both, spec
from tests.model.reference import ReferenceModel

ONE_EXAMPLE = st.tuples(st.booleans(), st.floats(0, 1000), st.booleans())  # clicked, weight, under fnw


def bias_of(model: OnlineModel) -> float:
    return float(model.weights.layout.bias.of(model.weights.dense)[0])


def of_rate(rate: float, seed: int, n: int) -> Examples:
    """Draw examples whose features tell nothing."""
    stream = examples(np.random.default_rng(seed), n, values=200)
    stream.labels[...] = np.random.default_rng([seed, 1]).random(n) < rate
    return stream


@given(stream=st.lists(ONE_EXAMPLE, min_size=1, max_size=40))
@settings(deadline=None)
def test_beside_what_adagrad_learns_the_bias_holds_the_log_odds_of_the_counts(stream: list[tuple[bool, float, bool]]) -> None:
    clicked, weights, fnw = (np.array(column) for column in zip(*stream, strict=True))
    features = examples(np.random.default_rng(0), len(stream)).features
    # A learning rate of almost nothing, and no bound on the weights.
    model = OnlineModel(spec(base_rate=True, wide_rate=1e-30, tower_rate=1e-30, embedding_rate=1e-30), np.float64)
    unbounded = model._rates()._replace(clip=1e9)
    model._rates = lambda: unbounded  # type: ignore[method-assign]

    model.learn(features, clicked.astype(np.float64), weights, fnw)

    others = clicks = 0.0
    for was_clicked, weight, is_fnw in stream:
        clicks += weight if was_clicked else 0
        others = max(others - weight, 0.0) if was_clicked and is_fnw else others + (0 if was_clicked else weight)
    assert bias_of(model) == pytest.approx(log(clicks + 0.5) - log(others + 5), abs=1e-7)  # the first bias is a float32


def test_a_model_that_has_seen_nothing_predicts_the_prior() -> None:
    assert bias_of(OnlineModel(spec(base_rate=True))) == pytest.approx(log(0.5 / 5))
    assert bias_of(OnlineModel(spec())) == 0


@given(rate=st.floats(1e-5, 1 - 1e-5), base_rate=st.booleans())
@settings(deadline=None, max_examples=30)
def test_a_click_rate_that_is_known_beforehand_is_what_is_predicted_first(rate: float, base_rate: bool) -> None:
    model = OnlineModel(spec(base_rate=base_rate, click_rate=rate))
    others, clicks = counts_of(rate)

    assert bias_of(model) == pytest.approx(log(rate) - log(1 - rate), rel=1e-5, abs=1e-5)
    assert min(others, clicks) == 0  # no more is believed than is needed
    assert (clicks + 0.5) / (clicks + 0.5 + others + 5) == pytest.approx(rate)


def test_a_click_rate_that_is_wrong_is_forgotten_and_one_that_is_right_is_kept() -> None:
    right, wrong = (OnlineModel(spec(base_rate=True, click_rate=rate)) for rate in (0.002, 0.0001))
    stream = of_rate(0.002, 0, 20_000)

    for model in (right, wrong):
        model.learn(stream.features, stream.labels)

    assert bias_of(wrong) == pytest.approx(bias_of(right), abs=0.3)


@pytest.mark.parametrize("importance", [None, 50.0])
def test_it_learns_as_the_reference_counts(importance: float | None) -> None:
    """With weights that the bound cuts, too."""
    model = spec(base_rate=True)
    online, reference = OnlineModel(model, np.float64), ReferenceModel(model, torch.float64)
    stream = examples(np.random.default_rng(3), 60)

    ours, theirs = learn_both(online, reference, stream, None if importance is None else np.full(60, importance))

    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
def test_the_first_thousand_examples_cost_little_more_than_knowing_the_rate(rate: float) -> None:
    """The mean of ten streams without a signal. Without the base rate they cost 1.19 times as much at 1 %, and 1.04 at 10 %."""
    paid = known = 0.0
    for seed in range(10):
        stream = of_rate(rate, seed, 1000)
        logits = OnlineModel(spec(base_rate=True)).learn(stream.features, stream.labels).logits.astype(np.float64)
        paid += float(np.logaddexp(0, logits).sum() - stream.labels @ logits)
        known -= float(stream.labels.sum() * log(rate) + (1 - stream.labels).sum() * log(1 - rate))

    assert paid / known <= 1.05


@pytest.mark.parametrize(("rate", "within"), [(0.01, 0.15), (0.1, 0.05), (0.5, 0.05), (0.9, 0.05)])
def test_it_is_calibrated_after_five_thousand_examples(rate: float, within: float) -> None:
    """Predictions of the next thousand, against the true rate; the mean of ten streams. At 1 % the clicks' own noise is 4.5 % of it."""
    predicted = []
    for seed in range(10):
        stream = of_rate(rate, seed, 6000)
        logits = OnlineModel(spec(base_rate=True)).learn(stream.features, stream.labels).logits[5000:].astype(np.float64)
        predicted.append((1 / (1 + np.exp(-logits))).mean())

    assert np.mean(predicted) == pytest.approx(rate, rel=within)


def test_a_rate_that_falls_to_a_third_overnight_is_followed_within_two_thousand_examples() -> None:
    ratios = []
    for seed in range(5):
        stream = examples(np.random.default_rng(seed), 24_000, values=200)
        rates = np.where(np.arange(24_000) < 20_000, 0.12, 0.04)
        stream.labels[...] = np.random.default_rng([seed, 1]).random(24_000) < rates
        logits = OnlineModel(spec(base_rate=True)).learn(stream.features, stream.labels).logits[22_000:].astype(np.float64)
        ratios.append((1 / (1 + np.exp(-logits))).mean() / 0.04)

    assert np.mean(ratios) == pytest.approx(1, rel=0.15)


def test_settings_that_do_not_name_it_mean_what_they_meant() -> None:
    """So models of earlier versions go on as they were."""
    assert not ModelSettings().base_rate
