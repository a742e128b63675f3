"""The pages are right: the tests that they name exist, and their links lead to files."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TESTS = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
CITING = ("README.md", "SECURITY.md", "deploy/guarantees.md", "deploy/limits.md", "deploy/threat-model.md")
PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "client").glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "benchmarks").rglob("*.md"),
    *(ROOT / "deploy").rglob("*.md"),
]


@pytest.mark.parametrize(
    "name", sorted({name for page in CITING for name in re.findall(r"`(test_\w+)`", (ROOT / page).read_text(encoding="utf-8"))})
)
def test_a_test_that_shows_a_guarantee_exists(name: str) -> None:
    assert f"def {name}(" in TESTS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)", page.read_text(encoding="utf-8"))

    assert [link for link in links if not (page.parent / link).exists()] == []
