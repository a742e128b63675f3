"""With ``keep_negatives``, ``sml evaluate`` learns the rows that the learner learns, and scores every row."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from service.cli import app

SETTINGS = """
[log]
url = "sqlite:///{folder}/log.db"
[model]
hidden = [16, 8]
embedding = 4
base_rate = true
records = true
[table]
capacity = 4096
[learn]
keep_negatives = {rate}
directory = "{folder}/checkpoints"
metrics_port = 0
[data]
time = "time"
together = ["time"]
[[field]]
name = "user"
[[field]]
name = "item"
"""

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return what runs a command in a folder with 1,500 rows, pages of three, and settings that keep a quarter of the negatives."""
    random = np.random.default_rng(0)
    rows = [
        {
            "user": f"u{random.integers(60)}",
            "item": int(random.integers(30)),
            "time": 1_760_000_000 + n // 3,
            "click": int(random.random() < 0.2),
        }
        for n in range(1_500)
    ]
    (tmp_path / "log.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))

    def run(*command: str, rate: float = 0.25) -> Result:
        config = tmp_path / f"{rate}.toml"
        config.write_text(SETTINGS.format(folder=tmp_path, rate=rate))
        words = [str(tmp_path / word) if word.endswith((".jsonl", ".html")) else word for word in command]
        if command[0] != "compare":
            words += ["--config", str(config)]
        return CliRunner().invoke(app, [*words, "--json"])

    return run


def answer(done: Result) -> Any:
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout.splitlines()[-1])


def test_evaluating_with_the_salt_of_a_learner_gives_its_weights_bit_for_bit(run: Run) -> None:
    answer(run("replay", "log.jsonl", "--as", "examples"))
    learned = answer(run("learn", "--until-caught-up"))
    [*_, state] = answer(run("snapshots", "list"))

    evaluated = {p: answer(run("evaluate", "log.jsonl", "--salt", state["sampling"]["salt"], "--protocol", p)) for p in ("usual", "served")}

    assert state["sampling"]["rate"] == 0.25
    for each in evaluated.values():
        assert each["weights_digest"] == learned["digest"] == state["digest"]
        assert learned["examples"] + each["not_learned"] == each["examples"] == 1_500
    assert answer(run("evaluate", "log.jsonl"))["weights_digest"] != learned["digest"]


def test_all_rows_are_scored_by_the_report_and_in_a_comparison_too(run: Run, tmp_path: Path) -> None:
    whole, quarter = (answer(run("evaluate", "log.jsonl", rate=rate)) for rate in (1.0, 0.25))
    reported = answer(run("evaluate", "log.jsonl", "--report", "page.html"))
    compared = answer(run("compare", "log.jsonl", *(str(tmp_path / f"{rate}.toml") for rate in (1.0, 0.25))))

    assert (whole["not_learned"], whole["examples"], quarter["examples"]) == (0, 1_500, 1_500)
    assert 800 < quarter["not_learned"] < 1_000
    assert quarter["calibration"] == pytest.approx(whole["calibration"], abs=0.2)
    assert (reported["log_loss"], reported["weights_digest"]) == (quarter["log_loss"], quarter["weights_digest"])
    assert {each["log_loss"] for each in compared["settings"]} == {whole["log_loss"], quarter["log_loss"]}


def test_a_salt_that_is_none_is_told_in_a_line(run: Run) -> None:
    done = run("evaluate", "log.jsonl", "--salt", "pepper")

    assert done.exit_code == 1
    assert "salt: got 'pepper', expected 32 digits in hex" in done.stderr
