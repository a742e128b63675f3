"""A page shows what it is given in a real browser, offline, and whatever stands in the data stays text."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from playwright.sync_api import Browser, sync_playwright

from model.evaluation.scores import Group
from service.report.blocks import Blocks, Interval
from service.report.field_worth import Worth
from service.report.page import Page, Section, html
from service.report.slices import Slice
from tests.helpers.system import need

HOSTILE = (
    '</text></svg><script>document.title="broken"</script><img src=x onerror=\'document.title="broken"\'>',
    '"><svg onload=document.title="broken">',
    "]]>--></style><style>*{display:none}</style>",
    "a\u202eb\x00c\ud800d",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = need("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def page_of(names: tuple[str, ...]) -> Page:
    losses, unseen = Blocks(len(names)), Blocks(len(names))
    for n in range(len(names)):
        losses.add(n, np.arange(1_000), np.random.default_rng(n).random(1_000))
        unseen.add(n, np.arange(1_000), np.arange(1_000) % (n + 2) == 0)
    curve = [Group(50, 0.05 * n, 0.05 * n + 0.01) for n in range(20)]
    slices = {name: [Slice(value, 100, 20, 0.21, 0.7) for value in names] for name in names}
    worth = [Worth(name, Interval(0.01, 0.008, 0.012)) for name in names]
    section = Section(names[0], curve, slices, worth, unseen, names, [(name, "a number", name, 3) for name in names])
    scores = [(name, 0.5, None, 1_000) for name in names]
    return Page(f"Evaluation on {names[0]}", names, ("", "log loss", *names[:2]), scores, names, losses, [section])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_shown_offline_and_needs_nothing_else(browser: Browser, tmp_path: Path, scheme: Literal["light", "dark"]) -> None:
    file = tmp_path / "page.html"
    file.write_text(html(page_of(("sml.toml", "wide part alone", "base rate"))), encoding="utf-8")
    context = browser.new_context(offline=True, color_scheme=scheme)
    page = context.new_page()
    asked: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: errors.append(message.text))
    page.goto(file.as_uri())

    assert asked == [file.as_uri()]
    assert errors == []
    assert page.locator("h3").all_text_contents()[:6] == [
        "Scores",
        "Log loss over the stream",
        "Log loss so far, compared",
        "Calibration",
        "What each field is worth",
        "Values never seen",
    ]
    shown = page.evaluate("""() => [...document.querySelectorAll('svg')].map((svg) => [
        svg.getBoundingClientRect().height > 50,
        [...svg.querySelectorAll('path, circle')].every((mark) => getComputedStyle(mark).stroke !== 'none' || mark.tagName === 'circle'),
        [...svg.querySelectorAll('text')].every((text) => { const box = text.getBoundingClientRect(), all = svg.getBoundingClientRect();
            return box.left >= all.left - 1 && box.right <= all.right + 1 && box.bottom <= all.bottom + 1; }),
    ])""")
    assert len(shown) == 8
    assert all(all(each) for each in shown)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(245, 246, 248)", "dark": "rgb(15, 18, 22)"}[scheme]
    context.close()


def test_names_and_values_of_the_data_stay_text(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(html(page_of(HOSTILE)), encoding="utf-8")
    page = browser.new_page()
    page.goto(file.as_uri())

    assert page.title() == "SML Online: evaluation"
    assert page.locator("script, img, svg svg, svg[onload], body style").count() == 0
    assert page.locator("td", has_text="<script>").count() > 0
    assert page.locator("td", has_text="a?b?c?d").count() > 0
    assert page.locator("h1").is_visible()
    page.close()


def test_a_stream_without_an_example_still_has_a_page() -> None:
    empty = Section("sml.toml", [], {"x": []}, [], Blocks(1), ["x"], [])

    assert "No row was set aside" in html(Page("Nothing", [], (), [], ["sml.toml"], Blocks(1), [empty]))
