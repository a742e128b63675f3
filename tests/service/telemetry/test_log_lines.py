"""Logs: JSON on request, with the id of the request, and without what a request asks unless that is asked for."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Literal

import pytest

from service.access.bounds.limits import Allowances
from service.access.callers import Callers
from service.access.guard import Access
from service.telemetry import audit
from service.telemetry.log_lines import JsonLines, TextLines
from tests.service.fakes import Site, trained

BODY = {"context": {"user": "Ada Lovelace"}, "candidates": [{"id": "a"}]}


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """Return where JSON lines go meanwhile."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield written
    root.removeHandler(handler)
    root.setLevel(before)


def predict(log_requests: Literal["none", "lines", "bodies"]) -> None:
    site = Site(access=Access(Callers(), Allowances(1e6, 1e6, 10), log_requests=log_requests))
    with site.client() as client:
        site.follower.publish(7, trained())
        client.post("/v1/predict", json=BODY, headers={"X-Request-ID": "visit-17"})


def test_a_request_is_logged_with_its_id_and_without_its_features(lines: io.StringIO) -> None:
    predict("lines")

    (line,) = [each for each in map(json.loads, lines.getvalue().splitlines()) if each["logger"] == "requests"]
    assert (line["request_id"], line["method"], line["path"], line["status"]) == ("visit-17", "POST", "/v1/predict", 200)
    assert (line["who"], line["level"]) == ("anybody", "INFO")
    assert "Lovelace" not in lines.getvalue()


def test_features_are_logged_if_that_is_asked(lines: io.StringIO) -> None:
    predict("bodies")

    assert "Ada Lovelace" in lines.getvalue()


def test_no_request_is_logged_unless_that_is_asked(lines: io.StringIO) -> None:
    predict("none")

    assert "visit-17" not in lines.getvalue()


def test_an_error_that_nobody_foresaw_tells_the_client_nothing() -> None:
    site = Site()
    site.log.error = RuntimeError("a bug")
    with site.client() as client:
        answer = client.post("/v1/clicks", json={"impression_id": "i1", "time": 1_760_000_000_000}, headers={"X-Request-ID": "visit-18"})

    assert answer.status_code == 500
    assert "a bug" not in answer.text


def test_an_audit_line_says_who_did_what_to_what(lines: io.StringIO) -> None:
    audit.record("key:5f0c2a91", "rolled back", "sml.versions to version 7")

    line = json.loads(lines.getvalue())
    assert {name: line[name] for name in ("logger", "who", "action", "subject")} == {
        "logger": "audit",
        "who": "key:5f0c2a91",
        "action": "rolled back",
        "subject": "sml.versions to version 7",
    }
    assert line["time"].endswith("+00:00")


def test_a_line_is_one_json_object_whatever_it_says(lines: io.StringIO) -> None:
    logging.getLogger("x").warning("two\nlines and \x1b[31mred\u2028")

    (line,) = lines.getvalue().splitlines()
    assert json.loads(line)["message"] == "two\nlines and \x1b[31mred\u2028"


def test_an_error_carries_its_traceback() -> None:
    error = ValueError("wrong")
    record = logging.getLogger("x").makeRecord("x", logging.ERROR, "f", 1, "it failed", (), (ValueError, error, None))

    assert "ValueError: wrong" in json.loads(JsonLines().format(record))["exception"]
    assert "ValueError: wrong" in TextLines().format(record)


def test_what_a_line_tells_of_a_record_begins_no_other_line_and_commands_no_terminal() -> None:
    record = logging.LogRecord("a", logging.INFO, "", 0, "arms: %s", ("stop\x1b[2J\n2026-11-28 INFO forged",), None)

    line = TextLines().format(record)

    assert line.endswith(r"arms: stop\x1b[2J\n2026-11-28 INFO forged")
    assert line.isprintable()
