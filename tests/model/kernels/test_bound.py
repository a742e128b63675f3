"""One example counts as much as its weight says, up to the bound: beyond it, it would cost the other examples too much."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from model.online import OnlineModel
from tests.model.examples import Unbounded, examples, learn_both, spec
from tests.model.kernels.test_step import cut, in_double, relative, shapes

weights = st.lists(st.sampled_from([0.0, 1.0, 10.0]) | st.floats(0, 1e3) | st.floats(0, 1e12), min_size=6, max_size=6)


@settings(max_examples=60, deadline=None)
@given(shape=shapes, seed=st.integers(0, 10**6), importance=weights)
def test_steps_of_any_weight_equal_those_of_autograd_with_a_bounded_derivative(
    shape: dict[str, Any], seed: int, importance: list[float]
) -> None:
    online, reference = in_double(spec(**shape))
    stream = examples(np.random.default_rng(seed), 6, values=2, most=2)

    ours, theirs = learn_both(online, reference, stream, np.array(importance))

    assert relative(ours, theirs) < 1e-9
    assert relative(online.weights.dense, reference.dense.numpy()) < 1e-9
    parameters = online.weights.layout.parameters
    for name, expected in reference.accumulators.items():
        accumulators = parameters[name].accumulators_of(online.accumulators)
        np.testing.assert_allclose(accumulators, expected.numpy(), rtol=1e-9, atol=1e-12, err_msg=name)


@given(
    weight=st.floats(0, 1e6),
    label=st.integers(0, 1),
    fnw=st.booleans(),
    before=st.integers(0, 200),
    accumulator=st.sampled_from([1e-6, 1.0, 2_000.0, 1e6]),
)
@settings(max_examples=60, deadline=None)
def test_one_example_adds_no_more_to_the_bias_than_the_bound_written_out(
    weight: float, label: int, fnw: bool, before: int, accumulator: float
) -> None:
    """At most 10², or a sixteenth of what is there; less than that is not touched."""
    online = OnlineModel(spec(wide_accumulator=accumulator), np.float64)
    stream = examples(np.random.default_rng(0), before + 1)
    stream.labels[-1] = label
    online.learn(*cut(stream, 3, 0, before))
    accumulators = online.weights.layout.bias.accumulators_of(online.accumulators)
    was = float(accumulators[0])

    (logit,) = online.learn(*cut(stream, 3, before, before + 1), np.array([weight]), np.array([fnw])).logits

    p = 1 / (1 + np.exp(-logit))
    factor = (1 + p if label else (1 - p) * (1 + p)) if fnw else 1
    assert accumulators[0] - was == pytest.approx(min((weight * factor * (p - label)) ** 2, max(100, was / 16)), rel=1e-6, abs=1e-9 * was)


def test_no_weight_up_to_ten_is_cut() -> None:
    """However wrong the model is: the same bits as without a bound."""
    stream, importance = examples(np.random.default_rng(9), 500), np.random.default_rng(10).uniform(0, 10, 500)
    bounded, unbounded = OnlineModel(spec()), Unbounded(spec())

    bounded.learn(stream.features, stream.labels, importance)
    unbounded.learn(stream.features, stream.labels, importance)

    assert bounded.digest() == unbounded.digest()


@pytest.mark.parametrize("weight", [np.inf, np.nan, 1e39])
def test_a_weight_that_is_not_finite_is_not_learned(weight: float) -> None:
    stream, importance = examples(np.random.default_rng(11), 20), np.ones(20)
    importance[7] = weight
    with_it, without = OnlineModel(spec()), OnlineModel(spec())

    with np.errstate(over="ignore"):
        excluded = with_it.learn(stream.features, stream.labels, importance).undone
    without.learn(*cut(stream, 3, 0, 7))
    without.learn(*cut(stream, 3, 8, 20))

    assert excluded == [7]
    assert with_it.digest() == without.digest()
