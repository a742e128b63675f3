"""Compiled kernels are kept for as long as nothing that they are made of changes, and no longer."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from model.kernels import cache

MODEL = cache.MODEL


def imported(path: Path) -> set[str]:
    """Return the modules of model, as paths in it, that a file imports names from."""
    froms = [node for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.ImportFrom)]
    names = {f"{node.module}.{alias.name}" for node in froms for alias in node.names} | {str(node.module) for node in froms}
    return {name.removeprefix("model.").replace(".", "/") for name in names if name.startswith("model.")}


def test_every_module_that_a_kernel_is_made_of_counts() -> None:
    modules = {path.relative_to(MODEL).with_suffix("").as_posix(): path for path in MODEL.rglob("*.py") if "kernels" not in path.parts}
    taken = set().union(*(imported(path) for path in (MODEL / "kernels").rglob("*.py"))) & set(modules)
    compiling = {f"kernels/target/{name}" for name in ("kernel", "anywhere", "inner", "view", "pointer", "ordered_sum")}

    assert taken | {name for name, path in modules.items() if imported(path) & compiling} == set(cache.OUTSIDE)


@pytest.mark.parametrize(("edited", "kept"), [("kernels/branches/dcn.py", False), ("encoding/features.py", False), ("settings.py", True)])
def test_an_edit_changes_the_caches_name_only_if_a_kernel_is_made_of_it(tmp_path: Path, edited: str, kept: bool) -> None:
    shutil.copytree(MODEL, tmp_path / "model", ignore=shutil.ignore_patterns("__pycache__"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "PYTHON"))}

    def name() -> Path:
        command = [sys.executable, "-c", "from model.kernels import target; print(target.config.CACHE_DIR)"]
        return Path(subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True).stdout.strip())

    before = name()
    with (tmp_path / "model" / edited).open("a") as source:
        source.write("# edited\n")
    after = name()

    assert before.parent == after.parent == tmp_path / "model" / "__pycache__"
    assert (before.name == after.name) is kept
