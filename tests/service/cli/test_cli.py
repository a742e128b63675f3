"""The ``sml`` command: quick to help, plain about failures, and the same numbers by every way to ask."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from fastapi.testclient import TestClient
from numpy.random import default_rng
from prometheus_client import CollectorRegistry
from typer.main import get_command
from typer.testing import CliRunner, Result

from service.api.app import build
from service.api.served_weights import ServedWeights
from service.cli import app
from stream.log.connect import connect
from stream.log.contract import Message
from stream.log.topics import Topics
from stream.records.events import Example, encode
from stream.weights.follow import Follower
from stream.weights.metrics import FollowerMetrics
from tests.helpers.ports import free_port

SETTINGS = """
[log]
url = "sqlite:///{folder}/log.db"
[model]
hidden = [16, 8]
embedding = 4
[table]
capacity = 4096
[learn]
directory = "{folder}/checkpoints"
metrics_port = 0
[data]
time = "time"
[[field]]
name = "user"
[[field]]
name = "price"
kind = "numeric"
[[field]]
name = "hour"
kind = "hour"
"""
REQUEST = {
    "context": {"user": "u1"},
    "candidates": [{"id": 1, "price": 0.5}, {"id": "b", "price": 0.9}, {"id": "c"}],
    "time": 1_760_000_000_000,
}
ROWS = 500


class Folder(NamedTuple):
    """A folder with settings and a recorded log, as JSON lines."""

    path: Path

    @property
    def config(self) -> Path:
        """Its settings."""
        return self.path / "sml.toml"

    @property
    def file(self) -> Path:
        """Its recorded log."""
        return self.path / "clicks.jsonl"

    @property
    def url(self) -> str:
        """Its log."""
        return f"sqlite:///{self.path}/log.db"

    def sml(self, *arguments: str, stdin: str | None = None) -> Result:
        """Run a command that reads the settings."""
        return CliRunner().invoke(app, [*arguments, "--config", str(self.config)], input=stdin)

    def json(self, *arguments: str, stdin: str | None = None) -> Any:
        """Run a command and read the last line of its stdout."""
        result = self.sml(*arguments, "--json", stdin=stdin)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout.splitlines()[-1])


def _rows() -> Iterator[dict[str, Any]]:
    random = default_rng(0)
    for n in range(ROWS):
        user = int(random.integers(20))
        click = int(random.random() < 0.1 + 0.4 * (user % 2))
        yield {"user": f"u{user}", "price": round(float(random.random()), 3), "time": 1_760_000_000_000 + n * 60_000, "click": click}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Write settings and a recorded log."""
    folder = Folder(tmp_path)
    folder.config.write_text(SETTINGS.format(folder=tmp_path))
    folder.file.write_text("".join(json.dumps(row) + "\n" for row in _rows()))
    return folder


@pytest.fixture
def learned(folder: Folder) -> Folder:
    """Learn the recorded log through the topics."""
    folder.json("topics", "create")
    with connect(folder.url) as log:
        examples = [
            Example(f"{n}", row.pop("time"), label=row.pop("click"), features=row)  # the rest of the row
            for n, row in enumerate(_rows())
        ]
        log.append([Message(Topics("sml").examples, each.impression_id.encode(), encode(each)) for each in examples])
    folder.json("learn", "--until-caught-up")
    return folder


def test_asking_for_help_loads_nothing_heavy() -> None:
    heavy = {"fastapi", "httpx", "kafka", "numba", "numpy", "pyarrow", "pydantic", "rich", "torch", "uvicorn"}
    loaded = f"import sys, service.cli.main; print(*({heavy} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []


def _metric(port: int, name: str) -> float:
    try:
        lines = httpx.get(f"http://127.0.0.1:{port}/metrics").text.splitlines()
    except httpx.TransportError:
        return 0
    return sum(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


@pytest.mark.parametrize(("command", "metric"), [("learn", "sml_learner_table_rows"), ("serve", "sml_server_weights_version")])
def test_learning_and_serving_load_no_torch(learned: Folder, command: str, metric: str) -> None:
    port, listing = free_port(), learned.path / "imports"
    words = [sys.executable, "-X", "importtime", "-m", "service", command, "--config", str(learned.config)]
    settings = os.environ | {"SML_SERVE__PORT": f"{port}", "SML_LEARN__METRICS_PORT": f"{port}"}

    with listing.open("w") as errors, subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=errors, env=settings) as process:
        while not _metric(port, metric) > 0:
            assert process.poll() is None
            time.sleep(0.05)
        process.terminate()

    loaded = {line.rpartition("|")[2].strip() for line in listing.read_text().splitlines()}
    assert "model.kernels.forward" in loaded
    assert "torch" not in loaded


