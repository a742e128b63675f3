"""``sml evaluate`` says which protocol it followed; whatever it is, the examples and the weights are the same."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from service.cli import app
from service.commands.evaluation.evaluate import protocol_of
from service.settings import Settings
from stream.settings import DataSettings, JoinSettings

SETTINGS = """
[model]
hidden = [16, 8]
embedding = 4
[table]
capacity = 4096
[data]
{data}
[[field]]
name = "user"
[[field]]
name = "item"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write pages of four rows, one a minute; the click of a page is at random."""
    random = np.random.default_rng(0)
    lines = []
    for page in range(200):
        click = int(random.integers(4))
        for n in range(4):
            row = {"user": f"u{page % 60}", "item": int(random.integers(30)), "time": 1_760_000_000 + page * 60, "click": int(n == click)}
            lines.append(json.dumps(row))
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def run(file: Path, *options: str, data: str = 'time = "time"\ntogether = ["time", "user"]') -> Result:
    config = file.with_name("sml.toml")
    config.write_text(SETTINGS.format(data=data))
    return CliRunner().invoke(app, ["evaluate", str(file), "--config", str(config), "--json", *options])


def result(file: Path, *options: str, **data: str) -> dict[str, Any]:
    done = run(file, *options, **data)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_examples_and_weights_are_the_same_under_every_protocol_and_the_output_says_which(file: Path) -> None:
    usual = result(file, "--protocol", "usual")
    served = result(file)
    page_only = result(file, "--delay", "0")

    assert [(each["protocol"], each["delay"], each["together"]) for each in (usual, served, page_only)] == [
        ("usual", "0ms", []),
        ("served", "11m", ["time", "user"]),
        ("served", "0ms", ["time", "user"]),
    ]
    assert len({(each["examples"], each["weights_digest"]) for each in (usual, served, page_only)}) == 1
    assert len({each["log_loss"] for each in (usual, served, page_only)}) == 3


def test_a_knob_that_is_given_wins(file: Path) -> None:
    assert result(file, "--together", "none", "--delay", "0")["log_loss"] == result(file, "--protocol", "usual")["log_loss"]
    given = result(file, "--protocol", "usual", "--delay", "window", "--together", "time,user")
    assert given["log_loss"] == result(file)["log_loss"]


def test_the_usual_protocol_is_the_default_of_a_file_without_a_time(file: Path) -> None:
    assert result(file, data="")["protocol"] == "usual"


@pytest.mark.parametrize(("policy", "seconds"), [("window", 660.0), ("fnw", 0.0), ("fnc", 0.0)])
def test_a_window_is_as_long_as_the_joiner_waits(policy: Any, seconds: float) -> None:
    settings = Settings(join=JoinSettings(label_policy=policy), data=DataSettings(time="time"))

    assert protocol_of(settings).delay == seconds


@pytest.mark.parametrize(
    ("options", "data", "message"),
    [
        (["--delay", "soon"], 'time = "time"', "delay: got 'soon', expected a duration"),
        (["--delay", "10m"], "", "delay: got '10m' for a file without a time"),
        (["--protocol", "served"], "", "for a file without a time"),
        (["--together", "time,visitor"], 'time = "time"', "together: got 'visitor', expected columns of"),
        ([], 'time = "time"\ntogether = ["pge"]', "together: got 'pge'"),
        (["--together", ""], 'time = "time"', "together: got ''"),
    ],
)
def test_a_protocol_that_cannot_be_followed_is_told_in_a_line(file: Path, options: list[str], data: str, message: str) -> None:
    done = run(file, *options, data=data)

    assert done.exit_code == 1
    assert message in done.stderr
    assert "Traceback" not in done.output


def test_a_column_that_knows_the_answer_is_warned_of(file: Path) -> None:
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps(row | {"item": row["click"]}) + "\n" for row in lines * 5))

    assert "warning: an AUC of" in run(file, "--protocol", "usual").stderr


def test_a_log_that_no_column_gives_away_is_not_warned_of(file: Path) -> None:
    assert "warning" not in run(file).stderr
