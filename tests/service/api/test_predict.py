"""``/v1/predict``: each candidate is predicted as the model predicts it, by one version of the weights, which the answer names."""

import gc
import json
import time

import numpy as np
import pytest
from fastapi.testclient import TestClient

from model.encoding.features import Encoder
from model.encoding.keys import Value
from model.settings import Field
from model.weights import sigmoid
from stream.log.contract import RecordTooLargeError
from stream.records.events import Impression, decode_impression
from tests.service.fakes import HOUR, SPEC, TRAINED_THROUGH, Site, trained


def test_predict_is_unavailable_until_weights_are_published(site: Site) -> None:
    with site.client() as client:
        answer = client.post("/v1/predict", json={"candidates": [{"id": "a"}]})

    assert answer.status_code == 503
    assert "no weights yet" in answer.json()["detail"]


def test_a_prediction_equals_that_of_the_model_alone(client: TestClient) -> None:
    request = {
        "context": {"user": "u1", "price": 0.5},
        "candidates": [{"id": "x", "item": "i1"}, {"id": "y", "item": "i2", "tags": ["a", "b"]}],
        "time": 7 * HOUR,
    }
    features: list[dict[str, Value]] = [
        {"user": "u1", "price": 0.5, "item": "i1"},
        {"user": "u1", "price": 0.5, "item": "i2", "tags": ["a", "b"]},
    ]
    expected = sigmoid(trained().predict(Encoder(SPEC.fields).encode(features, [7 * HOUR] * 2).features))

    answer = client.post("/v1/predict", json=request).json()

    assert [each["id"] for each in answer["predictions"]] == ["x", "y"]
    assert [each["probability"] for each in answer["predictions"]] == expected.tolist()


def test_a_candidate_is_predicted_the_same_alone_and_in_a_crowd(client: TestClient) -> None:
    candidates = [{"id": n, "item": f"i{n % 5}", "price": n / 100} for n in range(100)]

    crowd = client.post("/v1/predict", json={"candidates": candidates, "time": 0}).json()["predictions"]
    alone = [client.post("/v1/predict", json={"candidates": [each], "time": 0}).json()["predictions"][0] for each in candidates]

    assert [each["probability"] for each in crowd] == [each["probability"] for each in alone]


def test_a_candidates_feature_wins_over_the_contexts(client: TestClient) -> None:
    both = {"context": {"item": "i1"}, "candidates": [{"id": 0, "item": "i2"}], "time": 0}
    own = {"candidates": [{"id": 0, "item": "i2"}], "time": 0}

    answers = [client.post("/v1/predict", json=request).json() for request in (both, own)]

    assert answers[0]["predictions"][0]["probability"] == answers[1]["predictions"][0]["probability"]


def test_the_id_is_a_feature_only_where_a_field_has_that_name() -> None:
    named = SPEC.model_copy(update={"fields": (*SPEC.fields, Field(name="id"))})
    logged = []
    for spec in (SPEC, named):
        site = Site()
        with site.client() as client:
            site.follower.publish(1, trained(spec=spec))
            client.post("/v1/predict", json={"candidates": [{"id": "a", "item": "i1"}], "log": True})
        logged.append(json.loads(site.log.messages[0].value or b"")["features"])

    assert logged == [{"item": "i1"}, {"id": "a", "item": "i1"}]


def test_the_hour_is_that_of_the_time_given(client: TestClient) -> None:
    def probability(hour: int) -> float:
        request = {"candidates": [{"id": 0, "user": "u1"}], "time": hour * HOUR}
        answer: float = client.post("/v1/predict", json=request).json()["predictions"][0]["probability"]
        return answer

    assert probability(3) == probability(27) != probability(4)


def test_an_answer_names_the_weights_and_how_stale_they_are(site: Site) -> None:
    with site.client() as client:
        site.follower.publish(7, trained(), age=60)

        answer = client.post("/v1/predict", json={"candidates": [{"id": "a"}]}).json()

    assert (answer["version"], answer["trained_through"]) == (7, TRAINED_THROUGH)
    assert 60 <= answer["staleness_seconds"] < 70


