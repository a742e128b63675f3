"""The kernels take the step that autograd takes, whatever the shape, and the same one however a run is cut."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from model.encoding.features import Features
from model.layout import Layout
from model.online import Learned, OnlineModel
from model.registry import NETWORKS
from model.settings import Spec
from model.terms import TERMS
from tests.model.examples import EVERY, Examples, Unbounded, examples, learn_both, spec
from tests.model.reference import ReferenceModel

LR_ONE: dict[str, Any] = {"tower_rate": 1.0, "embedding_rate": 1.0, "wide_rate": 1.0}

towers = st.lists(st.integers(1, 300), min_size=1, max_size=4) | st.lists(st.integers(1, 24), min_size=1, max_size=20)
few = st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple)
shapes = st.fixed_dictionaries(
    {
        "network": st.sampled_from(list(NETWORKS)),
        "cross_layers": st.integers(1, 4),
        "skip_cross": st.booleans(),
        "cin": few,
        "attention": few,
        "heads": st.integers(1, 3),
        "hidden": towers.map(tuple),
        "embedding": st.integers(1, 12),
        "skip": st.sampled_from(list(TERMS)),
        "skip_input": st.sampled_from(["pre", "post"]),
        "wide": st.booleans(),
        "base_rate": st.booleans(),
        "records": st.booleans(),
        "accumulator_half_life": st.integers(0, 3),
        "seed": st.integers(0, 9),
    }
)


def in_double(shape: Spec) -> tuple[OnlineModel, ReferenceModel]:
    """Return both sides of a model in float64."""
    return OnlineModel(shape, np.float64), ReferenceModel(shape, torch.float64)


def relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the largest difference, relative to the largest value."""
    return float(np.abs(ours - theirs).max() / max(1.0, np.abs(theirs).max()))


