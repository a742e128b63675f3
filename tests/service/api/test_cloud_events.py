"""CloudEvents over HTTP are the events that they hold: HTTP Protocol Binding 1.0, in binary, structured and batched mode."""

import base64
import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from stream.records.events import Click, Impression, decode_click, decode_impression
from tests.service.fakes import Site

AT, ISO = 1_790_000_000_000, "2026-09-21T14:13:20Z"
BINARY = {"ce-specversion": "1.0", "ce-type": "shown", "ce-source": "/shop%20window", "ce-id": "i-1", "ce-time": ISO}
CLICK = {"specversion": "1.0", "type": "clicked", "source": "/shop", "id": "77", "subject": "i-1", "time": ISO}
STRUCTURED, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"


def test_an_impression_in_binary_mode_takes_from_its_headers_what_its_data_lacks(site: Site, client: TestClient) -> None:
    answer = client.post("/v1/impressions", json={"features": {"user": "u1"}}, headers=BINARY)

    assert answer.status_code == 202
    event = decode_impression(site.log.messages[0].value)
    assert event == Impression("i-1", AT, {"user": "u1"}, source="/shop window")
    assert site.log.messages[0].key == b"i-1"


@pytest.mark.parametrize("data", [{"data": {"value": 2}}, {"data_base64": base64.b64encode(b'{"value": 2}').decode()}])
def test_a_click_in_structured_mode_is_of_its_subject(site: Site, client: TestClient, data: dict[str, Any]) -> None:
    answer = client.post("/v1/clicks", content=json.dumps({**CLICK, **data}), headers={"content-type": f"{STRUCTURED}; charset=UTF-8"})

    assert answer.status_code == 202
    assert decode_click(site.log.messages[0].value) == Click("i-1", AT, 2.0, "/shop")


def test_a_batch_is_taken_as_a_list(site: Site, client: TestClient) -> None:
    events = [{**CLICK, "data": {"impression_id": name}} for name in "abc"]

    answer = client.post("/v1/clicks", content=json.dumps(events), headers={"content-type": BATCH})

    assert answer.json() == {"accepted": 3}
    assert [message.key for message in site.log.messages] == [b"a", b"b", b"c"]


@pytest.mark.parametrize(
    ("content", "headers", "field"),
    [
        ("{}", {**BINARY, "ce-specversion": "0.3"}, "specversion"),
        ("[]", BINARY, "data"),
        ('{"value": 1' + "0" * 400 + "}", BINARY, None),
        ("{", BINARY, "body"),
        ("{}", {"content-type": STRUCTURED}, "specversion"),
        ("{}", {"content-type": BATCH}, "body"),
        (json.dumps([{**CLICK, "data": {}}, {**CLICK, "data": 7}]), {"content-type": BATCH}, "[1].data"),
        (json.dumps({**CLICK, "data": {}}).replace('"id"', '"id": "1", "id"'), {"content-type": STRUCTURED}, "id"),
        (json.dumps({**CLICK, "subject": None, "data": {}}), {"content-type": STRUCTURED}, "impression_id"),
    ],
)
def test_what_is_no_cloud_event_is_refused_with_the_field_at_fault(
    site: Site, client: TestClient, content: str, headers: dict[str, str], field: str | None
) -> None:
    answer = client.post("/v1/clicks", content=content, headers=headers)

    assert answer.status_code == 422
    assert field in (None, answer.json()["field"])
    assert site.log.messages == []
