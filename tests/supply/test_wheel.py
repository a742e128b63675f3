"""The wheel takes one name, sml_online; `pipx run` of it works in an empty folder."""

import ast
import os
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.composition import PROGRAMS, ROOT
from tests.test_imports import PACKAGES

UV = str(PROGRAMS / "uv")


def run(*command: str | Path, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL"))}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(UV, "build", "--wheel", "--out-dir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def pipx(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str | Path]]:
    """`pipx run` of the wheel: in an environment that has what the wheel says it needs, in the versions of uv.lock, and nothing else."""
    folder = tmp_path_factory.mktemp("pipx")
    needed = run(UV, "export", "--frozen", "--no-dev", "--no-hashes", "--no-emit-project", "--project", ROOT, cwd=folder)
    (folder / "needed.txt").write_text(needed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(PROGRAMS), prepend=os.pathsep)  # where pipx finds uv, which is quicker than pip
        patch.setenv("UV_CONSTRAINT", str(folder / "needed.txt"))
        patch.setenv("PIPX_HOME", str(folder))
        yield [PROGRAMS / "pipx", "run", "--quiet", "--backend", "uv", "--spec", wheel, "sml-online"]


def test_the_wheel_takes_one_name_and_holds_every_file_of_the_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}

    every = [path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert names == {f"sml_online/{path.relative_to(ROOT)}" for path in every} | {"sml_online/__init__.py", "sml_online/__main__.py"}


def test_its_modules_import_each_other_by_the_one_name_and_nothing_of_the_repository(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        sources = {name: archive.read(name) for name in archive.namelist() if name.endswith(".py")}

    imported: set[str] = set()
    for source in sources.values():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom):
                imported.add(str(node.module))
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
    assert {name for name in imported if name.partition(".")[0] in PACKAGES} == set()
    ours = {name.replace(".", "/") for name in imported if name.startswith("sml_online.")}
    assert len(ours) > 150
    assert {name for name in ours if f"{name}.py" not in sources and f"{name}/__init__.py" not in sources} == set()


def test_pipx_runs_it_in_an_empty_folder_and_so_does_what_it_starts(pipx: list[str | Path], tmp_path: Path) -> None:
    rows = "item,click\n" + "".join(f"i{n % 9},{n % 2}\n" for n in range(50))
    (tmp_path / "sample.csv").write_text(rows)

    run(*pipx, "init", "sample.csv", "--label", "click", cwd=tmp_path)

    assert 'name = "item"' in (tmp_path / "sml.toml").read_text()
    (python,) = Path(os.environ["PIPX_HOME"]).glob(".cache/*/bin/python")
    assert "Usage" in run(python, "-m", "sml_online.service", "learn", "--help", cwd=tmp_path)  # as `sml up` starts it
    assert run(python, "-m", "sml_online", "--version", cwd=tmp_path) == "sml 0.2.0\n"
    failed = subprocess.run([*pipx, "init", "none.csv"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert failed.returncode in {1, 2}
    assert "Traceback" not in failed.stderr
