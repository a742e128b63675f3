"""Settings that are compared are scored as each by itself, and the page's other models are what their names say."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from model.evaluation.scores import RunningScores
from model.settings import Field, ModelSettings, Spec, TableSettings
from service.cli import app
from service.commands.evaluation.evaluate import USUAL, Evaluation
from service.commands.evaluation.watched import base_rate_alone, wide_alone
from stream.files.columns import LoggedBlock
from stream.files.layout import Logged

SETTINGS = """
[model]
hidden = [16, 8]
embedding = 4
{model}
[table]
capacity = 4096
[data]
time = "time"
{data}
[[field]]
name = "user"
[[field]]
name = "item"
kind = "{kind}"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write 2,000 rows, of which a twentieth holds an item that no number is; an odd item is clicked more often."""
    random = np.random.default_rng(0)
    rows = []
    for n in range(2_000):
        item = int(random.integers(20))
        click = int(random.random() < (0.4 if item % 2 else 0.1))
        shown = "<b>x</b>" if n % 20 == 7 else item
        rows.append({"user": f"u{random.integers(50)}", "item": shown, "time": 1_760_000_000 + 10 * n, "click": click})
    (tmp_path / "log.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    settings = {
        "a": {"model": 'skip = "none"', "data": "", "kind": "categorical"},
        "b": {"model": "wide = false\ntower_rate = 1e-6\nembedding_rate = 1e-6", "data": "", "kind": "categorical"},
        "numbers": {"model": "", "data": "", "kind": "numeric"},
        "other": {"model": "", "data": 'together = ["user"]', "kind": "categorical"},
    }
    for name, parts in settings.items():
        (tmp_path / f"{name}.toml").write_text(SETTINGS.format(**parts))
    return tmp_path


def sml(folder: Path, command: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, [command, str(folder / "log.jsonl"), *arguments, "--json"])


def result(folder: Path, command: str, *arguments: str) -> dict[str, Any]:
    done = sml(folder, command, *arguments)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_settings_that_are_compared_have_the_scores_of_each_by_itself_and_the_better_one_is_named(folder: Path) -> None:
    files = [str(folder / "a.toml"), str(folder / "b.toml")]
    compared = result(folder, "compare", *files)

    alone = {file: result(folder, "evaluate", "-c", file) for file in files}
    for each in compared["settings"]:
        for name in ("log_loss", "auc", "normalized_entropy", "calibration", "examples", "bad", "protocol", "delay"):
            assert each[name] == alone[each["settings"]][name]
        assert each["examples_per_second"] > 0
    best, other = compared["settings"]
    assert best["settings"] == files[0]  # the other hardly learns
    assert other["above_best"] == pytest.approx(other["log_loss"] - best["log_loss"], rel=1e-6)
    assert 0 < other["low"] < other["above_best"] < other["high"]
    assert compared["verdict"].startswith(f"{files[0]} is better than {files[1]} by {other['above_best']:.5f}")
    assert "times its speed" in compared["verdict"]


def test_settings_that_are_equal_are_not_told_apart(folder: Path) -> None:
    (folder / "same.toml").write_text((folder / "a.toml").read_text())

    compared = result(folder, "compare", str(folder / "a.toml"), str(folder / "same.toml"))

    assert compared["settings"][1]["above_best"] == 0
    assert "not told apart" in compared["verdict"]


def test_settings_that_fit_no_row_are_said_to_and_the_others_are_compared(folder: Path) -> None:
    log, page = folder / "log.jsonl", folder / "page.html"
    log.write_text(re.sub(r'"item": (\d+)', r'"item": "i\1"', log.read_text()))
    files = [str(folder / f"{name}.toml") for name in ("numbers", "a", "b")]

    done = sml(folder, "compare", *files, "--report", str(page))

    found = json.loads(done.stdout.splitlines()[-1], parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    best, other, last = found["settings"]
    assert (best["settings"], other["settings"], last["settings"]) == (files[1], files[2], files[0])
    assert (last["log_loss"], last["above_best"], last["low"], last["high"]) == (None, None, None, None)
    assert found["verdict"].endswith(f"; {files[0]} scored no example")
    assert "Set aside, and why" in page.read_text()


def test_a_page_changes_no_score_and_says_what_was_set_aside_and_why(folder: Path) -> None:
    page = folder / "page.html"
    plain = result(folder, "evaluate", "-c", str(folder / "numbers.toml"))
    told = result(folder, "evaluate", "-c", str(folder / "numbers.toml"), "--report", str(page), "--slice", "item", "--slice", "user")

    assert {**told, "examples_per_second": 0} == {**plain, "examples_per_second": 0}
    text = page.read_text()
    assert "&lt;b&gt;x&lt;/b&gt;" in text
    assert "<b>" not in text
    assert "a finite number" in text
    assert f"<td>{plain['bad']}</td>" in text
    for part in ("wide part alone", "base rate", "Calibration", "By item", "By user", "Values never seen", "What each field is worth"):
        assert part in text


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("compare", ["a.toml", "other.toml"], "[data] together of"),
        ("compare", ["a.toml", "b.toml", "--report", "none/page.html"], "expected a file in a folder that exists"),
        ("evaluate", ["-c", "a.toml", "--report", "page.html", "--slice", "itm"], "slice: got 'itm', expected a field (user, item)"),
    ],
)
def test_what_cannot_be_compared_or_shown_is_told_in_a_line(folder: Path, command: str, arguments: list[str], message: str) -> None:
    files = [str(folder / each) if each.endswith(("toml", "html")) else each for each in arguments]
    done = sml(folder, command, *files)

    assert done.exit_code == 1
    assert message in done.stderr
    assert "Traceback" not in done.output


def test_slices_without_a_page_are_refused(folder: Path) -> None:
    assert sml(folder, "evaluate", "-c", str(folder / "a.toml"), "--slice", "item").exit_code == 2


def test_one_settings_file_is_nothing_to_compare(folder: Path) -> None:
    assert sml(folder, "compare", str(folder / "a.toml")).exit_code == 2


def rows(count: int) -> list[Logged]:
    random = np.random.default_rng(0)
    return [Logged(n, n, int(random.random() < 0.3), {"x": int(random.integers(8))}, None) for n in range(1, count + 1)]


SPEC = Spec(model=ModelSettings(hidden=(16, 8), embedding=4), table=TableSettings(capacity=4096), fields=(Field(name="x"),))


def test_the_wide_part_alone_is_a_logistic_regression() -> None:
    evaluation, losses = Evaluation(wide_alone(SPEC), USUAL), []
    weights: dict[Any, list[float]] = {}  # weight, accumulator
    for row in rows(300):
        parts = [weights.setdefault(key, [0.0, 1.0]) for key in (row.features["x"], "bias")]
        logit = sum(weight for weight, _ in parts)
        losses.append(math.log1p(math.exp(logit)) - row.label * logit)
        for part in parts:
            gradient = 1 / (1 + math.exp(-logit)) - row.label
            part[1] += gradient**2
            part[0] -= SPEC.model.wide_rate * gradient / part[1] ** 0.5
    evaluation.learn(LoggedBlock.of(rows(300)))

    assert evaluation.scores.total().log_loss == pytest.approx(np.mean(losses), rel=1e-5)


def test_the_base_rate_alone_predicts_the_click_rate_so_far() -> None:
    evaluation, scores = Evaluation(base_rate_alone(SPEC), USUAL), RunningScores()
    counts = np.zeros(2)
    for row in rows(300):
        log_odds = math.log(counts[1] + 0.5) - math.log(counts[0] + 5)
        scores.update(np.array([log_odds], np.float32), np.array([row.label], np.float32))
        counts[row.label] += 1
    evaluation.learn(LoggedBlock.of(rows(300)))

    assert evaluation.scores.total().log_loss == pytest.approx(scores.total().log_loss, rel=1e-5)
