"""Who asks a server whose model has a cross sends the features that it is made of, and nothing of the cross itself."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from model.encoding.features import Encoder
from model.online import OnlineModel
from model.settings import Field, ModelSettings, Spec, TableSettings
from model.weights import Weights
from tests.service.fakes import Site

FIELDS = (Field(name="user"), Field(name="tags", kind="multi"), Field(name="user:tags", kind="cross", of=("user", "tags")))
CANDIDATES: list[dict[str, Any]] = [{"user": f"u{n % 3}", "tags": [f"t{n % 5}", f"t{n % 7}"]} for n in range(200)]


@pytest.fixture(scope="module")
def weights() -> Weights:
    spec = Spec(model=ModelSettings(hidden=(8,), embedding=4, records=True), table=TableSettings(capacity=1024), fields=FIELDS)
    model = OnlineModel(spec)
    model.learn(Encoder(FIELDS).encode(CANDIDATES, [0] * 200).features, np.arange(200, dtype=np.float32) % 2)
    model.digest()
    return model.weights


@pytest.fixture
def client(weights: Weights) -> Iterator[TestClient]:
    site = Site()
    with site.client() as client:
        site.follower.publish(1, weights)
        yield client


def test_it_is_predicted_bit_for_bit_as_learned_from_the_features_alone(client: TestClient, weights: Weights) -> None:
    expected = weights.probabilities(Encoder(FIELDS).encode(CANDIDATES, [0] * 200).features)

    context, candidates = {"user": "u1"}, [{"id": n, "tags": each["tags"]} for n, each in enumerate(CANDIDATES) if n % 3 == 1]
    answer = client.post("/v1/predict", json={"context": context, "candidates": candidates, "time": 0, "debug": True}).json()

    assert [each["probability"] for each in answer["predictions"]] == [float(expected[n]) for n in range(200) if n % 3 == 1]
    assert answer["ignored"] == []


def test_a_short_request_of_lists_whose_crosses_hold_millions_of_values_is_refused_and_an_honest_one_is_not() -> None:
    fields = (Field(name="a", kind="multi"), Field(name="b", kind="multi"), Field(name="a:b", kind="cross", of=("a", "b")))
    spec = Spec(model=ModelSettings(hidden=(8,), embedding=4), table=TableSettings(capacity=1024), fields=fields)
    site = Site()

    def body(length: int) -> dict[str, Any]:
        values = [str(n) for n in range(length)]
        return {"context": {"a": values}, "candidates": [{"id": n, "b": values} for n in range(1000)]}

    with site.client() as client:
        site.follower.publish(1, OnlineModel(spec).weights)
        answers = [client.post("/v1/predict", json=body(length)) for length in (20, 21)]

    assert [each.status_code for each in answers] == [200, 422]
    assert "expected at most 400,000, got 441,000 values" in answers[1].json()["detail"]


def test_what_is_sent_by_its_name_is_ignored_and_said(client: TestClient) -> None:
    candidates = [{"id": 1, "tags": "t1", "user:tags": "u1"}]

    assert client.post("/v1/predict", json={"candidates": candidates, "debug": True}).json()["ignored"] == ["user:tags"]


def test_no_tensor_is_expected_of_it(client: TestClient) -> None:
    assert [each["name"] for each in client.get("/v2/models/sml").json()["inputs"]] == ["user", "tags"]


def test_it_is_explained_by_its_name(client: TestClient) -> None:
    answer = client.post("/v1/explain", json={"candidates": [{"id": 1, **CANDIDATES[0]}]}).json()

    assert "user:tags" in str(answer)


def test_a_value_that_it_is_made_of_is_not_forgotten(client: TestClient) -> None:
    answer = client.delete("/v1/users/u1", params={"field": "user"})

    assert answer.status_code == 422
    assert "expected a field of which no cross is made, and user:tags is" in answer.text
