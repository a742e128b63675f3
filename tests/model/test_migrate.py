"""Fields come and go, and what was learned of the others stays."""

import re
from typing import Any

import numpy as np
import pytest

from model.encoding.features import Features
from model.kernels.base_rate import counts_of, log_odds_of
from model.kernels.rows.record import BUCKET, newest_bucket
from model.migrate import MigrationError, begins_anew, convert, migrate
from model.online import OnlineModel
from model.registry import NETWORKS
from model.settings import Field, ModelSettings, Spec, TableSettings

A, B, C = (Field(name=name) for name in "abc")
EXAMPLES = 400


def spec(*fields: Field, network: str = "dnn", **more: Any) -> Spec:
    shape = {"hidden": (6, 4), "embedding": 3, "cin": (3, 2), "attention": (2, 2), "records": True}
    model = ModelSettings.model_validate({"network": network, **shape, **more})
    return Spec(model=model, table=TableSettings(capacity=256), fields=fields, label_delay=10)


def keys_of(*seeds: int) -> Features:
    """Draw values of one field for each seed: the same seed always has the same values."""
    columns = [np.random.default_rng(seed).integers(1, 9, EXAMPLES).astype(np.uint64) + np.uint64(2**40 * seed) for seed in seeds]
    keys = np.stack(columns, axis=1).ravel() * np.uint64(0x9E3779B97F4A7C15)
    return Features(keys, np.arange(len(keys) + 1), np.arange(EXAMPLES))


def trained(of: Spec, features: Features) -> OnlineModel:
    model = OnlineModel(of)
    labels = (np.random.default_rng(9).random(EXAMPLES) < 0.3).astype(np.float32)
    model.learn(features, labels)
    return model


def moved(model: OnlineModel, new: Spec) -> OnlineModel:
    return OnlineModel.from_state(new, migrate(model.state(), model.spec, new))


@pytest.mark.parametrize("network", ["dnn", "dcn", "dcn_v2", "xdeepfm"])
def test_a_new_field_changes_no_prediction_at_first(network: str) -> None:
    before = trained(spec(A, B, network=network), keys_of(1, 2))

    after = moved(before, spec(C, A, B, network=network))

    expected = before.weights.predict(keys_of(1, 2))
    assert np.std(expected) > 0.01
    assert after.weights.predict(keys_of(3, 1, 2)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("network", ["deepfm", "autoint"])
def test_where_fields_meet_without_a_weight_a_new_one_changes_predictions_a_little(network: str) -> None:
    before = trained(spec(A, B, network=network), keys_of(1, 2))

    after = moved(before, spec(A, B, C, network=network))

    assert after.weights.predict(keys_of(1, 2, 3)) == pytest.approx(before.weights.predict(keys_of(1, 2)), abs=0.1)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_order_of_fields_means_nothing(network: str) -> None:
    before = trained(spec(A, B, C, network=network), keys_of(1, 2, 3))

    after = moved(before, spec(C, A, B, network=network))

    assert after.weights.predict(keys_of(3, 1, 2)) == pytest.approx(before.weights.predict(keys_of(1, 2, 3)), abs=1e-5)


@pytest.mark.parametrize("network", NETWORKS)
def test_removing_a_field_undoes_adding_it(network: str) -> None:
    before = trained(spec(A, B, network=network), keys_of(1, 2))

    after = moved(moved(before, spec(A, C, B, network=network)), before.spec)

    assert after.digest() == before.digest()
    for name, array in before.state().items():
        assert np.array_equal(after.state()[name], array), name


def test_a_new_field_is_learned_and_the_others_go_on() -> None:
    model = moved(trained(spec(A, B), keys_of(1, 2)), spec(A, B, C))
    rare = OnlineModel(spec(A, B, C))
    labels = (keys_of(3).keys % np.uint64(2) == 0).astype(np.float32)  # the new field decides

    for _ in range(10):
        for each in (model, rare):
            each.learn(keys_of(1, 2, 3), labels)

    def loss(of: OnlineModel) -> Any:
        return np.mean(np.logaddexp(0, np.where(labels == 1, -1, 1) * of.weights.predict(keys_of(1, 2, 3))))

    assert loss(model) < 0.3
    assert loss(model) < loss(rare) + 0.1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (B, Field(name="b", kind="numeric")),
        (Field(name="b", kind="numeric"), Field(name="b", kind="numeric", bucket_width=0.5)),
        (Field(name="b", kind="numeric", bucket_width=0.5), Field(name="b", kind="numeric", bucket_width=0.25)),
    ],
)
def test_a_field_that_has_other_keys_now_is_another_field(old: Field, new: Field) -> None:
    before = trained(spec(A, old), keys_of(1, 2))

    after = moved(before, spec(A, new))

    first = after.weights.layout.named(after.weights.dense)["tower.0.weight"]  # (2 d, out)
    assert np.array_equal(first[:3], before.weights.layout.named(before.weights.dense)["tower.0.weight"][:3])
    assert not first[3:].any()


