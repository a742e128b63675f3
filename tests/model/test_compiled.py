"""Kernels are compiled by two processes at once, and only all of them count as compiled."""

from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from model import compiled
from model.settings import NetworkName


def fail(_network: NetworkName, _forward: Connection) -> None:
    raise SystemExit(3)


def test_a_network_is_not_marked_as_compiled_if_one_of_the_processes_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marked = tmp_path / "mark"
    monkeypatch.setattr(compiled, "mark", lambda _: marked)
    monkeypatch.setattr(compiled, "_compile_learning", fail)

    with pytest.raises(RuntimeError, match="ended with 3"):
        list(compiled.compiling("dnn"))

    assert not marked.exists()
