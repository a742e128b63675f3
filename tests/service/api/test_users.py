"""``/v1/users``: a request to forget is in the log when it is answered, and whoever asks learns whether the weights know a value."""

import json
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from model.encoding.keys import key_of
from tests.service.fakes import SPEC, Site, trained

USER = SPEC.fields[0]


@pytest.mark.parametrize("value", ["u1", "a/b", "ü ?#&=%", "two\nlines", "..", "0"])
def test_an_accepted_request_is_in_the_log_under_the_key_of_its_value(site: Site, client: TestClient, value: str) -> None:
    site.now = 1_760_000_000.0

    answer = client.delete(f"/v1/users/{quote(value, safe='').replace('.', '%2E')}", params={"field": "user"})

    (message,) = site.log.messages
    key, until = f"{key_of(USER, value):016x}", 1_760_000_060_000
    assert (answer.status_code, answer.json()) == (202, {"fields": ["user"], "keys": [key], "until": until})
    assert (message.topic, message.key, json.loads(message.value or b"")) == (
        "sml.examples",
        None,
        {"forget": key, "until": until, "by": "anybody"},
    )


def test_without_a_field_those_listed_as_personal_are_forgotten() -> None:
    site = Site(personal=("item", "user"))
    with site.client() as client:
        site.follower.publish(7, trained())

        assert client.delete("/v1/users/u1").json()["fields"] == ["user", "item"]
        assert len(site.log.messages) == 2


@pytest.mark.parametrize("method", ["DELETE", "GET"])
@pytest.mark.parametrize(
    ("path", "field", "reason"),
    [
        ("u1", "user", None),
        ("u1", "usr", "field: got 'usr', expected one of user, item, price, tags, hour"),
        ("u1", None, "privacy.fields is empty"),
        ("3", "price", "values of kind numeric share theirs"),
        ("", "user", "not a missing one"),
    ],
)
def test_what_can_not_be_forgotten_is_answered_with_the_reason(
    site: Site, client: TestClient, method: str, path: str, field: str | None, reason: str | None
) -> None:
    answer = client.request(method, f"/v1/users/{path}", params={"field": field} if field else {})

    assert answer.is_success if reason is None else (answer.status_code == 422 and reason in answer.json()["detail"])
    assert len(site.log.messages) == (reason is None and method == "DELETE")


def test_a_value_that_was_learned_is_known_and_another_is_not(client: TestClient) -> None:
    known, unknown = (client.get(f"/v1/users/{user}", params={"field": "user"}).json() for user in ("u1", "nobody"))

    assert (known, unknown) == ({"fields": {"user": True}, "version": 7}, {"fields": {"user": False}, "version": 7})


def test_nothing_is_promised_while_the_log_is_away_or_before_there_are_weights(site: Site) -> None:
    with site.client() as client:
        assert client.delete("/v1/users/u1", params={"field": "user"}).status_code == 503
        site.follower.publish(7, trained())
        site.log.go_away()
        assert client.delete("/v1/users/u1", params={"field": "user"}).status_code == 503
