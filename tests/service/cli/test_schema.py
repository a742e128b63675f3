"""What each command prints with ``--json`` has a JSON Schema, and fits it."""

import json
from typing import Any

import jsonschema_rs
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from service.bench.publish import Freshness
from service.bench.table import measure
from service.cli import app
from service.cli.bench import _report
from service.commands import forget
from service.results.schema import RESULTS, schema
from tests.service.cli.test_cli import REQUEST, Folder, _commands, folder, learned
from tests.service.schemas import fits

__all__ = ["folder", "learned"]  # fixtures


def test_every_command_that_prints_json_has_a_schema_which_is_one() -> None:
    program = get_command(app)
    printing = set()
    for words in _commands(program):
        command: Any = program
        for word in words:
            command = command.commands[word]
        if any("--json" in parameter.opts for parameter in command.params):
            printing.add(" ".join(words))

    assert printing == set(RESULTS)
    for command, kind in RESULTS.items():
        if not isinstance(kind, str):  # those take seconds to import
            jsonschema_rs.validator_for(schema(command))


def test_what_commands_print_fits_their_schemas(learned: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forget, "PATIENCE", 0.01)  # seconds: no learner runs
    monkeypatch.setenv("SML_ACCESS__KEYS", str(learned.path / "keys.json"))
    monkeypatch.chdir(learned.path)
    wider = learned.path / "wider.toml"
    wider.write_text(learned.config.read_text().replace("[16, 8]", "[8, 4]"))

    def run(command: str, *options: str, stdin: str | None = None) -> Any:
        return fits(command, learned.json(*command.split(), *options, stdin=stdin))

    run("topics create")
    run("topics update")
    run("evaluate", str(learned.file))
    result = CliRunner().invoke(app, ["compare", str(learned.file), str(learned.config), str(wider), "--json"])
    fits("compare", json.loads(result.stdout.splitlines()[-1]))
    run("predict", stdin=json.dumps({**REQUEST, "debug": True}))
    run("predict", stdin=json.dumps(REQUEST))
    run("explain", stdin=json.dumps(REQUEST))
    version = run("snapshots list")[-1]["version"]
    run("snapshots verify")
    run("snapshots hold")
    run("snapshots approve")
    run("snapshots rollback", "--to", f"{version}")
    run("rebuild", "--until", f"{version}")
    run("replay", str(learned.file), "--as", "examples")
    run("learn", "--until-caught-up")
    run("forget", "--field", "user", "--value", "u1")
    done = learned.sml("forget", "--field", "user", "--value", "u1", "--verify", "--json")
    fits("forget", json.loads(done.stdout.splitlines()[-1]))
    created = run("keys create", "--role", "read")
    run("keys list")
    run("keys revoke", created["id"])
    fits("doctor", json.loads(learned.sml("doctor", "--json").stdout.splitlines()[-1]))


def test_a_line_of_a_benchmark_fits_its_schema(capsys: pytest.CaptureFixture[str]) -> None:
    lines: dict[str, Any] = {"bench table": measure(256, 1), "bench publish": Freshness("joined", 1.0, 2.0, 3.0)}
    for command, line in lines.items():
        _report([line], as_json=True)

        fits(command, json.loads(capsys.readouterr().out))


def test_a_schema_is_printed_and_a_wrong_name_is_answered_with_the_nearest() -> None:
    run = CliRunner().invoke

    assert run(app, ["schema"]).stdout.splitlines() == list(RESULTS)
    assert json.loads(run(app, ["schema", "snapshots", "list"]).stdout) == schema("snapshots list")
    wrong = run(app, ["schema", "snapshot", "list"])
    assert wrong.exit_code == 2
    assert "nearest is 'snapshots list'" in wrong.output
