"""``/v1/explain``: the terms of a prediction add up to its logit, and nobody asks for more of them than for predictions."""

import math
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient

from model.encoding.features import Encoder
from model.networks.build import build
from model.networks.dnn import bind
from model.registry import NETWORKS
from model.settings import ModelSettings, NetworkName, SkipName
from service.api.messages import MAX_CANDIDATES
from tests.model.explanation.test_contributions import read
from tests.service.fakes import HOUR, SPEC, Site, trained

REQUEST: dict[str, Any] = {
    "context": {"user": "u1", "price": 0.5},
    "candidates": [{"id": "x", "item": "i1"}, {"id": 2, "item": "never seen", "tags": ["a", "b"]}],
    "time": 7 * HOUR,
}


def total(explained: dict[str, Any]) -> float:
    """Return the sum of the terms."""
    parts: list[float] = [
        explained["bias"],
        *explained["wide"].values(),
        *explained["skip"],
        *explained.get("cross", []),
        explained["main"],
    ]
    return sum(parts) + float(explained.get("branch", 0.0))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("skip", ["none", "meta_tanh"])
def test_the_terms_of_each_candidate_add_up_to_the_logit_of_the_definition_in_torch(network: NetworkName, skip: SkipName) -> None:
    spec = SPEC.model_copy(
        update={"model": ModelSettings(network=network, hidden=(8, 4), embedding=4, skip=skip, skip_cross=True, records=network == "dnn")}
    )
    weights, site = trained(spec=spec), Site()
    definition = build(spec)
    bind(definition, weights.layout.named(weights.dense))
    features = [REQUEST["context"] | candidate for candidate in REQUEST["candidates"]]
    keys, _ = Encoder(spec.fields).encode(features, [7 * HOUR] * 2)
    named = [[keys.keys[keys.starts[n * 5 + f] : keys.starts[n * 5 + f + 1]].tolist() for f in range(5)] for n in range(2)]
    embedded, told = read(weights, named, keys)
    with site.client() as client:
        site.follower.publish(7, weights)

        explained = client.post("/v1/explain", json=REQUEST).json()["explanations"]
        predicted = client.post("/v1/predict", json=REQUEST).json()["predictions"]

    wide = torch.tensor([list(each["wide"].values()) for each in explained])
    logits = definition(embedded.float(), wide, told.float() if spec.model.records else None).tolist()
    for each, logit, prediction in zip(explained, logits, predicted, strict=True):
        assert total(each) == pytest.approx(each["logit"], abs=1e-5)
        assert each["logit"] == pytest.approx(logit, abs=1e-5)
        assert (each["id"], each["probability"]) == (prediction["id"], prediction["probability"])
        assert each["probability"] == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-5)
        assert list(each["wide"]) == list(each["deep"]) == [field.name for field in spec.fields]
        assert (len(each["skip"]), any(each["skip"])) == (2, skip != "none")
        assert list(each.get("records", {})) == (list(each["wide"]) if spec.model.records else [])
    assert explained[1]["wide"]["item"] == 0
    assert explained[1]["deep"]["item"] == pytest.approx(0, abs=1e-6)  # a value never seen is its default row


def test_an_explanation_names_the_weights_and_logs_nothing(site: Site, client: TestClient) -> None:
    answer = client.post("/v1/explain", json=REQUEST).json()

    assert (answer["version"], "staleness_seconds" in answer, "trained_through" in answer) == (7, True, True)
    assert site.log.messages == []


def test_explaining_takes_no_longer_than_the_largest_request_for_predictions(client: TestClient) -> None:
    most = MAX_CANDIDATES // (len(SPEC.fields) + 2)

    statuses = [
        client.post("/v1/explain", json={"candidates": [{"id": n} for n in range(count)]}).status_code for count in (most, most + 1)
    ]
    refused = client.post("/v1/explain", json={"candidates": [{"id": n} for n in range(most + 1)]}).json()

    assert statuses == [200, 422]
    assert (refused["field"], f"got {most + 1}, expected at most {most}" in refused["detail"]) == ("candidates", True)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"candidates": []}', "candidates"),
        ('{"candidates": [{"id": 1}], "log": true}', "body"),
        ('{"candidates": [{"id": 1, "price": "cheap"}]}', "candidates[0].price"),
        ('{"candidates": [{"id": 1}], "context": {"a": 1, "a": 2}}', "a"),
        ('{"candidates": [{"id": 1}], "context": {"a": {}}}', "context.a"),
    ],
)
def test_a_body_that_is_wrong_is_answered_with_the_field_at_fault(client: TestClient, body: str, field: str) -> None:
    answer = client.post("/v1/explain", content=body)

    assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_there_is_nothing_to_explain_before_there_are_weights(site: Site) -> None:
    with site.client() as client:
        answer = client.post("/v1/explain", json=REQUEST)

    assert answer.status_code == 503
