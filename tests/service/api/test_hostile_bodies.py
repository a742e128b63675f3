"""A body that is small and costs much, or that two readers read differently, is refused at once."""

import json
import time

import pytest
from fastapi.testclient import TestClient

from service.api.reading import MAX_READ_AGAIN
from service.api.routes.predict import MOST_LOGGED
from tests.service.fakes import Site


def test_a_context_that_would_be_copied_into_many_impressions_is_refused_and_nothing_is_written(site: Site, client: TestClient) -> None:
    context = {f"x{n}": "a" * 9_000 for n in range(10)}
    body = {"candidates": [{"id": n} for n in range(1_000)], "context": context, "log": True}

    answer = client.post("/v1/predict", json=body)

    assert (answer.status_code, len(site.log.messages)) == (413, 0)
    assert f"{MOST_LOGGED:,}" in answer.json()["detail"]
    assert client.post("/v1/predict", json=body | {"log": False}).status_code == 200


def test_a_key_that_stands_twice_among_many_is_found_at_once(client: TestClient) -> None:
    keys = ",".join(f'"{n:x}":1' for n in range(25_000))
    body = f'{{"impression_id":"a","time":1,{keys},"z":1,"z":1}}'

    started = time.process_time()
    answer = client.post("/v1/clicks", content=body)

    assert (answer.status_code, answer.json()["field"]) == (422, "z")
    assert time.process_time() - started < 3  # it was 7 to 11 seconds while each key was counted


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/impressions", "/v1/clicks"])
def test_half_a_surrogate_pair_is_the_clients_mistake_wherever_it_stands(client: TestClient, path: str) -> None:
    half = r'"\ud800"'
    for body in (
        f'{{"zzz": {{{half}: 1, {half}: 1}}, "candidates": [{{"id": 1}}]}}',
        f'{{"impression_id": "a", "time": {half}, "features": {{}}}}',
        f'{{"impression_id": "a", "time": 1790000000000, "features": {{}}, "source": {{{half}: 1, {half}: 2}}}}',
    ):
        assert client.post(path, content=body).status_code == 422


def test_lists_of_a_context_that_all_candidates_would_repeat_without_end_are_refused(client: TestClient) -> None:
    def status(values: int) -> tuple[int, str | None]:
        body = {"context": {"tags": list(range(values))}, "candidates": [{"id": n} for n in range(1_000)]}
        answer = client.post("/v1/predict", json=body)
        return answer.status_code, answer.json().get("field")

    assert status(401) == (422, "context")
    assert status(400)[0] == 200


def test_a_long_body_that_is_wrong_is_not_read_again_to_name_the_feature(client: TestClient) -> None:
    fields = [
        client.post("/v1/predict", content=f'{{"candidates":[{{"id":1,"a":{{}}}}],"z":"{"z" * length}"}}').json()["field"]
        for length in (10, MAX_READ_AGAIN)
    ]

    assert fields == ["candidates[0].a", "candidates[0]"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"candidates":[{"id":1}],"context":{"a":{}},"context":[]}', "context"),
        ('{"candidates":[{"id":1,"a":{}}],"candidates":[]}', "candidates"),
        ('{"time":99999999999999999,"time":null,"candidates":[{"id":1}]}', "time"),
        ('{"time":99999999999999999,"candidates":[{"id":1}', "time"),
    ],
)
def test_a_body_that_is_wrong_and_names_a_key_twice_is_answered_with_the_key(client: TestClient, body: str, field: str) -> None:
    answer = client.post("/v1/predict", content=body)

    assert (answer.status_code, json.loads(answer.text)["field"]) == (422, field)
