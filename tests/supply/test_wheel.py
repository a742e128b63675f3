"""The wheel takes one name, sml_online; installed from it alone, in a bare environment, the command works in an empty folder."""

import ast
import os
import subprocess
import sysconfig
import zipfile
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
def bare(wheel: Path) -> Path:
    """An environment with the wheel; the packages that it needs are those that are installed here, without what is editable here."""
    environment = wheel.parent / "bare"
    run(UV, "venv", "--quiet", environment, cwd=wheel.parent)
    run(UV, "pip", "install", "--quiet", "--offline", "--no-deps", "--python", environment / "bin/python", wheel, cwd=wheel.parent)
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "needed.pth").write_text(sysconfig.get_path("purelib"))
    return environment


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


def test_the_command_works_in_an_empty_folder_and_so_does_what_it_starts(bare: Path, tmp_path: Path) -> None:
    rows = "item,click\n" + "".join(f"i{n % 9},{n % 2}\n" for n in range(50))
    (tmp_path / "sample.csv").write_text(rows)

    assert "sml init" in run(bare / "bin/sml-online", "--help", cwd=tmp_path)  # as pipx run calls it
    run(bare / "bin/sml", "init", "sample.csv", "--label", "click", cwd=tmp_path)

    assert 'name = "item"' in (tmp_path / "sml.toml").read_text()
    assert "Usage" in run(bare / "bin/python", "-m", "sml_online.service", "learn", "--help", cwd=tmp_path)  # as `sml up` starts it
    assert run(bare / "bin/python", "-m", "sml_online", "--version", cwd=tmp_path) == "sml 0.2.0\n"
    failed = subprocess.run([bare / "bin/sml", "init", "none.csv"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert failed.returncode in {1, 2}
    assert "Traceback" not in failed.stderr