def test_predictions_follow_the_newest_weights(site: Site) -> None:
    request = {"candidates": [{"id": "a", "user": "u1"}], "time": 0}
    with site.client() as client:
        answers = []
        for version in (1, 2):
            site.follower.publish(version, trained(seed=version))
            answers.append(client.post("/v1/predict", json=request).json())

    assert [answer["version"] for answer in answers] == [1, 2]
    assert answers[0]["predictions"][0]["probability"] != answers[1]["predictions"][0]["probability"]


def test_what_is_loaded_with_the_first_weights_is_exempt_from_garbage_collection(site: Site) -> None:
    with site.client():
        assert gc.get_freeze_count() == 0
        site.follower.publish(1, trained())
        loaded = gc.get_freeze_count()
        site.follower.publish(2, trained())

    assert loaded > 10_000
    assert gc.get_freeze_count() <= loaded


def test_a_feature_that_no_field_knows_is_named_when_asked_and_always_counted_by_name(client: TestClient) -> None:
    request = {"context": {"uzer": "u1", "hour": 3}, "candidates": [{"id": 1, "item": "i1"}, {"id": 2, "prize": 9}], "time": 0}

    silent, debugged = (client.post("/v1/predict", json={**request, "debug": debug}).json() for debug in (False, True))
    known = client.post("/v1/predict", json={"candidates": [{"id": 1, "item": "i1"}], "debug": True}).json()

    assert "ignored" not in silent
    assert debugged["ignored"] == ["hour", "prize", "uzer"]  # the hour is that of the time
    assert known["ignored"] == []
    counted = [line for line in client.get("/metrics").text.splitlines() if line.startswith("sml_server_ignored_features_total")]
    assert counted == [
        f'sml_server_ignored_features_total{{feature="{name}"}} {n}' for name, n in (("hour", 4.0), ("prize", 2.0), ("uzer", 4.0))
    ]


def test_every_impression_has_an_id_of_its_own(client: TestClient) -> None:
    request = {"candidates": [{"id": "same"}] * 50}

    ids = [each["impression_id"] for _ in range(2) for each in client.post("/v1/predict", json=request).json()["predictions"]]

    assert len(set(ids)) == 100


def test_a_logged_prediction_is_written_with_the_features_as_served(site: Site, client: TestClient) -> None:
    request = {
        "context": {"user": "u1", "page": "home"},
        "candidates": [{"id": "x", "item": "i1", "price": 0.5}, {"id": "y", "item": None}],
        "time": TRAINED_THROUGH,
        "log": True,
    }

    answer = client.post("/v1/predict", json=request).json()

    first, second = (decode_impression(message.value) for message in site.log.messages)
    assert isinstance(first, Impression)
    assert isinstance(second, Impression)
    assert first.features == {"user": "u1", "page": "home", "item": "i1", "price": 0.5}
    assert second.features == {"user": "u1", "page": "home", "item": None}
    assert first.served is not None
    assert (first.served.version, first.served.probability) == (7, answer["predictions"][0]["probability"])
    assert [message.key for message in site.log.messages] == [each["impression_id"].encode() for each in answer["predictions"]]
    assert {message.topic for message in site.log.messages} == {"sml.impressions"}
    assert first.time == TRAINED_THROUGH


def test_a_prediction_is_logged_only_if_asked(site: Site, client: TestClient) -> None:
    client.post("/v1/predict", json={"candidates": [{"id": "a"}]})

    assert site.log.messages == []


def test_a_request_sent_again_with_its_idempotency_key_logs_the_same_impression_ids(site: Site, client: TestClient) -> None:
    request = {"candidates": [{"id": 1}, {"id": 2}], "log": True}
    for key in ("a-first_key", "a-first_key", "another-key"):
        client.post("/v1/predict", json=request, headers={"Idempotency-Key": key})

    assert [json.loads(each.value or b"")["impression_id"] for each in site.log.messages] == [
        *("a-first_key-0", "a-first_key-1") * 2,
        *("another-key-0", "another-key-1"),
    ]


@pytest.mark.parametrize("key", ["short", "x" * 65, "with a space", "a-key;\xe9"])
def test_an_idempotency_key_that_could_not_begin_an_id_is_refused(client: TestClient, key: str) -> None:
    answer = client.post("/v1/predict", json={"candidates": [{"id": 1}]}, headers={b"idempotency-key": key.encode("latin-1")})

    assert (answer.status_code, answer.json()["field"]) == (422, "idempotency-key")
    assert "expected 8 to 64 letters" in answer.json()["detail"]