def _commands(group: Any, name: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for each, command in group.commands.items():
        yield from _commands(command, (*name, each)) if hasattr(command, "commands") else [(*name, each)]


def test_every_command_shows_an_example() -> None:
    for command in _commands(get_command(app)):
        text = CliRunner().invoke(app, [*command, "--help"]).output

        assert f"sml {' '.join(command)}" in text.split("Options:")[0].split("\n", 1)[1], command


def test_the_version_is_that_of_the_package() -> None:
    assert CliRunner().invoke(app, ["--version"]).output == "sml 0.2.0\n"


@pytest.mark.parametrize(
    ("spoil", "status", "message"),
    [
        (lambda folder: folder.config.unlink(), 2, "sml.toml"),
        (lambda folder: folder.config.write_text("[lrn]"), 2, "nearest is 'learn'"),
        (lambda folder: folder.config.write_text("[log]\n"), 2, "[[field]]"),
        (lambda folder: folder.file.unlink(), 1, "clicks.jsonl: got no such file or folder, expected a recorded log"),
        (lambda folder: folder.file.write_text('{"user": "u1", "time": 1, "click": 7}\n'), 1, "expected 0 or 1"),
    ],
)
def test_a_failure_that_was_foreseen_is_told_in_a_line(folder: Folder, spoil: Callable[[Folder], Any], status: int, message: str) -> None:
    spoil(folder)

    done = folder.sml("evaluate", str(folder.file))

    assert done.exit_code == status
    assert message in done.stderr
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    ("command", "variable"),
    [
        ("serve", "SML_SERVE__PORT"),
        ("up", "SML_LEARN__METRICS_PORT"),
        ("up", "SML_JOIN__METRICS_PORT"),
        ("learn", "SML_LEARN__METRICS_PORT"),
        ("join", "SML_JOIN__METRICS_PORT"),
    ],
)
def test_a_port_in_use_is_told_in_a_sentence_before_anything_starts(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, command: str, variable: str
) -> None:
    for other in ("SML_SERVE__PORT", "SML_LEARN__METRICS_PORT", "SML_JOIN__METRICS_PORT"):
        monkeypatch.setenv(other, "0")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        monkeypatch.setenv(variable, f"{port}")

        done = folder.sml(command)

    setting = variable.removeprefix("SML_").lower().replace("__", ".")
    expected = f"sml: {setting}: got {port} at 127.0.0.1, expected a free port of this machine: Address already in use; "
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == expected + f"end the program that listens there, or choose another by {variable}"


def test_wrong_usage_ends_with_status_2(folder: Folder) -> None:
    assert folder.sml("evaluate").exit_code == 2


def test_topics_are_created_once(folder: Folder) -> None:
    first, second = folder.json("topics", "create"), folder.json("topics", "create")

    assert set(first) == {f"sml.{name}" for name in ("impressions", "clicks", "examples", "versions", "weights", "dead-letters")}
    assert all(first.values())
    assert not any(second.values())