def test_a_cross_of_a_field_that_has_other_keys_now_is_another_field() -> None:
    old, new = (Field(name="b", kind="numeric", bucket_width=width) for width in (None, 0.5))
    cross = Field(name="a:b", kind="cross", of=("a", "b"))
    before = trained(spec(A, old, cross), keys_of(1, 2, 3))

    after = moved(before, spec(A, new, cross))

    assert not after.weights.layout.named(after.weights.dense)["tower.0.weight"][3:].any()


def test_another_network_is_refused() -> None:
    before = trained(spec(A), keys_of(1))
    other = spec(A).model_copy(update={"model": ModelSettings(hidden=(7,))})

    with pytest.raises(MigrationError, match=re.escape("model.hidden: got (7,), expected (6, 4)")):
        migrate(before.state(), before.spec, other)


@pytest.mark.parametrize("network", ["dcn", "dcn_v2"])
@pytest.mark.parametrize("skip", ["tanh", "weight_tanh", "meta_tanh", "meta_tanh_online"])
def test_a_new_fields_part_of_a_cross_layers_term_weighs_nothing_and_is_learned(network: str, skip: str) -> None:
    before = trained(spec(A, B, network=network, skip=skip, skip_cross=True), keys_of(1, 2))
    model = moved(before, spec(A, B, C, network=network, skip=skip, skip_cross=True))
    assert model.weights.predict(keys_of(1, 2, 3)) == pytest.approx(before.weights.predict(keys_of(1, 2)), abs=1e-5)
    learned = model.weights.layout.named(model.weights.dense)["branch.0.skip.weight"]
    assert not learned[6:].any()

    model.learn(keys_of(1, 2, 3), np.ones(EXAMPLES, np.float32))

    assert learned[6:].all()


def test_records_that_are_new_start_empty_and_change_no_prediction_at_first() -> None:
    before = trained(spec(A, B, records=False), keys_of(1, 2))

    after = moved(before, spec(A, B))

    assert not after.weights.records.counts.any()
    assert after.weights.predict(keys_of(1, 2)) == pytest.approx(before.weights.predict(keys_of(1, 2)), abs=1e-5)
    after.learn(keys_of(1, 2), np.ones(EXAMPLES))
    assert after.weights.records.counts[-1].any()
    assert after.weights.layout.parameters["records"].of(after.weights.dense).any()


def test_records_can_be_given_up() -> None:
    before = trained(spec(A, B), keys_of(1, 2))

    after = moved(before, spec(A, B, records=False))

    assert after.weights.records.counts.size == 0
    after.learn(keys_of(1, 2), np.ones(EXAMPLES))


@pytest.mark.parametrize("delay", [1, 7, 30])
def test_where_labels_take_another_time_what_waited_waits_about_as_long(delay: int) -> None:
    before = trained(spec(A, B), keys_of(1, 2))  # the last example's time is 399, its labels' delay 10

    after = moved(before, spec(A, B).model_copy(update={"label_delay": delay}))

    assert (after.weights.records.counts[:, :BUCKET] == before.weights.records.counts[:, :BUCKET]).all()
    assert newest_bucket(after.weights.records.counts[-1]) == 390 // delay


RATES: dict[str, Any] = {
    "tower_rate": 0.02, "embedding_rate": 0.3, "wide_rate": 0.05,
    "tower_accumulator": 0.1, "embedding_accumulator": 0.1, "wide_accumulator": 0.5, "accumulator_half_life": 64,
}  # fmt: skip


@pytest.mark.parametrize("name", RATES)
def test_another_step_leaves_the_weights_as_they_are_and_learns_on_otherwise(name: str) -> None:
    before = trained(spec(A, B, accumulator_half_life=100), keys_of(1, 2))

    after = moved(before, spec(A, B, **{"accumulator_half_life": 100} | {name: RATES[name]}))

    assert after.digest() == before.digest()
    for model in (before, after):
        model.learn(keys_of(1, 2), np.ones(EXAMPLES))
        model.learn(keys_of(3, 4), np.ones(EXAMPLES))  # values never seen: their accumulators begin
    assert after.digest() != before.digest()


def with_capacity(capacity: int, *fields: Field) -> Spec:
    return spec(*fields).model_copy(update={"table": TableSettings(capacity=capacity)})


