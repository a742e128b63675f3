"""Each topic's JSON Schema takes what its topic holds, and what the decoder refuses it refuses, too."""

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any, get_args

import jsonschema_rs
import msgspec
import pytest
from typer.testing import CliRunner

from service.cli import app
from service.cli.records import topics_schema
from stream.arms import Traffic
from stream.log.connect import connect
from stream.log.reading import read_all
from stream.log.topics import Topics
from stream.record_schemas import RECORDS, schema
from stream.records.events import Click, Example, Forget, Impression, Served, Watermark, encode

LOG = Path(__file__).parents[1] / "data" / "log-0.1.0.db.gz"
SERVED = Served(3, 0.5, "control", "exp", 0.5, "ab", "treatment", 0.5, forced=True)
GOOD: dict[str, Any] = {"impression_id": "a", "time": 1_790_000_000_000, "features": {"user": "u", "tags": ["a", 1, None, True, 0.5]}}
WRITTEN = [
    ("impressions", Impression("a", 1, {"user": "u", "price": 0.5}, SERVED, {"host": "web-1"})),
    ("impressions", Watermark(5)),
    ("clicks", Click("a", 1, 2.5, "web-1")),
    ("clicks", Watermark(5)),
    ("examples", Example("a", 1, {"user": None}, 1, 2.5, 0.5, 7, "fnw", SERVED, late=True)),
    ("examples", Forget.of(7, 9, "me")),
    ("arms", Traffic.of("exp", {"control": 0.5, "treatment": 0.5})),
]


@cache
def validator(topic: str) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(schema(topic), validate_formats=True)


@pytest.mark.parametrize(("topic", "event"), WRITTEN)
def test_what_we_write_fits(topic: str, event: msgspec.Struct) -> None:
    validator(topic).validate(json.loads(encode(event)))


def test_what_a_log_of_an_earlier_version_holds_fits(tmp_path: Path) -> None:
    (tmp_path / "log.db").write_bytes(gzip.decompress(LOG.read_bytes()))
    topics, counts = Topics("sml"), dict.fromkeys(("examples", "versions"), 0)

    with connect(f"sqlite:///{tmp_path}/log.db") as log:
        for topic in counts:
            for record in read_all(log, getattr(topics, topic)):
                if record.value and not record.headers:  # a heartbeat says what it is in its headers
                    validator(topic).validate(json.loads(record.value))
                    counts[topic] += 1

    assert all(counts.values()), counts


@pytest.mark.parametrize("time", ["2026-09-21T14:13:20Z", "2026-09-21T16:13:20.25+02:00", "2026-09-21 14:13:20"])
def test_a_time_may_be_iso_8601(time: str) -> None:
    validator("impressions").validate({**GOOD, "time": time})
    validator("clicks").validate({"impression_id": "a", "time": time})
    validator("examples").validate({**GOOD, "label": 1, "time": time, "clicked_at": time})


@pytest.mark.parametrize(
    "changes",
    [
        {"time": "noon"},
        {"time": -1},
        {"time": 1_790_000_000_000_000},
        {"impression_id": 7},
        {"impression_id": ""},
        {"features": [1]},
        {"features": {"price": {}}},
        {"label": 7},
        {"label": "1"},
        {"weight": -0.5},
        {"clicked_at": -1},
        {"served": {"probability": 2}},
    ],
)
def test_what_the_decoder_refuses_does_not_fit(changes: dict[str, Any]) -> None:
    example = {**GOOD, "label": 0}
    validator("examples").validate(example)

    assert not validator("examples").is_valid({**example, **changes})


@pytest.mark.parametrize("topic", RECORDS)
def test_a_schema_is_printed(topic: str) -> None:
    assert json.loads(CliRunner().invoke(app, ["topics", "schema", topic]).stdout) == schema(topic)


def test_every_topic_with_a_schema_has_its_command() -> None:
    assert get_args(get_args(topics_schema.__annotations__["topic"])[0]) == tuple(RECORDS)
