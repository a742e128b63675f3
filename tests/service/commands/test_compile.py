"""Kernels are compiled once, in one process, and nobody waits for it without a word."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "sml.toml"
    path.write_text('[[field]]\nname = "item"\n')
    return path


def test_one_of_two_processes_compiles_and_the_other_waits_each_with_a_word(settings: Path, unmarked: Path) -> None:
    command = [sys.executable, "-m", "service", "compile", "--config", str(settings)]
    environment = os.environ | {"NUMBA_CACHE_DIR": str(unmarked)}

    both = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    compiled, other = sorted((process.communicate(timeout=280)[1] for process in both), key=lambda said: "once on this machine" not in said)
    later = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    assert [process.returncode for process in both] == [0, 0]
    assert later.stderr == ""
    assert other in ("waiting for another process, which is compiling the kernels\n", "")  # it says nothing if it comes late
    assert [line.partition(":")[0] for line in compiled.splitlines()] == ["compiling the kernels of dnn, once on this machine"] * 4
    assert re.search(r": done in \d+ s$", compiled.rstrip())
