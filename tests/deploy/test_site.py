"""The documentation as a site: built without a warning, whole without anything from elsewhere, and its reference has all that the code has."""

import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest
from typer.main import get_command

from deploy.reference import RECORDS
from deploy.typescript import document
from service.cli import app
from service.settings import Settings
from tests.deploy.composition import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site as `make docs` does."""
    folder = tmp_path_factory.mktemp("site")
    [command] = re.findall(r"-m (sphinx .*) dist/docs", (ROOT / "Makefile").read_text(encoding="utf-8"))
    done = subprocess.run([sys.executable, "-m", *command.split(), str(folder)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def text(site: Path, page: str) -> str:
    return unescape(re.sub(r"<[^>]+>", "", (site / f"docs/{page}.html").read_text(encoding="utf-8")))


def test_no_page_needs_anything_from_elsewhere(site: Path) -> None:
    loads = r"<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href|srcset)=\"(?:https?:)?//[^>]*>"
    pages, styles = site.rglob("*.html"), (site / "_static").rglob("*.css")

    assert {load for page in pages for load in re.findall(loads, page.read_text(encoding="utf-8"))} == set()
    assert [sheet.name for sheet in styles if re.search(r"@import|url\([\"']?(?:https?:)?//", sheet.read_text(encoding="utf-8"))] == []


def test_every_setting_command_record_and_endpoint_is_in_the_reference(site: Path) -> None:
    settings, commands, records, api = (text(site, f"reference/{page}") for page in ("settings", "commands", "records", "api"))
    fields = {
        name for section, _ in Settings() if section not in ("arms", "field") for name in type(getattr(Settings(), section)).model_fields
    }

    assert [name for name in fields if name not in settings] == []
    assert [name for name in get_command(app).commands if f"sml {name}" not in commands] == []  # type: ignore[attr-defined]
    assert [record.__name__ for record in RECORDS if f"class {record.__name__}" not in records] == []
    assert [path for path in document()["paths"] if path not in api] == []


def test_the_explanation_says_what_the_code_says(site: Path) -> None:
    said = text(site, "explanation")

    assert "generated:" not in said
    assert "An impression is decided once" in said.replace("*", "")
