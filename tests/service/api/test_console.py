"""The pages, in a real browser that finds no name but its server's: they need nothing from elsewhere, follow the weights, and predict."""

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect, sync_playwright

from model.settings import Field
from service.access.callers import Callers
from service.access.guard import Access
from service.access.keys import Keys, create as create_key
from service.access.limits import Allowances
from service.api.routes import docs
from stream.log.contract import Message
from stream.log.metrics import measure
from stream.log.sqlite_log import SqliteLog
from stream.log.topics import Kept, create
from tests.service.fakes import SPEC, Site, trained
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
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start the system's Chromium."""
    path = need("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def served(site: Site) -> Iterator[str]:
    """Serve a site on a free port."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(site.app, log_level="warning"))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture
def address(site: Site) -> Iterator[str]:
    """Serve the site on a free port."""
    with served(site) as address:
        yield address


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


def test_the_page_says_how_large_the_embedded_log_is_and_what_bounds_it(page: Page, site: Site, tmp_path: Path) -> None:
    with SqliteLog(f"sqlite:///{tmp_path}/log.db") as log:
        create(log, site.topics, 1, kept=Kept(records=3 * 86_400.0))
        log.append([Message(site.topics.examples, None, bytes(900_000))] * 3)
        measure(log, site.topics, site.app.state.service.registry)

        page.goto("/")

        expect(page.locator("#log")).to_have_text(
            re.compile(r"^log \d\.\d MB, records kept for 3 days, weights until two newer snapshots$")
        )


def test_a_visitor_can_ask_for_predictions(page: Page, site: Site) -> None:
    page.goto("/")
    site.follower.publish(7, trained())
    expect(page.locator("#fields tr")).to_have_count(5)

    page.get_by_role("button", name="Predict").click()

    expect(page.locator("#predictions tr")).to_have_count(3)
    expect(page.locator("#predictions")).to_contain_text("%")
    expect(page.locator("#answer")).to_contain_text("version 7")


def test_the_page_keeps_no_more_points_than_it_draws(page: Page) -> None:
    page.goto("/")

    kept = page.evaluate("() => { for (let n = 0; n < 1000; n++) draw('asked-line', n); return lines['asked-line'].length }")

    assert kept == 120


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


def test_the_description_of_the_api_works_without_the_internet(page: Page, site: Site, address: str) -> None:
    asked: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    site.follower.publish(7, trained())

    page.goto("/docs")
    predict = page.locator(".opblock", has_text="/v1/predict")
    predict.locator(".opblock-summary-control").click()
    predict.get_by_role("button", name="Try it out").click()
    predict.get_by_role("button", name="Execute").click()

    expect(predict.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
    assert [url for url in asked if not url.startswith((address, "data:"))] == []
    assert errors == []


def test_swagger_ui_comes_with_its_licences() -> None:
    folder = Path(docs.__file__).parents[1] / "swagger_ui"

    assert "Apache License" in (folder / "LICENSE").read_text(encoding="utf-8")
    assert "SmartBear" in (folder / "NOTICE").read_text(encoding="utf-8")
    assert "swagger-ui-bundle.js.LICENSE.txt" in (folder / "swagger-ui-bundle.js").read_text(encoding="utf-8")[:200]
    assert (folder / "swagger-ui-bundle.js.LICENSE.txt").exists()


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


MARKUP = [
    "<img src=x onerror=\"document.title='broken'\">",
    "<script>document.title='broken'</script>",
    "</td></table><svg onload=document.title='broken'>",
    "javascript:document.title='broken'",
    '"><style>*{display:none}</style>',
]


def test_names_and_values_with_markup_are_shown_as_text(page: Page, site: Site) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    fields = (*SPEC.fields, *(Field(name=name) for name in MARKUP))
    site.follower.publish(7, trained(spec=SPEC.model_copy(update={"fields": fields})))
    page.goto("/")
    expect(page.locator("#fields tr")).to_have_count(len(fields))
    candidates = [{"id": text, MARKUP[0]: text} for text in MARKUP]

    page.locator("#request").fill(json.dumps({"candidates": candidates}))
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#predictions tr")).to_have_count(len(MARKUP))
    page.locator("#request").fill(json.dumps({"candidates": [{"id": 1, MARKUP[0]: {}}]}))
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#answer")).to_contain_text(MARKUP[0])

    assert page.title() == "SML Online"
    shown = page.locator("#fields td:first-child").all_text_contents()
    assert shown[-len(MARKUP) :] == MARKUP
    assert page.locator("main img, main script, main style, td svg").count() == 0
    assert errors == []


@pytest.mark.parametrize(
    "attack",
    [
        "document.body.innerHTML = '<b>x</b>'",
        "document.body.appendChild(Object.assign(document.createElement('script'), {text: 'document.title = 1'}))",
    ],
)
def test_the_browser_itself_refuses_to_make_markup_or_scripts_of_text(page: Page, attack: str) -> None:
    page.goto("/")

    refused = page.evaluate(f"() => {{ try {{ {attack}; return false }} catch (error) {{ return error instanceof TypeError }} }}")

    assert refused
    assert page.title() == "SML Online"


def test_no_page_elsewhere_can_show_the_console_in_a_frame_or_post_to_the_server(page: Page, site: Site, address: str) -> None:
    site.follower.publish(7, trained())
    page.route("http://elsewhere.example/", lambda route: route.fulfill(content_type="text/html", body="<title>elsewhere</title>"))
    page.goto("http://elsewhere.example/")
    click = {"impression_id": "i1", "time": 1_760_000_000_000}

    page.evaluate(
        "([url, body]) => fetch(url, {method: 'POST', mode: 'no-cors', body}).then(() => 1, () => 0)",
        [f"{address}/v1/clicks", json.dumps(click)],
    )
    read = page.evaluate("url => fetch(url).then(r => r.text(), () => null)", f"{address}/v1/model")

    assert site.log.messages == []
    assert read is None


def test_the_console_asks_for_a_key_where_one_is_needed_and_keeps_it_in_its_tab(browser: Browser, tmp_path: Path) -> None:
    reader, _ = create_key(tmp_path / "keys.json", ["read", "predict"])
    stranger, _ = create_key(tmp_path / "keys.json", ["ingest"])
    site = Site(access=Access(Callers(Keys(tmp_path / "keys.json")), Allowances(1e6, 1e6, 100)))
    with served(site) as address:
        page = browser.new_page(base_url=address)
        page.set_default_timeout(10_000)
        site.follower.publish(7, trained())
        page.goto("/")
        expect(page.locator("#state")).to_have_text("a key is needed")

        for key, state in ((reader[:-2] + "AA", "this key is not valid"), (stranger, "this key may not read"), (reader, "ready")):
            page.locator("#key").fill(key)
            page.get_by_role("button", name="Look").click()
            expect(page.locator("#state")).to_have_text(state)
        expect(page.locator("#ask")).to_be_hidden()
        page.get_by_role("button", name="Predict").click()
        expect(page.locator("#predictions tr")).to_have_count(3)
        page.reload()
        expect(page.locator("#state")).to_have_text("ready")
        other = browser.new_page(base_url=address)
        other.goto("/")
        expect(other.locator("#state")).to_have_text("a key is needed")

        assert page.context.cookies() == []
        assert reader not in page.url
        other.close()
        page.close()