@settings(max_examples=120, deadline=None)
@given(shape=shapes, seed=st.integers(0, 10**6), most=st.integers(1, 3))
def test_gradients_equal_autograd_for_every_parameter(shape: dict[str, Any], seed: int, most: int) -> None:
    """One step at rate 1 moves a weight by g / √A, so that the gradient can be read back from weights and accumulators."""
    model = spec(**LR_ONE, **shape | {"base_rate": False, "accumulator_half_life": 0})  # what moves the bias and the accumulators too
    online, reference = in_double(model)
    before = online.weights.dense.copy()
    stream = examples(np.random.default_rng(seed), 1, most=most)

    learn_both(online, reference, stream)

    gradients = dict(reference.network.named_parameters())
    for name, parameter in Layout(model).parameters.items():
        if name == "defaults":
            continue
        scale = np.sqrt(parameter.accumulators_of(online.accumulators))
        moved = parameter.of(before) - parameter.of(online.weights.dense)
        ours = moved * (scale[:, None] if moved.ndim == 2 else scale)
        theirs = gradients[name].grad
        if theirs is None:
            np.testing.assert_allclose(parameter.of(online.weights.dense), gradients[name], rtol=1e-12)
            continue
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-9, atol=1e-11, err_msg=name)
    for key, row in reference.rows.items():
        position = int(np.flatnonzero(online.weights.keys == key)[0])
        np.testing.assert_allclose(online.weights.rows[position], row.values.numpy(), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(online.table.accumulators[position], row.accumulators.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("network", "skip"), EVERY)
@pytest.mark.parametrize("skip_input", ["pre", "post"])
@pytest.mark.parametrize("skip_cross", [False, True])
def test_every_network_with_every_term_learns_as_autograd_does(network: str, skip: str, skip_input: str, skip_cross: bool) -> None:
    """Three steps, relative to 1e-10 over everything learned."""
    online, reference = in_double(
        spec(network=network, skip=skip, skip_input=skip_input, skip_cross=skip_cross, hidden=(6, 5), embedding=3, records=True)
    )
    stream = examples(np.random.default_rng(0), 3, values=2, most=2)
    stream.features.times[...] = [0, 6, 12]  # each is decided when the next comes

    ours, theirs = learn_both(online, reference, stream)

    assert relative(ours, theirs) < 1e-10
    assert relative(online.weights.dense, reference.dense.numpy()) < 1e-10


@settings(max_examples=60, deadline=None)
@given(shape=shapes, seed=st.integers(0, 10**6))
def test_several_steps_at_rate_one_agree_in_double_precision(shape: dict[str, Any], seed: int) -> None:
    """Relative to 1e-10 over everything learned."""
    online, reference = in_double(spec(**LR_ONE, **shape))
    stream = examples(np.random.default_rng(seed), 4, values=2, most=2)
    stream.features.times[...] = [0, 4, 9, 15]

    ours, theirs = learn_both(online, reference, stream)

    assert relative(ours, theirs) < 1e-10
    assert relative(online.weights.dense, reference.dense.numpy()) < 1e-10


@pytest.mark.parametrize(
    ("network", "skip_input", "steps"), [("dnn", "pre", 1000), ("dnn", "post", 1000), *((n, "pre", 250) for n in list(NETWORKS)[1:])]
)
def test_a_thousand_float_steps_stay_as_near_the_double_reference_as_torch_does(network: str, skip_input: str, steps: int) -> None:
    """At most three times torch float32's own distance."""
    model = spec(fields=6, network=network, hidden=(32, 16), skip_input=skip_input, skip_cross=True)
    stream = examples(np.random.default_rng(1), steps, fields=6)
    online, single, double = OnlineModel(model), ReferenceModel(model), ReferenceModel(model, torch.float64)

    learn_both(online, single, stream)
    for keys, label in zip(stream.keys, stream.labels, strict=True):
        double.learn(keys, label)

    exact = double.dense.numpy()
    ours = np.linalg.norm(online.weights.dense - exact)
    theirs = np.linalg.norm(single.dense.numpy() - exact)
    assert 0 < ours <= 3 * theirs


def cut(stream: Examples, fields: int, a: int, b: int) -> tuple[Features, np.ndarray]:
    """Return examples ``a`` to ``b``."""
    keys, starts, times = stream.features
    return Features(keys, starts[a * fields : b * fields + 1], times[a:b]), stream.labels[a:b]


@settings(max_examples=40, deadline=None)
@given(
    network=st.sampled_from(list(NETWORKS)),
    cuts=st.sets(st.integers(1, 1499), max_size=12),
    expiring=st.booleans(),
    overflow=st.sets(st.integers(0, 1499), max_size=3),
    skip_cross=st.booleans(),
    half_life=st.integers(0, 700),
)
def test_weights_are_bit_identical_however_a_run_is_cut(
    network: str, cuts: set[int], expiring: bool, overflow: set[int], skip_cross: bool, half_life: int
) -> None:
    """The state depends on the order of the examples alone, with rows expiring and with steps undone too."""
    stream = examples(np.random.default_rng(2), 1500, values=400 if expiring else 40, most=2)
    stream.labels[list(overflow)] = 1e30  # its step is not finite
    model = spec(capacity=512, network=network, hidden=(16, 8), skip_cross=skip_cross, accumulator_half_life=half_life)
    whole, pieces = Unbounded(model), Unbounded(model)

    excluded = whole.learn(stream.features, stream.labels).undone
    edges = [0, *sorted(cuts), 1500]
    for a, b in pairwise(edges):
        pieces.learn(*cut(stream, 3, a, b))

    assert set(excluded) == overflow
    assert pieces.digest() == whole.digest()
    for name, array in whole.state().items():
        np.testing.assert_array_equal(pieces.state()[name], array, err_msg=name)


@settings(max_examples=25, deadline=None)
@given(shape=shapes, seed=st.integers(0, 10**6))
def test_an_example_scores_the_same_alone_and_in_a_crowd(shape: dict[str, Any], seed: int) -> None:
    """Bit for bit, and as the learner scores it before it learns it."""
    online = OnlineModel(spec(**shape))
    stream = examples(np.random.default_rng(seed), 20, most=2)
    online.learn(stream.features, stream.labels)
    crowd = online.weights.predict(stream.features)
    alone = [online.weights.predict(cut(stream, 3, n, n + 1)[0])[0] for n in range(20)]

    learned = online.learn(*cut(stream, 3, 0, 1))

    np.testing.assert_array_equal(crowd, alone)
    assert learned.logits[0] == crowd[0]


PARAMETERS = {
    "dnn": ["tower.0.weight", "tower.1.bias", "skip.0.meta", "skip.1.weight", "skip.2.meta_bias", "output", "bias", "defaults"],
    "dcn": ["branch.0.weight", "branch.2.bias", "branch.0.skip.weight", "branch.1.skip.meta", "branch.2.skip.meta_bias", "branch.output"],
    "dcn_v2": [
        "branch.0.weight",
        "branch.2.bias",
        "branch.0.skip.weight",
        "branch.1.skip.meta",
        "branch.2.skip.meta_bias",
        "branch.output",
    ],
    "deepfm": ["defaults"],
    "xdeepfm": ["branch.0.weight", "branch.1.weight", "branch.output"],
    "autoint": ["branch.0.query", "branch.0.key", "branch.1.value", "branch.1.residual", "branch.output"],
}


@pytest.mark.parametrize(("network", "overflowing"), [(network, name) for network, names in PARAMETERS.items() for name in names])
@pytest.mark.parametrize("value", [1e30, np.inf, np.nan])
def test_overflow_at_any_layer_is_found_and_undone(network: str, overflowing: str, value: float) -> None:
    """Nothing of the state changes, and the step is named."""
    online = Unbounded(spec(network=network, hidden=(8, 8, 8), skip_cross=True))
    parameter = online.weights.layout.parameters[overflowing]
    parameter.of(online.weights.dense)[...] = value
    stream = examples(np.random.default_rng(3), 5)
    stream.labels[...] = 1e20
    before = online.state()

    learned: Learned = online.learn(stream.features, stream.labels)

    assert learned.undone == [0, 1, 2, 3, 4]
    for name, array in online.state().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


@pytest.mark.parametrize("capacity", [4096, 24])  # of 24 rows, some are touched, then give way, and give way again
def test_what_is_learned_around_an_undone_step_is_as_if_it_had_never_come(capacity: int) -> None:
    """So a restart may skip it."""
    stream = examples(np.random.default_rng(4), 60, most=3)
    stream.labels[30] = 1e30
    model = spec(capacity=capacity, base_rate=True, records=True, accumulator_half_life=15)
    with_it, without = Unbounded(model), Unbounded(model)

    with_it.learn(stream.features, stream.labels)
    without.learn(*cut(stream, 3, 0, 30))
    without.learn(*cut(stream, 3, 31, 60))

    for name, array in with_it.state().items():
        np.testing.assert_array_equal(array, without.state()[name], err_msg=name)


@pytest.mark.parametrize("carried", [{}, {"base_rate": True, "records": True, "accumulator_half_life": 450}], ids=str)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_model_continues_from_its_state_as_if_it_had_not_stopped(network: str, carried: dict[str, Any]) -> None:
    """A checkpoint holds everything that the next step depends on."""
    stream = examples(np.random.default_rng(5), 2000, values=300)
    model = spec(capacity=256, network=network, **carried)
    whole, first = OnlineModel(model), OnlineModel(model)

    whole.learn(stream.features, stream.labels)
    first.learn(*cut(stream, 3, 0, 900))
    second = OnlineModel.from_state(model, first.state())
    second.learn(*cut(stream, 3, 900, 2000))

    assert second.digest() == whole.digest()
    assert second.examples == whole.examples == 2000


def test_accumulators_are_halved_when_their_half_life_is_over() -> None:
    """Each accumulator is halved, to no less than it started from; the weights stay."""
    stream = examples(np.random.default_rng(9), 1500)
    never, ahead, just_now = (OnlineModel(spec(accumulator_half_life=half_life)) for half_life in (0, 1501, 1500))

    for model in (never, ahead, just_now):
        model.learn(stream.features, stream.labels)

    assert never.digest() == ahead.digest() == just_now.digest()  # accumulators are no part of it
    np.testing.assert_array_equal(ahead.accumulators, never.accumulators)
    np.testing.assert_array_equal(just_now.accumulators, np.maximum(never.accumulators / 2, OnlineModel(spec()).accumulators))
    occupied = never.weights.keys != 0
    halved = np.maximum(never.table.accumulators[occupied] / 2, np.array([*[0.001] * never.spec.model.embedding, 1], np.float32))
    np.testing.assert_array_equal(just_now.table.accumulators[occupied], halved)


@pytest.mark.parametrize("records", [False, True])
def test_changes_carry_one_digest_to_the_next(records: bool) -> None:
    """What a follower applies gives it the learner's weights, bit for bit."""
    stream = examples(np.random.default_rng(6), 900, values=300)
    model = spec(capacity=256, records=records)
    online, follower = OnlineModel(model), OnlineModel(model).weights
    for a in range(0, 900, 300):
        online.learn(*cut(stream, 3, a, a + 300))

        follower.apply(online.changes())
        online.mark_published()

        assert follower.digest() == online.digest()
        np.testing.assert_array_equal(follower.predict(stream.features), online.weights.predict(stream.features))


def test_importance_multiplies_the_gradient() -> None:
    """An importance of 0 leaves the weights where they were."""
    stream = examples(np.random.default_rng(7), 10)
    online = OnlineModel(spec())
    online.learn(stream.features, stream.labels)
    dense = online.weights.dense.copy()

    online.learn(stream.features, stream.labels, np.zeros(10))

    np.testing.assert_array_equal(online.weights.dense, dense)


def test_arrays_in_pieces_are_read_as_they_stand() -> None:
    """The kernels read every array as if it were contiguous."""
    stream = examples(np.random.default_rng(8), 100)
    online, strided = OnlineModel(spec()), OnlineModel(spec())
    doubled = Features(np.repeat(stream.features.keys, 2)[::2], np.repeat(stream.features.starts, 2)[::2])

    for _ in range(2):
        expected = online.learn(stream.features, stream.labels).logits
        logits = strided.learn(doubled, stream.labels, fnw=np.broadcast_to(np.False_, 100)).logits

    np.testing.assert_array_equal(logits, expected)
    np.testing.assert_array_equal(strided.weights.predict(doubled), online.weights.predict(stream.features))
