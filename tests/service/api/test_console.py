"""The console page, in a real browser: it needs nothing from elsewhere, follows the weights, and lets a visitor ask for predictions."""

import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.service.fakes import Site, trained
from tests.system import need

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start the system's Chromium."""
    path = need("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def address(site: Site) -> Iterator[str]:
    """Serve the site on a free port."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(site.app, log_level="warning"))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """Open the console, noting every address it asks and every error it makes."""
    page = browser.new_page(base_url=address)
    page.set_default_timeout(10_000)
    yield page
    page.close()


def test_the_page_says_that_there_are_no_weights_yet(page: Page) -> None:
    page.goto("/")

    expect(page.locator("#state")).to_have_text("no weights yet")


def test_the_page_follows_the_weights(page: Page, site: Site) -> None:
    page.goto("/")
    for version in (1, 2):
        site.follower.publish(version, trained(seed=version))

        expect(page.locator("#version")).to_have_text(str(version))
        expect(page.locator("#examples")).to_have_text(str(100 * version))
    expect(page.locator("#state")).to_have_text("ready")
    expect(page.locator("#age")).to_contain_text("ago")


def test_a_visitor_can_ask_for_predictions(page: Page, site: Site) -> None:
    page.goto("/")
    site.follower.publish(7, trained())
    expect(page.locator("#fields tr")).to_have_count(5)

    page.get_by_role("button", name="Predict").click()

    expect(page.locator("#predictions tr")).to_have_count(3)
    expect(page.locator("#predictions")).to_contain_text("%")
    expect(page.locator("#answer")).to_contain_text("version 7")


def test_a_bad_request_is_explained(page: Page, site: Site) -> None:
    page.goto("/")
    site.follower.publish(7, trained())
    expect(page.locator("#fields tr")).to_have_count(5)

    page.locator("#request").fill('{"candidates": [{"id": "a", "price": "cheap"}]}')
    page.get_by_role("button", name="Predict").click()

    expect(page.locator("#answer")).to_contain_text("candidates[0].price")


def test_the_page_asks_nobody_but_its_own_server(page: Page, site: Site, address: str) -> None:
    asked: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    site.follower.publish(7, trained())

    page.goto("/")
    expect(page.locator("#state")).to_have_text("ready")

    assert [url for url in asked if not url.startswith((address, "data:"))] == []
    assert errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_in_light_and_in_dark(page: Page, site: Site, scheme: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.set_viewport_size({"width": 360, "height": 740})
    site.follower.publish(7, trained())

    page.goto("/")
    expect(page.locator("#state")).to_have_text("ready")

    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(15, 18, 22)" if scheme == "dark" else "rgb(245, 246, 248)")
