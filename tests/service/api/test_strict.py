"""A body says each thing once, and is bounded in every direction; what it says twice is named, and nothing of it is used."""

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given, strategies as st

from service.api.answers import BadRequestError
from service.api.reading import read_predict_request
from service.api.routes.events import MAX_EVENTS
from service.api.strict import MAX_NESTING, check_keys
from tests.service.fakes import Site

EVENT = '"impression_id": "i1", "time": 1760000000000'

names = st.sampled_from(["a", "b", "c:", 'd"', "\u00e9", "candidates"])
scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-1, 1) | st.text(':"{}[],\\ab', max_size=6)


def written(pairs: list[tuple[str, Any]]) -> str:
    """Write an object as JSON, with keys that may stand there twice."""
    return "{" + ", ".join(f"{json.dumps(name)} : {json.dumps(value)}" for name, value in pairs) + "}"


objects = st.lists(st.tuples(names, scalars | st.lists(scalars, max_size=3)), max_size=5)


@given(objects, st.lists(objects, min_size=1, max_size=3), st.sampled_from(["", ', "log": false', ', "time": 5', ', "time": null']))
def test_a_request_is_taken_exactly_if_no_object_holds_a_key_twice(context: Any, candidates: Any, more: str) -> None:
    held = [[("id", 1), *candidate] for candidate in candidates]
    body = f'{{"context": {written(context)}, "candidates": [{", ".join(map(written, held))}]{more}}}'
    fine = all(len(dict(pairs)) == len(pairs) for pairs in (context, *held))

    if fine:
        read_predict_request(body.encode())
    else:
        with pytest.raises(BadRequestError, match="twice"):
            read_predict_request(body.encode())


@pytest.mark.parametrize(
    ("kind", "body", "field"),
    [
        ("predict", '{"candidates": [{"id": "a", "price": 1, "price": 2}]}', "price"),
        ("predict", '{"candidates": [{"id": "a"}], "candidates": [{"id": "b"}]}', "candidates"),
        ("predict", '{"candidates": [{"id": "a"}], "time": 1, "time": 2}', "time"),
        ("predict", '{"context": {"user": "x", "\\u0075ser": "y"}, "candidates": [{"id": "a"}]}', "user"),
        ("impressions", f'{{{EVENT}, "features": {{"user": "a", "user": "b"}}}}', "user"),
        ("impressions", f'[{{{EVENT}, "features": {{}}}}, {{{EVENT}, "features": {{}}, "time": 1}}]', "[1].time"),
        ("impressions", f'{{{EVENT}, "features": {{}}, "source": {{"a": 1, "a": 2}}}}', "a"),
        ("impressions", f'{{{EVENT}, "features": {{}}, "served": {{"version": 1, "version": 2}}}}', "version"),
        ("impressions", f'{{{EVENT}, "features": {{}}, "not ours": 1, "not ours": 2}}', "not ours"),
        ("clicks", f'{{{EVENT}, "impression_id": "i2"}}', "impression_id"),
    ],
)
def test_a_key_that_stands_twice_is_refused_by_its_name(site: Site, client: TestClient, kind: str, body: str, field: str) -> None:
    answer = client.post(f"/v1/{kind}", content=body)

    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert "twice" in answer.json()["detail"]
    assert site.log.messages == []


@pytest.mark.parametrize("deep", ["[" * 30 + "]" * 30, "[" * 90_000 + "]" * 90_000, '{"a":' * 30 + "1" + "}" * 30])
@pytest.mark.parametrize("key", ["source", "not ours"])
def test_nesting_is_bounded(site: Site, client: TestClient, deep: str, key: str) -> None:
    answer = client.post("/v1/impressions", content=f'{{{EVENT}, "features": {{}}, "{key}": {deep}}}')

    assert answer.status_code == 422
    assert site.log.messages == []


def test_sixteen_levels_are_taken_and_no_more() -> None:
    check_keys(b"[" * MAX_NESTING + b"]" * MAX_NESTING + b" " * 0, -1)
    with pytest.raises(BadRequestError, match="at most 16"):
        check_keys(b'{"a":' + b"[" * MAX_NESTING + b"]" * MAX_NESTING + b"}", -1)


@pytest.mark.parametrize(
    ("features", "field"),
    [
        ({f"f{n}": 1 for n in range(1001)}, "features"),
        ({"user": "x" * 10_001}, "features.user"),
        ({"tags": ["x" * 10_001]}, "features.tags"),
        ({"x" * 10_001: 1}, "features." + "x" * 100),
    ],
)
def test_an_events_features_are_bounded(site: Site, client: TestClient, features: dict[str, Any], field: str) -> None:
    answer = client.post("/v1/impressions", json={"impression_id": "i1", "time": 1_760_000_000_000, "features": features})

    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert site.log.messages == []


@pytest.mark.parametrize(
    ("features", "field"),
    [
        ({f"f{n}": 1 for n in range(1001)}, "candidates[0]"),
        ({"user": "x" * 10_001}, "candidates[0].user"),
        ({"tags": ["x" * 10_001]}, "candidates[0].tags"),
    ],
)
def test_a_candidates_features_are_bounded(client: TestClient, features: dict[str, Any], field: str) -> None:
    answer = client.post("/v1/predict", json={"candidates": [{"id": "a", **features}]})

    assert (answer.status_code, answer.json()["field"]) == (422, field)


@pytest.mark.parametrize("path", ["/v1/impressions", "/v1/clicks"])
def test_a_list_of_events_is_bounded_and_taken_whole_or_not_at_all(site: Site, client: TestClient, path: str) -> None:
    event = {"impression_id": "i", "time": 1_760_000_000_000} | ({"features": {}} if path == "/v1/impressions" else {})

    refused, taken = (client.post(path, json=[event] * count) for count in (MAX_EVENTS + 1, MAX_EVENTS))

    assert (refused.status_code, refused.json()["detail"]) == (422, f"expected 1 to {MAX_EVENTS} events, got {MAX_EVENTS + 1}")
    assert (taken.status_code, len(site.log.messages)) == (202, MAX_EVENTS)


def test_the_candidates_of_a_request_are_bounded(client: TestClient) -> None:
    refused, taken = (client.post("/v1/predict", json={"candidates": [{"id": n} for n in range(count)]}) for count in (1_001, 1_000))

    assert (refused.status_code, refused.json()["field"], taken.status_code) == (422, "candidates", 200)


def test_a_number_of_a_million_digits_is_refused_at_once(client: TestClient) -> None:
    for body in ('{"candidates": [{"id": "a", "price": %s}]}', '{"candidates": [{"id": %s}]}'):
        assert client.post("/v1/predict", content=body % ("9" * 1_000_000)).status_code == 422
