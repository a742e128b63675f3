"""What a field is worth is what its predictions lose where it holds a value that was never seen."""

import numpy as np
import pytest

from model.encoding.features import Encoder
from model.encoding.keys import Value
from model.evaluation.scores import log_losses
from model.online import OnlineModel
from model.settings import Field, ModelSettings, Spec, TableSettings
from service.report.field_worth import EVERY, FieldWorth
from stream.files.layout import Logged

SPEC = Spec(
    model=ModelSettings(hidden=(8, 4), embedding=4, base_rate=True),
    table=TableSettings(capacity=4096),
    fields=(Field(name="tells"), Field(name="tags", kind="multi"), Field(name="noise")),
)


def rows(count: int, seed: int = 0) -> list[Logged]:
    random = np.random.default_rng(seed)
    found = []
    for number in range(1, count + 1):
        label = int(random.random() < 0.3)
        tags: list[Value] = [f"t{n}" for n in random.integers(6, size=random.integers(4))]
        told = label if random.random() < 0.9 else 1 - label
        features: dict[str, Value] = {"tells": told, "tags": tags, "noise": int(random.integers(5))}  # type: ignore[dict-item]
        found.append(Logged(number, number, label, features, None))
    return found


def trained(batch: list[Logged]) -> OnlineModel:
    model = OnlineModel(SPEC)
    features = Encoder(SPEC.fields).encode([each.features for each in batch], [each.time for each in batch]).features
    model.learn(features, np.array([each.label for each in batch], np.float32))
    return model


def test_a_fields_worth_is_what_a_value_never_seen_costs_in_its_place() -> None:
    batch = rows(1_600)
    model, worth = trained(rows(3_200, seed=1)), FieldWorth(SPEC)
    worth.look(model.weights, batch)
    sample = [each for each in batch if not each.number % EVERY]
    labels = np.array([each.label for each in sample], np.float32)

    def loss(instead: dict[str, Value]) -> float:
        features = Encoder(SPEC.fields).encode([each.features | instead for each in sample], [0] * len(sample)).features
        return float(log_losses(model.weights.predict(features), labels).mean())

    found = dict(worth.fields())

    assert next(iter(found)) == "tells"
    for name, saved in found.items():
        assert saved.mean == pytest.approx(loss({name: "never seen"}) - loss({}), abs=1e-6)
    assert found["tells"].decided
    assert not found["noise"].decided


def test_the_share_of_unseen_values_is_that_of_keys_without_a_row() -> None:
    batch = rows(160)
    half = trained(batch[:80])
    changed = [each._replace(features=each.features | {"noise": f"new{each.number}" if each.number > 120 else 0}) for each in batch]
    worth = FieldWorth(SPEC)
    worth.look(half.weights, changed)

    assert worth.unseen.means()[:, :3].tolist() == [[0, 0, 0], [0, 0, 0], [0, pytest.approx(1 / 8), 1]]


def test_a_row_that_no_field_takes_is_passed_over() -> None:
    worth = FieldWorth(SPEC)
    bad = [each._replace(features={"tells": {"no": "value"}}) for each in rows(80)]  # type: ignore[dict-item]
    worth.look(OnlineModel(SPEC).weights, bad)

    assert [saved.mean for _, saved in worth.fields()] == [0, 0, 0]