def test_the_copies_that_are_joined_when_rekeyed_are_created_too(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SML_JOIN__REKEY", "true")

    created = folder.json("topics", "create")

    assert {name for name in created if name.endswith("-by-id")} == {"sml.impressions-by-id", "sml.clicks-by-id"}
    assert all(created.values())


def test_evaluating_gives_what_the_contract_names(folder: Folder) -> None:
    result = folder.json("evaluate", str(folder.file))

    named = {"examples", "log_loss", "auc", "normalized_entropy", "calibration", "examples_per_second", "weights_digest"}
    assert named <= set(result)
    assert result["examples"] == ROWS
    assert result["normalized_entropy"] < 1


def test_evaluating_says_when_the_order_is_not_that_of_time(folder: Folder) -> None:
    in_order = folder.sml("evaluate", str(folder.file))
    folder.file.write_text("".join(reversed(folder.file.read_text().splitlines(keepends=True))))
    reversed_ = folder.sml("evaluate", str(folder.file))

    assert "order of time" not in in_order.stderr
    assert "not the order of time" in reversed_.stderr
    assert "sort the file by time" in reversed_.stderr
    assert "sort the file by time" not in folder.sml("evaluate", str(folder.file), "--protocol", "usual").stderr


def test_a_row_with_a_bad_feature_is_passed_over_and_counted(folder: Folder) -> None:
    before = folder.json("evaluate", str(folder.file))
    with folder.file.open("a") as file:
        file.write('{"user": "u1", "price": "cheap", "time": 1790000000000, "click": 0}\n')

    result = folder.json("evaluate", str(folder.file))

    assert (result["examples"], result["bad"]) == (ROWS, 1)
    assert result["weights_digest"] == before["weights_digest"]


def test_the_learner_arrives_at_the_weights_that_evaluating_gives(learned: Folder) -> None:
    evaluated, snapshots = learned.json("evaluate", str(learned.file)), learned.json("snapshots", "list")

    assert snapshots[-1]["digest"] == evaluated["weights_digest"]
    assert snapshots[-1]["examples"] == evaluated["examples"]


def test_predicting_once_gives_what_the_server_gives(learned: Folder) -> None:
    registry, topics = CollectorRegistry(), Topics("sml")
    with connect(learned.url) as log:

        def follow(served: ServedWeights, should_stop: Callable[[], bool]) -> None:
            Follower(log, topics, served, FollowerMetrics(registry)).run(should_stop)

        with TestClient(build(log, topics, follow, registry)) as client:
            while client.get("/readyz").status_code != 200:
                pass
            served = client.post("/v1/predict", json=REQUEST).json()
            explained = client.post("/v1/explain", json=REQUEST).json()

    once = learned.json("predict", stdin=json.dumps(REQUEST))

    assert once["version"] == served["version"]
    assert once["predictions"] == [{name: each[name] for name in ("id", "probability")} for each in served["predictions"]]
    assert learned.json("explain", stdin=json.dumps(REQUEST))["explanations"] == explained["explanations"]


def test_an_explanation_is_printed_as_terms_that_add_up(learned: Folder) -> None:
    answer = learned.json("explain", stdin=json.dumps(REQUEST))
    explained = answer["explanations"]

    weights, *printed = learned.sml("explain", stdin=json.dumps(REQUEST)).stdout.splitlines()

    assert re.fullmatch(rf"by version {answer['version']}, learned through \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC", weights)
    terms = ["bias", "wide", "skip 1", "skip 2", "main path"]  # and no branch, which this network has none of
    assert len(printed) == 10 * len(explained)
    for candidate, block in zip(explained, (printed[10 * n :][:10] for n in range(3)), strict=True):
        assert block[0] == f"candidate {candidate['id']}: probability {candidate['probability']:.6g}, logit {candidate['logit']:+.4f}"
        assert [line[2:14].strip() for line in block[1:6]] == terms
        assert sum(float(line.split()[-1]) for line in block[1:6]) == pytest.approx(candidate["logit"], abs=5e-4)
        assert [line.split()[0] for line in block[6:]] == ["field", "user", "price", "hour"]
        assert [float(line.split()[2]) for line in block[7:]] == pytest.approx(list(candidate["deep"].values()), abs=5e-4)


def test_predicting_without_a_checkpoint_says_what_is_missing(folder: Folder) -> None:
    done = folder.sml("predict", stdin=json.dumps(REQUEST))

    assert done.exit_code == 1
    assert "expected those of `sml learn`" in done.stderr


def test_predicting_from_a_bad_request_names_the_field(learned: Folder) -> None:
    done = learned.sml("predict", stdin='{"candidates": [{"id": 1, "price": "cheap"}]}')

    assert done.exit_code == 1
    assert "candidates[0].price" in done.stderr


def test_results_are_read_by_eye_without_json(learned: Folder) -> None:
    printed = learned.sml("predict", stdin=json.dumps(REQUEST)).stdout.splitlines()

    assert [line.split()[0] for line in printed] == ["id", "1", "b", "c"]
