"""``sml dead-letters``: counts by reason, original bytes, and one retry."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli import app
from stream.dead_letters import dead_letter
from stream.log.connect import connect
from stream.log.contract import Message, Record
from stream.log.topics import Topics, create
from stream.records.events import BadRecordError
from tests.service.schemas import fits

TOPICS = Topics("sml")


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Set two records aside in a new log."""
    url = f"sqlite:///{tmp_path}/log.db"
    with connect(url) as log:
        create(log, TOPICS, partitions=1)
        for offset, value in enumerate((b"\xff1", b"2")):
            log.append([Message(TOPICS.clicks, b"k", value)])
            record = Record(TOPICS.clicks, 0, offset, 0, b"k", value, ())
            log.append([dead_letter(record, "join", BadRecordError("record", value, "a JSON object"), TOPICS)])
    path = tmp_path / "sml.toml"
    path.write_text(f'[log]\nurl = "{url}"\n')
    return path


def run(*arguments: str | Path) -> bytes:
    result = CliRunner().invoke(app, ["dead-letters", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stdout_bytes


def test_list_counts_by_reason_and_names_the_newest(settings: Path) -> None:
    (group,) = fits("dead-letters list", json.loads(run("list", "--config", settings, "--json")))

    del group["newest_at"]
    reason = "field 'record': got …, expected a JSON object"
    origin = {"topic": TOPICS.clicks, "stage": "join", "class": "BadRecordError"}
    assert group == {"count": 2, "not_retried": 2, "newest": 1, "reason": reason, **origin}


def test_show_gives_the_bytes_as_they_came(settings: Path) -> None:
    assert run("show", "0", "--raw", "--config", settings) == b"\xff1"
    assert fits("dead-letters show", json.loads(run("show", "0", "--json", "--config", settings)))["value"] == "\\xff1"


def test_what_a_record_holds_does_nothing_to_the_terminal_that_shows_it(settings: Path) -> None:
    odd = "\x1b]0;title\x07\x1b[2J\r\nroot: promoted\u202e\x9b"
    with connect(f"sqlite:///{settings.parent}/log.db") as log:
        record = Record(odd, 0, 2, 0, odd.encode(), odd.encode(), ())
        log.append([dead_letter(record, odd, BadRecordError(odd, odd, odd), TOPICS)])

    for arguments in (["list"], ["show", "2"], ["show", "2", "--json"]):
        shown = run(*arguments, "--config", settings).decode()
        assert "promoted" in shown
        assert all(each.isprintable() for line in shown.split("\n") for each in line), arguments
        assert not any(line.startswith("root") for line in shown.split("\n"))


def test_show_of_what_is_not_there_fails_and_says_what_is(settings: Path) -> None:
    result = CliRunner().invoke(app, ["dead-letters", "show", "9", "--config", str(settings)])

    assert result.exit_code == 1
    assert "holds the offsets 0 to 1, got 9" in result.stderr


def test_retry_writes_each_back_once(settings: Path) -> None:
    assert fits("dead-letters retry", json.loads(run("retry", "--json", "--config", settings))) == {"written": 2, "gone": 0}
    assert json.loads(run("retry", "--json", "--config", settings)) == {"written": 0, "gone": 0}
    assert json.loads(run("list", "--config", settings, "--json"))[0]["not_retried"] == 0