def test_the_log_is_waited_for_in_a_thread_of_its_own(site: Site, client: TestClient) -> None:
    client.post("/v1/predict", json={"candidates": [{"id": "a"}], "log": True})

    assert len(site.log.threads) == 1
    assert all("worker" in name.lower() for name in site.log.threads)


def test_predicting_goes_on_while_the_log_is_away_but_logging_does_not(site: Site, client: TestClient) -> None:
    site.log.go_away()

    plain, logged = (client.post("/v1/predict", json={"candidates": [{"id": "a"}], "log": log}) for log in (False, True))

    assert (plain.status_code, logged.status_code) == (200, 503)
    assert logged.json()["detail"] == "the log is away"


def test_an_impression_too_large_for_the_log_is_refused(site: Site, client: TestClient) -> None:
    site.log.error = RecordTooLargeError("2 MB, expected 1 MB at most")

    answer = client.post("/v1/predict", json={"candidates": [{"id": "a"}], "log": True})

    assert (answer.status_code, answer.json()) == (413, {"detail": "2 MB, expected 1 MB at most"})


def test_a_thousand_candidates_are_taken_and_no_more(client: TestClient) -> None:
    statuses = [client.post("/v1/predict", json={"candidates": [{"id": n} for n in range(count)]}).status_code for count in (1000, 1001, 0)]

    assert statuses == [200, 422, 422]


@pytest.mark.parametrize(
    ("body", "field", "reason"),
    [
        ('{"candidates": [{"id": 1}, {"id": 2, "price": "cheap"}]}', "candidates[1].price", "number"),
        ('{"candidates": [{"id": 1, "user": ["a"]}]}', "candidates[0].user", "expected"),
        ('{"candidates": [{"id": 1, "item": {"a": 1}}]}', "candidates[0].item", "got `object`"),
        ('{"context": {"x": 1, "y": {}}, "candidates": [{"id": 1}]}', "context.y", "got `object`"),
        ('{"context": {"x": 1e999}, "candidates": [{"id": 1}]}', "context.x", "out of range"),
        ('{"candidates": [{"item": 1}]}', "candidates[0].id", "a string or an integer"),
        ('{"candidates": [{"id": 1.5}]}', "candidates[0].id", "a string or an integer"),
        ('{"candidates": [{"id": true}]}', "candidates[0].id", "a string or an integer"),
        ('{"candidates": [3]}', "candidates[0]", "got `int`"),
        ('{"candidates": {}}', "candidates", "got `object`"),
        ('{"candidates": [{"id": 1}], "time": "noon"}', "time", "got `str`"),
        ('{"candidates": [{"id": 1}], "time": -1}', "time", ">= 0"),
        ('{"candidates": [{"id": 1}], "lgo": true}', "body", "lgo"),
        ('{"context": {}}', "body", "candidates"),
        ("[]", "body", "got `array`"),
        ("{", "body", "truncated"),
        ("", "body", "truncated"),
        ('{"candidates": [{"id": 1, "price": NaN}]}', "body", "malformed"),
    ],
)
def test_a_bad_request_is_answered_with_the_field_and_the_reason(client: TestClient, body: str, field: str, reason: str) -> None:
    answer = client.post("/v1/predict", content=body)

    assert answer.status_code == 422
    assert answer.json()["field"] == field
    assert reason in answer.json()["detail"]


def test_without_a_time_it_is_now(site: Site, client: TestClient) -> None:
    before = int(time.time() * 1000)

    client.post("/v1/predict", json={"candidates": [{"id": "a"}], "log": True})

    impression = decode_impression(site.log.messages[0].value)
    assert isinstance(impression, Impression)
    assert before <= impression.time <= time.time() * 1000


def test_probabilities_are_written_so_that_they_read_back_the_same(client: TestClient) -> None:
    answer = client.post("/v1/predict", json={"candidates": [{"id": n, "user": f"u{n}"} for n in range(5)]})

    probabilities = [each["probability"] for each in answer.json()["predictions"]]
    assert all(0 < probability < 1 for probability in probabilities)
    assert np.unique(probabilities).size > 1
