"""``/v1/impressions`` and ``/v1/clicks``: what is accepted is in the log, as it was sent; what is not is answered with the reason."""

import json

import pytest
from fastapi.testclient import TestClient

from stream.log.contract import UnknownTopicError
from stream.records.events import decode_click, decode_impression
from tests.service.fakes import Site

IMPRESSION = {"impression_id": "i1", "time": 1_760_000_000_000, "features": {"user": "u1", "price": 2.5, "tags": ["a", "b"]}}
CLICK = {"impression_id": "i1", "time": 1_760_000_004_000}


@pytest.mark.parametrize(("kind", "event"), [("impressions", IMPRESSION), ("clicks", CLICK)])
def test_an_accepted_event_is_in_the_log_under_its_impression_id(
    site: Site, client: TestClient, kind: str, event: dict[str, object]
) -> None:
    answer = client.post(f"/v1/{kind}", json=event)

    (message,) = site.log.messages
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1})
    assert (message.topic, message.key, json.loads(message.value or b"")) == (f"sml.{kind}", b"i1", event)


@pytest.mark.parametrize(("kind", "event"), [("impressions", IMPRESSION), ("clicks", CLICK)])
def test_a_list_is_written_in_its_order(site: Site, client: TestClient, kind: str, event: dict[str, object]) -> None:
    events = [{**event, "impression_id": f"i{n}"} for n in range(5)]

    answer = client.post(f"/v1/{kind}", json=events)

    assert answer.json() == {"accepted": 5}
    assert [json.loads(message.value or b"") for message in site.log.messages] == events


def test_what_is_written_is_what_the_joiner_reads(site: Site, client: TestClient) -> None:
    client.post("/v1/impressions", content=json.dumps([IMPRESSION], indent=4))
    client.post("/v1/clicks", content=json.dumps(CLICK, indent=4))

    impression, click = site.log.messages
    assert decode_impression(impression.value)
    assert decode_click(click.value)


def test_events_are_taken_before_there_are_weights(site: Site) -> None:
    with site.client() as client:
        assert client.post("/v1/impressions", json=IMPRESSION).status_code == 202


def test_nothing_is_accepted_while_the_log_is_away(site: Site, client: TestClient) -> None:
    site.log.go_away()

    answer = client.post("/v1/clicks", json=CLICK)

    assert (answer.status_code, answer.json()["detail"]) == (503, "the log is away")
    assert int(answer.headers["retry-after"]) > 0


def test_a_missing_topic_is_said_and_not_created(site: Site, client: TestClient) -> None:
    site.log.error = UnknownTopicError("no topic 'sml.clicks'")

    answer = client.post("/v1/clicks", json=CLICK)

    assert (answer.status_code, answer.json()["detail"]) == (503, "no topic 'sml.clicks'")


@pytest.mark.parametrize(
    ("kind", "body", "field", "reason"),
    [
        ("impressions", {**IMPRESSION, "time": "noon"}, "time", "expected int"),
        ("impressions", [IMPRESSION, {**IMPRESSION, "features": {"user": {}}}], "[1].features.user", "expected"),
        ("impressions", [IMPRESSION, 3], "[1].record", "expected a JSON object"),
        ("impressions", {**IMPRESSION, "impression_id": ""}, "impression_id", "''"),
        ("impressions", {"impression_id": "i1", "time": 1}, "features", "nothing"),
        ("impressions", {"watermark": 1}, "impression_id", "watermark"),
        ("clicks", {**CLICK, "value": "dear"}, "value", "expected"),
        ("clicks", {"time": 1}, "impression_id", "nothing"),
        ("clicks", [], "body", "got 0"),
        ("clicks", [CLICK] * 10_001, "body", "got 10001"),
    ],
)
def test_a_bad_event_is_answered_with_the_field_and_the_reason(
    site: Site, client: TestClient, *, kind: str, body: object, field: str, reason: str
) -> None:
    answer = client.post(f"/v1/{kind}", json=body)

    assert answer.status_code == 422
    assert answer.json()["field"] == field
    assert reason in answer.json()["detail"]
    assert site.log.messages == []


@pytest.mark.parametrize("body", ["", "{", "[", "nonsense", '[{"a": NaN}]', "\ud800".encode("utf-8", "surrogatepass"), b"[\xff]"])
def test_what_is_no_json_is_refused(client: TestClient, body: str | bytes) -> None:
    assert client.post("/v1/clicks", content=body).status_code == 422
