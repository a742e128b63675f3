"""Ranks that learn parts of the examples from one base, and merge what they have learned: by a formula written out longhand."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from model.encoding.features import Features
from model.kernels.rows.record import COLUMNS
from model.online import OnlineModel
from model.rounds import Part, Update, learn_part, merge, split
from model.settings import Spec
from tests.model.examples import Examples, examples, spec

DEFAULT: dict[str, Any] = {"hidden": (8,), "embedding": 3}
FULL = DEFAULT | {"records": True, "base_rate": True}


def whole(stream: Examples) -> Part:
    return Part(stream.features, stream.labels, None, None)


def model_after(random: np.random.Generator, of: Spec, n: int = 200) -> OnlineModel:
    model, stream = OnlineModel(of), examples(random, n)
    model.learn(stream.features, stream.labels)
    return model


def updates_of(model: OnlineModel, stream: Examples, ranks: int) -> list[Update]:
    return [learn_part(model, whole(stream).between(part.start, part.stop))[1] for part in split(len(stream.labels), ranks)]


def copied(model: OnlineModel) -> OnlineModel:
    return OnlineModel.from_state(model.spec, model.state())


def learned_apart(model: OnlineModel, stream: Examples, ranks: int) -> list[OnlineModel]:
    apart = [copied(model) for _ in range(ranks)]
    for each, part in zip(apart, split(len(stream.labels), ranks), strict=True):
        each._in_round = True
        each.learn(*whole(stream).between(part.start, part.stop))
    return apart


def by_key(model: OnlineModel) -> dict[int, int]:
    return {int(key): position for position, key in enumerate(model.table.keys) if key}


@pytest.mark.parametrize("ranks", [2, 3])
def test_a_merge_equals_the_formula_written_out_longhand(ranks: int) -> None:
    random = np.random.default_rng(1)
    wide = spec(**DEFAULT | {"hidden": (128, 128)})  # more dense parameters than are merged at once
    model, stream = model_after(random, wide), examples(random, 64, values=70, most=2)
    before, apart = copied(model), learned_apart(model, stream, ranks)

    merge(model, updates_of(model, stream, ranks))

    for p in range(len(model.weights.dense)):
        mean = sum(float(each.weights.dense[p]) - float(before.weights.dense[p]) for each in apart) / ranks
        assert model.weights.dense[p] == np.float32(float(before.weights.dense[p]) + mean)
    for key, position in by_key(model).items():
        base, where = before.table.rows, by_key(before).get(key)
        start = np.zeros(4) if where is None else base[where].astype(np.float64)
        first = (model.first_of_row() if where is None else before.table.accumulators[where]).astype(np.float64)
        touched = [each for each in apart if key in by_key(each) and each.table.used[by_key(each)[key]] > before.examples]
        row, accumulators = np.zeros(4), np.zeros(4)
        for each in touched:
            row += each.table.rows[by_key(each)[key]] - start
            accumulators += np.maximum(each.table.accumulators[by_key(each)[key]] - first, 0)
        divisor = max(len(touched), 1) if where is None else np.sqrt(max(len(touched), 1))
        assert np.array_equal(model.table.rows[position], (start + row / divisor).astype(np.float32))
        assert np.array_equal(model.table.accumulators[position], (first + accumulators).astype(np.float32))
    assert model.examples == before.examples + 64
    assert model.table.counts.tolist() == [np.count_nonzero(model.table.keys), 0]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), ranks=st.integers(1, 5), n=st.integers(1, 60), capacity=st.sampled_from([8, 64, 4096]), full=st.booleans())
def test_every_rank_merges_into_the_same_state_whatever_the_table_holds(seed: int, ranks: int, n: int, capacity: int, full: bool) -> None:
    random = np.random.default_rng(seed)
    model = model_after(random, spec(capacity=capacity, **(FULL if full else DEFAULT)))
    stream = examples(random, n, values=90, most=3)
    model.digest()
    before, others = model.state(), [copied(model) for _ in range(2)]

    updates = updates_of(model, stream, ranks)

    assert all(np.array_equal(array, before[name]) for name, array in model.state().items())  # a part leaves no trace
    for each in (model, *others):
        merge(each, updates)
    first = model.state()
    for each in others:
        assert each.digest() == model.digest()
        assert all(np.array_equal(array, first[name]) for name, array in each.state().items())
    assert model.digest() == copied(model).digest()  # the running digest knows each row that has changed
    assert model.table.counts[0] == np.count_nonzero(model.table.keys)
    assert model.table.used.max() <= model.examples == before["examples"][0] + n


@pytest.mark.parametrize("capacity", [8, 64])
def test_values_that_give_way_and_come_again_in_one_round_leave_no_accumulator_below_its_first(capacity: int) -> None:
    random = np.random.default_rng(7)
    model = model_after(random, spec(capacity=capacity, **DEFAULT))

    for _ in range(20):
        merge(model, updates_of(model, examples(random, 60, values=30, most=3), 3))

    occupied = model.table.keys != 0
    assert (model.table.accumulators[occupied] >= model.first_of_row()).all()
    assert np.isfinite(model.table.rows).all()
    assert model.table.counts[1] > 0


@pytest.mark.parametrize("extra", [{}, {"records": True}, {"base_rate": True}])
def test_a_round_of_one_rank_is_what_learning_without_rounds_is(extra: dict[str, Any]) -> None:
    random = np.random.default_rng(2)
    model, stream = model_after(random, spec(**DEFAULT, **extra)), examples(random, 300, values=80)
    alone = copied(model)

    merge(model, updates_of(model, stream, 1))

    alone.learn(stream.features, stream.labels)
    ours, theirs = by_key(model), by_key(alone)
    assert ours.keys() == theirs.keys()
    for name in ("used", "rows", "accumulators"):
        here, there = getattr(model.table, name), getattr(alone.table, name)
        assert all(np.array_equal(here[ours[key]], there[theirs[key]]) for key in ours)  # in which way of its set a new one lies is open
    for name in ("weights.dense", "accumulators", "label_counts", "examples"):
        assert np.array_equal(attrgetter(name)(model), attrgetter(name)(alone))


def test_counts_of_all_ranks_are_those_of_one_that_has_seen_everything() -> None:
    random = np.random.default_rng(3)
    model, stream = model_after(random, spec(**FULL), 60), examples(random, 40)
    alone = copied(model)

    merge(model, updates_of(model, stream, 4))

    alone.learn(stream.features, stream.labels)
    assert np.allclose(model.label_counts, alone.label_counts)
    ours, theirs = by_key(model), by_key(alone)
    assert ours.keys() == theirs.keys()
    for key in ours:  # the fields' values come often: few waited in a bucket that another rank has not seen
        assert np.allclose(model.table.records.counts[ours[key]], alone.table.records.counts[theirs[key]], atol=1e-3)
    assert np.allclose(model.table.records.counts[-1], alone.table.records.counts[-1], atol=1e-2)
    assert model.table.records.counts.shape[1] == COLUMNS


def test_an_example_whose_step_is_not_finite_leaves_no_trace_in_a_round() -> None:
    random = np.random.default_rng(4)
    model, stream = model_after(random, spec(**FULL)), examples(random, 20)
    other = copied(model)
    importance = np.where(np.arange(20) == 3, np.inf, 1.0)
    without = Features(*stream.features).without([3], 20)

    learned, update = learn_part(model, Part(stream.features, stream.labels, importance, None))
    merge(model, [update])
    merge(other, [learn_part(other, Part(without, np.delete(stream.labels, 3), None, None))[1]])

    assert learned.undone == [3]
    assert model.digest() == other.digest()


def test_accumulators_are_halved_once_when_a_round_passes_the_half_life() -> None:
    random = np.random.default_rng(5)
    halving, plain = (model_after(random, spec(**DEFAULT, accumulator_half_life=h), 90) for h in (100, 0))
    plain = OnlineModel.from_state(plain.spec, halving.state())
    stream = examples(random, 40)

    for model in (halving, plain):
        merge(model, updates_of(model, stream, 4))

    plain.halve_accumulators()
    assert np.array_equal(halving.accumulators, plain.accumulators)
    assert np.array_equal(halving.table.accumulators, plain.table.accumulators)


def test_ranks_that_learned_nothing_have_no_part_in_the_mean() -> None:
    random = np.random.default_rng(6)
    model, stream = model_after(random, spec(**DEFAULT)), examples(random, 2)
    other = copied(model)

    merge(model, updates_of(model, stream, 5))
    merge(other, updates_of(other, stream, 2))

    assert model.digest() == other.digest()


@given(st.integers(0, 2000), st.integers(1, 16))
def test_parts_follow_each_other_and_differ_by_one_at_most(count: int, ranks: int) -> None:
    cuts: Sequence[slice] = split(count, ranks)

    assert [n for part in cuts for n in range(count)[part]] == list(range(count))
    sizes = [part.stop - part.start for part in cuts]
    assert len(sizes) == ranks
    assert max(sizes) - min(sizes) <= 1
