"""`sml replay` reports what becomes of a file whose times are made up, or out of order."""

import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from service.cli import app
from stream.log.connect import connect
from tests.stream.join.test_joiner import read

NOW = int(time.time() * 1000)
DAY = 86_400_000  # ms


class Folder:
    """Settings, a log, and a file whose rows have the times that a test says."""

    def __init__(self, path: Path) -> None:
        self.path, self.url = path, f"sqlite:///{path}/log.db"
        learn = f'[learn]\ndirectory = "{path}/checkpoints"\nmetrics_port = 0'
        (path / "sml.toml").write_text(f'[log]\nurl = "{self.url}"\n[data]\ntime = "time"\n{learn}\n[[field]]\nname = "user"\n')

    def sml(self, *words: str) -> Result:
        """Run a command."""
        return CliRunner().invoke(app, [*words, "--config", str(self.path / "sml.toml")])

    def replay(self, times: list[int], *options: str) -> Result:
        """Replay a file."""
        file = self.path / "clicks.jsonl"
        file.write_text("".join(json.dumps({"user": "u", "time": at, "click": 0}) + "\n" for at in times))
        return self.sml("replay", str(file), *options)

    def written(self, topic: str = "sml.impressions") -> int:
        """Return how many records the log holds."""
        with connect(self.url) as log:
            return log.bounds(topic)[0].end


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_a_file_of_made_up_times_is_refused_with_the_switch_that_takes_it(folder: Folder) -> None:
    done = folder.replay([NOW - DAY, NOW + DAY])

    assert done.exit_code == 1
    assert "row 2, time: got" in done.stderr
    assert "`sml replay --future`" in done.stderr
    assert folder.written() == 0


def test_made_up_times_are_written_with_a_word_on_what_takes_them(folder: Folder) -> None:
    done = folder.replay([NOW - DAY, NOW + DAY], "--future", "--json")

    assert done.exit_code == 0
    assert "`[join] accept_future = true`" in done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["rows"] == 2
    assert folder.written() == 3


def test_a_file_out_of_order_is_written_in_the_order_of_time_and_told(folder: Folder) -> None:
    done = folder.replay([NOW - DAY, NOW - 2 * DAY, NOW - DAY], "--json")

    assert json.loads(done.stdout.splitlines()[-1])["sorted"]
    assert "the rows are not in the order of time, and are written in it; `sml replay --as examples` keeps theirs" in done.stderr
    with connect(folder.url) as log:
        written = [json.loads(record.value or b"") for record in read(log, "sml.impressions")]
    assert [each["time"] - NOW for each in written[:3]] == [-2 * DAY, -DAY, -DAY]


@pytest.mark.parametrize("options", [["--json"], []])
def test_a_file_in_order_is_told_nothing(folder: Folder, options: list[str]) -> None:
    assert "note:" not in folder.replay([NOW - 2 * DAY, NOW - DAY], *options).stderr


def test_the_order_of_examples_is_the_files_and_nothing_is_told(folder: Folder) -> None:
    done = folder.replay([NOW - DAY, NOW - 2 * DAY], "--as", "examples")

    assert "note:" not in done.stderr
    assert folder.written("sml.examples") == 2


def test_rows_that_may_yet_be_clicked_are_told(folder: Folder) -> None:
    a_second_ago = int(time.time() * 1000) - 1000

    assert "clicks may yet come for the rows after" in folder.replay([NOW - DAY, a_second_ago]).stderr


def test_on_an_embedded_log_nothing_has_to_be_created_first(folder: Folder) -> None:
    replayed, learned = folder.replay([NOW - DAY], "--as", "examples"), folder.sml("learn", "--until-caught-up", "--json")

    assert replayed.exit_code == 0, replayed.stderr
    assert json.loads(learned.stdout.splitlines()[-1])["examples"] == 1


def test_columns_whose_objects_were_not_written_are_named(folder: Folder) -> None:
    file = folder.path / "nested.jsonl"
    file.write_text("".join(json.dumps({"user": "u", "time": NOW - DAY, "click": 0, "at": [{"city": "Bern"}]}) + "\n" for _ in range(3)))

    done = folder.sml("replay", str(file))

    assert "no field takes objects, so those in 'at' were not written" in done.stderr
    assert folder.written() > 3