def rows_of(model: OnlineModel) -> dict[int, list[Any]]:
    """Return what is held of each key: weights, accumulators, last use and record, wherever it lies."""
    table = model.table
    parts = (table.rows, table.accumulators, table.used, table.records.counts)
    return {int(table.keys[n]): [part[n].tolist() for part in parts] for n in np.flatnonzero(table.keys)}


@pytest.mark.parametrize("capacity", [512, 264, 8 * 1001])
def test_in_a_larger_table_every_row_is_found_again_and_predicts_and_learns_as_before(capacity: int) -> None:
    before = trained(with_capacity(256, A, B), keys_of(1, 2))

    after = moved(before, with_capacity(capacity, A, B))

    assert rows_of(after) == rows_of(before)
    assert all(after.weights.has(key) for key in rows_of(before))
    assert after.weights.predict(keys_of(1, 2)).tolist() == before.weights.predict(keys_of(1, 2)).tolist()
    for model in (before, after):
        model.learn(keys_of(1, 2), np.ones(EXAMPLES))
    assert rows_of(after) == rows_of(before)
    assert after.table.counts.tolist() == before.table.counts.tolist()


def test_where_a_set_is_too_small_for_what_it_gets_the_rows_used_last_are_kept() -> None:
    before = OnlineModel(with_capacity(24, A))  # three sets; of four, the second overlaps two of them
    low, high = np.uint64(int(0.30 * 2**64)), np.uint64(int(0.40 * 2**64))
    keys = np.concatenate([low + np.arange(8, dtype=np.uint64), high + np.arange(8, dtype=np.uint64)])
    before.learn(Features(keys, np.arange(17), np.arange(16)), np.zeros(16, np.float32))

    after = moved(before, with_capacity(32, A))

    assert set(rows_of(after)) == set(keys[8:].tolist())
    assert after.table.counts.tolist() == [8, 8]  # occupied, expired
    assert np.flatnonzero(after.table.keys).tolist() == list(range(8, 16))


def test_a_smaller_table_is_refused() -> None:
    before = trained(with_capacity(512, A), keys_of(1))

    with pytest.raises(MigrationError, match=r"table.capacity: got 256, expected at least 512"):
        migrate(before.state(), before.spec, with_capacity(256, A))


@pytest.mark.parametrize("network", NETWORKS)
def test_another_model_begins_with_the_parameters_whose_shapes_agree_and_draws_the_others(network: str) -> None:
    before, new = trained(spec(A, B, network=network), keys_of(1, 2)), spec(A, B, network=network, hidden=(6, 5, 4))

    after = OnlineModel.from_state(new, convert(before.state(), before.spec, new))

    assert begins_anew(before.spec, new) == [
        f"{name}.{part}"
        for name, parts in {
            "tower.1": ("weight", "bias"), "skip.1": ("meta", "meta_bias", "weight"),
            "tower.2": ("weight", "bias"), "skip.2": ("meta", "meta_bias", "weight"),
        }.items()
        for part in parts
    ]  # fmt: skip
    named, former, drawn = (model.weights.layout.named(model.weights.dense) for model in (after, before, OnlineModel(new)))
    for name, parameter in named.items():
        expected = drawn if name in begins_anew(before.spec, new) else former
        assert np.array_equal(parameter, expected[name]), name
    assert rows_of(after) == rows_of(before)
    after.learn(keys_of(1, 2), np.ones(EXAMPLES))


def test_a_counted_base_rate_that_is_new_begins_before_any_click_is_counted() -> None:
    before, new = trained(spec(A, B), keys_of(1, 2)), spec(A, B, base_rate=True, click_rate=0.003)

    after = OnlineModel.from_state(new, convert(before.state(), before.spec, new))

    assert after.weights.layout.bias.of(after.weights.dense).tolist() == [pytest.approx(log_odds_of(counts_of(0.003)))]
    assert after.label_counts.tolist() == counts_of(0.003).tolist()
    assert begins_anew(before.spec, new) == ["bias"]


def test_a_model_of_weights_alone_predicts_as_they_do_and_counts_and_accumulates_anew() -> None:
    before = trained(spec(A, B), keys_of(1, 2))

    after = OnlineModel.of_weights(before.weights, before.examples)

    assert after.digest() == before.digest()
    assert (after.examples, after.table.counts[0]) == (EXAMPLES, before.table.counts[0])
    assert set(after.table.used[after.table.keys != 0].tolist()) == {EXAMPLES}
    counted = trained(spec(A, B, base_rate=True), keys_of(1, 2))
    anew = OnlineModel.of_weights(counted.weights, counted.examples)
    assert anew.weights.layout.bias.of(anew.weights.dense).tolist() == [pytest.approx(log_odds_of(counts_of(None)))]
    assert not anew.label_counts.any()
