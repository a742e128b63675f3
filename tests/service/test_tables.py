"""What commands print for people reads well in 80 columns, or in as many as the terminal has."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from service.cli import app
from service.commands import forget
from service.tables import shown
from tests.service.cli.test_cli import REQUEST, Folder, folder, learned

__all__ = ["folder", "learned"]  # fixtures

ITEMS = [{"arm": "control", "log_loss": 0.123456789, "digest": "d" * 32, "lag": None, "found": "many words " * 9}]


def test_a_table_that_is_too_wide_becomes_a_block_for_each_item(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = shown(ITEMS * 2).splitlines()
    monkeypatch.setenv("COLUMNS", "200")
    wide = shown(ITEMS * 2).splitlines()

    assert [line.split()[0] for line in narrow[:5]] == ["arm", "log_loss", "digest", "lag", "found"]
    assert narrow[5].startswith(" " * 10 + "words")
    assert narrow[6] == ""
    assert [len(line.split()) for line in wide[:1]] == [5]
    assert len(wide) == 3


def test_an_empty_list_is_said_to_be_one() -> None:
    assert shown([]) == "none"


def test_a_word_that_can_not_be_broken_stays_whole() -> None:
    assert "x" * 200 in shown({"digest": "x" * 200}).splitlines()[-1]


def test_nothing_does_anything_to_a_terminal() -> None:
    value: dict[str, Any] = {"na\x1b[2Jme": "a\nb\x1b]0;title\x07", "nested": {"\x1b": ["\x9b"]}}

    for text in (shown(value), shown([value]), shown([value, {"name": "long " * 40}])):
        assert all(line.isprintable() for line in text.splitlines())
        assert "\\x1b[2J" in text


def test_what_commands_print_is_no_wider_than_80_columns(learned: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forget, "PATIENCE", 0.01)  # seconds: no learner runs
    monkeypatch.setenv("SML_ACCESS__KEYS", str(learned.path / "keys.json"))
    request = json.dumps(REQUEST)
    commands = [
        ("topics", "create"),
        ("topics", "update"),
        ("predict",),
        ("explain",),
        ("snapshots", "list"),
        ("snapshots", "verify"),
        ("forget", "--field", "user", "--value", "u1"),
        ("forget", "--field", "user", "--value", "u1", "--verify"),
        ("keys", "create", "--role", "read", "--role", "predict", "--name", "a shop with a long name, to tell it from others"),
        ("keys", "list"),
        ("dead-letters", "list"),
        ("doctor",),
    ]
    said = [(words, learned.sml(*words, stdin=request if words[0] in ("predict", "explain") else None).stdout) for words in commands]
    compared = CliRunner().invoke(app, ["compare", str(learned.file), str(learned.config), f"{learned.path}/./sml.toml"]).stdout

    for words, text in [*said, (("compare",), compared)]:
        for line in text.splitlines():
            assert len(line) <= 80 or len(line.split()[-1]) > 40, (words, line)  # a path, a key or a digest stays whole
