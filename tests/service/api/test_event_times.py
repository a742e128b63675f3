"""An event with an impossible time is refused at once, with both times, so that a wrong clock is found and harms nothing else."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from stream.inputs.event_time import TimeRule
from stream.records.events import Click, Impression, decode_click, decode_impression
from tests.service.fakes import Site, trained

NOW = 1_790_000_000_000  # ms: 2026-09-21T14:13:20Z
SKEW = 60_000  # ms
HOUR = 3_600_000  # ms


@pytest.fixture
def site() -> Site:
    site = Site(TimeRule(SKEW))
    site.now = NOW / 1000
    return site


@pytest.fixture
def client(site: Site) -> Iterator[TestClient]:
    with site.client() as client:
        site.follower.publish(7, trained())
        yield client


def impression(time: int) -> dict[str, Any]:
    return {"impression_id": "i", "time": time, "features": {}}


def click(time: int) -> dict[str, Any]:
    return {"impression_id": "i", "time": time}


def logged(time: int) -> dict[str, Any]:
    return {"candidates": [{"id": 1}], "time": time, "log": True}


KINDS = pytest.mark.parametrize(("path", "body"), [("/v1/impressions", impression), ("/v1/clicks", click), ("/v1/predict", logged)])


@KINDS
def test_a_time_later_than_the_servers_clock_allows_is_refused_with_both_times(
    site: Site, client: TestClient, path: str, body: Any
) -> None:
    answer = client.post(path, json=body(NOW + SKEW + 1))

    assert answer.status_code == 422
    assert answer.json()["field"] == "time"
    assert answer.json()["detail"] == (
        "got 1790000060001 (2026-09-21T14:14:20.001Z), "
        "expected at most 1m after the server's clock, 1790000000000 (2026-09-21T14:13:20.000Z)"
    )
    assert site.log.messages == []


@KINDS
@pytest.mark.parametrize("time", [NOW + SKEW, NOW, NOW - 24 * HOUR, 0])
def test_a_time_that_may_be_is_taken(site: Site, client: TestClient, *, path: str, body: Any, time: int) -> None:
    assert client.post(path, json=body(time)).is_success
    assert len(site.log.messages) == 1


@KINDS
def test_a_time_in_seconds_is_refused_with_a_hint(site: Site, client: TestClient, path: str, body: Any) -> None:
    answer = client.post(path, json=body(NOW // 1000))

    assert answer.status_code == 422
    assert "got 1790000000 " in answer.json()["detail"]
    assert "expected epoch milliseconds; this looks like seconds; the server's clock is at 1790000000000 (2026-" in answer.json()["detail"]
    assert site.log.messages == []


@KINDS
@pytest.mark.parametrize(("time", "unit"), [(NOW * 1_000, "microseconds"), (NOW * 1_000_000, "nanoseconds"), (2**63, "nanoseconds")])
def test_a_time_beyond_the_year_9999_is_refused_with_a_hint(client: TestClient, *, path: str, body: Any, time: int, unit: str) -> None:
    answer = client.post(path, json=body(time))

    assert answer.status_code == 422
    assert answer.json()["field"] == "time"
    assert f"expected epoch milliseconds; this looks like {unit}" in answer.json()["detail"]


@KINDS
def test_a_negative_time_is_refused(client: TestClient, path: str, body: Any) -> None:
    assert client.post(path, json=body(-1)).status_code == 422


@pytest.mark.parametrize(("path", "body"), [("/v1/impressions", impression), ("/v1/clicks", click)])
@pytest.mark.parametrize("wrong", [NOW + HOUR, NOW // 1000, NOW * 1000])
def test_one_wrong_time_refuses_the_whole_list_and_names_its_place(
    site: Site, client: TestClient, *, path: str, body: Any, wrong: int
) -> None:
    answer = client.post(path, json=[body(NOW), body(NOW), body(NOW), body(wrong), body(NOW)])

    assert (answer.status_code, answer.json()["field"]) == (422, "[3].time")
    assert site.log.messages == []


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_server_whose_clock_jumps_goes_by_that_clock_and_lives(site: Site, client: TestClient, jump: int) -> None:
    site.now = (NOW + jump) / 1000

    statuses = [client.post("/v1/clicks", json=click(time)).status_code for time in (NOW, NOW + HOUR, NOW + 2 * HOUR)]
    predicted = client.post("/v1/predict", json={"candidates": [{"id": 1}], "log": True})

    assert statuses == ([202, 202, 422] if jump > 0 else [422, 422, 422])
    assert predicted.status_code == 200
    assert predicted.json()["staleness_seconds"] >= 0
    assert client.get("/v1/model").json()["staleness_seconds"] >= 0
    assert client.get("/healthz").status_code == 200


def test_a_time_that_is_only_asked_about_may_be_any(client: TestClient) -> None:
    assert client.post("/v1/predict", json={"candidates": [{"id": 1}], "time": NOW + 24 * HOUR}).status_code == 200


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/explain"])
def test_a_time_that_is_only_asked_about_is_not_in_seconds(client: TestClient, path: str) -> None:
    answer = client.post(path, json={"candidates": [{"id": 1}], "time": NOW // 1000})

    assert (answer.status_code, answer.json()["field"]) == (422, "time")
    assert "expected epoch milliseconds; this looks like seconds" in answer.json()["detail"]


@KINDS
def test_a_time_in_seconds_with_a_fraction_is_refused_with_a_hint(client: TestClient, path: str, body: Any) -> None:
    answer = client.post(path, json=body(NOW / 1000 + 0.25))

    assert (answer.status_code, answer.json()["field"]) == (422, "time")
    assert "1790000000.25, expected epoch milliseconds; this looks like seconds" in answer.json()["detail"]


def test_an_event_says_who_wrote_it_if_it_likes(site: Site, client: TestClient) -> None:
    assert client.post("/v1/clicks", json={**click(NOW), "source": "web-3"}).status_code == 202
    assert b'"web-3"' in (site.log.messages[0].value or b"")


@KINDS
def test_a_time_may_be_iso_8601(site: Site, client: TestClient, path: str, body: Any) -> None:
    written = body(NOW) | {"time": "2026-09-21T16:13:20+02:00"}

    assert client.post(path, json=written).status_code in (200, 202)
    [message] = site.log.messages
    decode = decode_click if path == "/v1/clicks" else decode_impression
    event = decode(message.value)
    assert isinstance(event, Impression | Click)
    assert event.time == NOW


@KINDS
def test_an_event_without_a_time_happens_now(site: Site, client: TestClient, path: str, body: Any) -> None:
    written = {name: value for name, value in body(NOW).items() if name != "time"}

    assert client.post(path, json=written).status_code in (200, 202)
    assert json.loads(site.log.messages[0].value or b"")["time"] == NOW


@pytest.mark.parametrize("time", ['"nothing"', "null", '"now"', "[]"])
def test_a_time_that_is_none_is_not_taken_for_now(client: TestClient, time: str) -> None:
    answer = client.post("/v1/clicks", content=f'{{"impression_id": "i", "time": {time}}}')

    assert (answer.status_code, answer.json()["field"]) == (422, "time")


def test_without_a_time_a_key_still_stands_once(client: TestClient) -> None:
    answer = client.post("/v1/clicks", content='{"impression_id": "i", "impression_id": "j", "value": 1.5}')

    assert (answer.status_code, answer.json()["field"]) == (422, "impression_id")
