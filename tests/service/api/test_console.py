"""The pages, in a real browser that finds no name but its server's: they need nothing from elsewhere, follow the weights, predict, explain."""

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast

import msgspec
import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright
from starlette.types import ASGIApp

from experiments.report import ArmReport, GuardRail, Report, Uplift
from experiments.sequence import Interval
from model.encoding.keys import Scalar
from model.settings import Field
from service.access.bounds.limits import Allowances
from service.access.callers import Callers
from service.access.guard import Access
from service.access.keys import Keys, create as create_key
from service.access.roles import CONSOLE
from service.api.monitoring.frequent import FieldValues, Frequent
from service.api.monitoring.history import COLUMNS
from service.api.monitoring.log_watch import LogWatch, SetAside
from service.api.routes import console, docs
from service.api.served_weights import ServedWeights
from service.kept_reports import keep
from stream.log.contract import Log, LogUnavailableError, Message
from stream.log.sqlite.log import SqliteLog
from stream.log.topics import Kept, create
from stream.records.events import Example, Feature, encode
from stream.records.version import LearnerState, Version
from tests.helpers.system import need
from tests.service.api.test_arms import OF_ARMS, ArmsSite
from tests.service.api.test_several import Two
from tests.service.fakes import SPEC, Site, trained

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
def served(app: ASGIApp) -> Iterator[str]:
    """Serve an application on a free port."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture
def address(site: Site) -> Iterator[str]:
    """Serve the site on a free port."""
    with served(site.app) as address:
        yield address


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """Open a page on the site."""
    page = browser.new_page(base_url=address)
    page.set_default_timeout(10_000)
    yield page
    page.unroute_all(behavior="ignoreErrors")
    page.close()


@pytest.fixture
def errors(page: Page) -> list[str]:
    """Note every error that the page makes."""
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    return errors


@pytest.fixture
def lively(site: Site, tmp_path: Path) -> Iterator[Site]:
    """Give the site a log with examples, weights, and a learner that says how it goes."""
    with SqliteLog(f"sqlite:///{tmp_path}/log.db") as log:
        create(log, site.topics, 1, kept=Kept(records=3 * 86_400.0))
        log.append([Message(site.topics.examples, f"i{n}".encode(), encode(example(n))) for n in range(200)])
        service = site.app.state.service
        service.history.watch = LogWatch(log, site.topics)
        service.history.watch.look()
        site.app.state.service = service._replace(frequent=Frequent(log, site.topics.examples, ["user"]))
        yield site


TAGS: list[Scalar] = ["red", "blue"]


def example(n: int) -> Example:
    """Return an example as those that the weights have learned."""
    features: dict[str, Feature] = {"user": f"u{n % 5}", "item": f"i{n % 5}", "price": (n % 100) / 100, "tags": TAGS[: n % 3]}
    return Example(f"i{n}", 1_760_000_000_000, features, n % 2)  # type: ignore[arg-type]


SAID = LearnerState(
    examples=10_000,
    log_loss=0.41,
    base_rate_log_loss=0.52,
    wide_log_loss=0.47,
    auc=0.74,
    calibration=1.01,
    curve=[(0.05, 0.04, 500), (0.2, 0.22, 500), (0.6, 0.58, 500)],
    terms={"bias": 1.2, "wide": 0.1, "skip 1": 0.6, "main path": 0.2},
    fields={"item": 0.6, "user": 0.2},
    rows=512,
)


def published(site: Site, version: int = 7, age: float = 0.0) -> ServedWeights:
    """Publish weights, and let the learner say how it goes."""
    site.follower.publish(version, trained(), age=age)
    served = cast("ServedWeights", site.follower.served)
    served.learner = SAID
    return served


def test_the_page_says_that_there_are_no_weights_yet_and_what_to_do(page: Page, errors: list[str]) -> None:
    page.goto("/")

    expect(page.locator("#state")).to_have_text("no weights yet")
    expect(page.locator("#findings")).to_contain_text("Is `sml learn` running on the same log?")
    assert errors == []


def test_the_page_follows_the_weights_and_its_numbers_move(page: Page, site: Site, errors: list[str]) -> None:
    page.goto("/")
    for version in (1, 2):
        published(site, version)

        expect(page.locator("#version")).to_have_text(str(version))
        expect(page.locator("#examples")).to_have_text(str(100 * version))
    expect(page.locator("#state")).to_have_text("ready")
    expect(page.locator("#loss")).to_have_text("0.4100")
    expect(page.locator("#gain")).to_have_text("21.2 % below the click rate alone · AUC 0.740")
    expect(page.locator("#quality .legend")).to_contain_text("model 0.4100")
    for baseline in ("click rate alone 0.5200", "wide term alone 0.4700"):
        expect(page.locator("#quality .legend")).to_contain_text(baseline)
    expect(page.locator("#quality canvas")).to_be_visible()
    expect(page.locator("#calibration .legend")).to_contain_text("click rate 58.0 %")
    expect(page.locator("#terms")).to_contain_text("skip 1")
    assert page.locator("#movers tbody th").all_text_contents() == ["item", "user"]
    first = page.locator("#age").text_content()
    expect(page.locator("#age")).not_to_have_text(first or "")
    assert errors == []


def test_a_simulated_sites_optimum_stands_beside_the_log_loss(page: Page, site: Site) -> None:
    page.goto("/")
    published(site)
    expect(page.locator("#state")).to_have_text("ready")
    expect(page.locator("#quality .legend")).not_to_contain_text("0.3900")

    page.request.post("/v1/simulated", data={"best_log_loss": 0.39})

    expect(page.locator("#quality .legend")).to_contain_text("best possible 0.3900")


def test_the_page_says_how_large_the_embedded_log_is_and_what_bounds_it(page: Page, lively: Site) -> None:
    published(lively)

    page.goto("/")

    expect(page.locator("#log")).to_have_text(re.compile(r"^log \d\.\d\sMB, records kept for 3\sdays, weights until two newer snapshots$"))


def test_history_survives_a_reload(page: Page, site: Site) -> None:
    published(site)
    page.goto("/")
    first = page.locator("#quality .now")
    seen = []
    for _ in range(2):
        expect(page.locator("#quality canvas")).to_be_visible()
        page.locator("#quality .plot").focus()
        page.keyboard.press("Home")
        expect(first).to_have_text(re.compile(r"\d\d:\d\d:\d\d"))
        seen.append(first.text_content())
        page.wait_for_timeout(2_500)
        page.reload()

    assert seen[0] == seen[1]


def test_a_page_that_stays_open_for_days_keeps_a_bounded_number_of_samples(page: Page, site: Site) -> None:
    published(site)
    asked: list[str] = []
    columns = site.app.state.service.history.since(0)
    many = {name: [n * 1.0 if name == "time" else None for n in range(3_100)] for name in columns}

    def answer(route: Route) -> None:
        asked.append(route.request.url.rpartition("=")[2])
        found = route.fetch().json()
        route.fulfill(json=found | ({"samples": many} if len(asked) == 1 else {}))

    page.route("**/v1/history?*", answer)
    page.goto("/")
    expect(page.locator("#state")).to_have_text("ready")
    while len(asked) < 3:
        page.wait_for_timeout(50)

    assert asked[:2] == ["0", "0"]
    assert float(asked[2]) > 1e9


def test_the_form_has_the_values_seen_most_and_answers_with_bars_and_why(page: Page, lively: Site, errors: list[str]) -> None:
    published(lively)
    page.goto("/")

    expect(page.locator("#predictions .candidate")).to_have_count(5)
    assert page.get_by_label("item", exact=True).locator("option").all_text_contents()[:5] == [f"i{n}" for n in range(5)]
    expect(page.get_by_label("price", exact=True)).to_have_attribute("type", "range")
    expect(page.get_by_label("red", exact=True)).to_be_checked()
    expect(page.locator("#answer")).to_contain_text("version 7")
    expect(page.locator("#why")).to_contain_text("skip term of layer 2")
    rows = [row.split("\n") for row in page.locator("#why table").first.locator("tr").all_inner_texts()]
    numbers = [float(row[-1].split("\t")[-1].split("→")[0].replace("\N{MINUS SIGN}", "-")) for row in rows]
    assert sum(numbers[:-1]) == pytest.approx(numbers[-1], abs=0.005)
    before = page.locator("#predictions").inner_text()
    page.get_by_label("price", exact=True).fill("0.9")
    expect(page.locator("#predictions")).not_to_have_text(before)
    page.get_by_label("Compare the values of").select_option("nothing: one candidate")
    expect(page.locator("#predictions .candidate")).to_have_count(1)
    assert lively.log.messages == []
    assert errors == []


def test_no_value_of_a_personal_field_is_shown_and_one_may_be_typed(page: Page, lively: Site) -> None:
    published(lively)
    page.goto("/")
    expect(page.locator("#predictions .candidate")).to_have_count(5)

    user = page.get_by_label("user", exact=True)
    user.fill("u3")

    expect(page.locator("#request")).to_have_value(re.compile('"user":"u3"'))
    expect(user).to_have_attribute("placeholder", "personal: no values are shown")
    assert "u4" not in page.content()


def test_the_keyboard_alone_suffices(page: Page, lively: Site) -> None:
    published(lively)
    page.goto("/")
    expect(page.locator("#predictions .candidate")).to_have_count(5)

    def reach(selector: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
        raise AssertionError(f"{selector} can't be reached")

    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    reach("#range input")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_label("1 h")).to_be_checked()
    reach("#quality .plot")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#quality .now")).to_have_text(re.compile(r"\d\d:\d\d:\d\d"))
    reach("#compared")
    reach("#inputs input[type=range]")
    before = page.locator("#request").input_value()
    page.keyboard.press("End")
    expect(page.locator("#request")).not_to_have_value(before)
    reach("#inputs input[type=checkbox]")
    page.keyboard.press("Space")
    expect(page.get_by_label("red", exact=True)).not_to_be_checked()
    reach("#predict")
    page.keyboard.press("Enter")
    reach("summary")
    page.keyboard.press("Enter")
    expect(page.locator("#request")).to_be_visible()
    reach("#predictions input")
    chosen = page.locator("#predictions input:checked").get_attribute("value")
    why = page.locator("#why").inner_text()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#predictions input:checked")).not_to_have_value(chosen or "")
    expect(page.locator("#why")).not_to_have_text(why)


def test_a_bad_request_is_explained(page: Page, site: Site) -> None:
    page.goto("/")
    published(site)
    expect(page.locator("#inputs select, #inputs input")).to_have_count(4)
    page.locator("summary").click()

    for request, said in (('{"candidates": [{"id": "a", "price": "cheap"}]}', "candidates[0].price"), ("{", "no JSON")):
        page.locator("#request").fill(request)
        page.get_by_role("button", name="Send this").click()

        expect(page.locator("#answer")).to_contain_text(said)


def test_stale_weights_and_held_versions_are_said(page: Page, site: Site) -> None:
    served = published(site, age=60)
    page.goto("/")
    expect(page.locator("#state")).to_have_text("stale")
    expect(page.locator("#findings")).to_contain_text(re.compile(r"The weights are stale\. The weights in service are 6\d\ss old\."))

    served.held = Version(9, "d", 0, None, {}, [], [], "s", "f", 0, held={"calibration": "31 % were clicked, and 8 % predicted"})

    expect(page.locator("#state")).to_have_text("newer versions are held")
    expect(page.locator("#findings li").first).to_contain_text("calibration: 31 % were clicked, and 8 % predicted")
    expect(page.locator("#holds")).to_contain_text("calibration: 31 % were clicked")


def test_while_its_server_is_away_the_page_says_so_and_of_when_its_numbers_are(page: Page, site: Site) -> None:
    published(site, age=60)
    page.goto("/")
    expect(page.locator("#findings")).to_contain_text("The weights are stale.")

    page.route("**/v1/history?*", lambda route: route.abort())

    expect(page.locator("#state")).to_have_text("out of reach")
    expect(page.locator("#findings")).to_have_text(
        re.compile(r"No answer comes from the server\. What is shown here is of \d\d:\d\d:\d\d\. It is asked again every second\.")
    )
    page.unroute("**/v1/history?*")
    expect(page.locator("#findings")).to_contain_text("The weights are stale.")


def test_the_page_says_which_of_several_models_it_shows_and_leads_to_the_others(browser: Browser) -> None:
    two = Two()
    two.error["cvr"] = LogUnavailableError("the log is away")
    with served(two.app) as address:
        two.sites["ctr"].follower.publish(7, trained())
        page = browser.new_page(base_url=address)
        try:
            page.goto("/")
            expect(page.locator("#version")).to_have_text("7")
            expect(page.locator("#models a")).to_have_text(["ctr", "cvr"])
            expect(page.locator("#models [aria-current]")).to_have_text("ctr")

            page.locator("#models a", has_text="cvr").click()
            expect(page.locator("#state")).to_have_text("model 'cvr': the log is away")
            two.error["cvr"] = None
            two.sites["cvr"].follower.publish(9, trained())
            expect(page.locator("#version")).to_have_text("9", timeout=15_000)
            expect(page.locator("#models [aria-current]")).to_have_text("cvr")
            expect(page.locator("#model")).to_have_attribute("href", "v1/models/cvr/model")
        finally:
            page.close()


def test_arms_stand_side_by_side_with_their_shares_and_how_good_they_are(browser: Browser) -> None:
    site = ArmsSite()
    with served(site.app) as address:
        while not all(weights.followed for weights in site.arms.weights.values()):
            time.sleep(0.01)
        for loss, (name, weights) in enumerate(OF_ARMS.items(), 40):
            site.publish(name, weights)
            site.arms.weights[name].learner = msgspec.structs.replace(SAID, log_loss=loss / 100)
        page = browser.new_page(base_url=address)
        page.goto("/")

        expect(page.locator("#arms tbody th")).to_have_text(list(OF_ARMS))
        rows = page.locator("#arms tbody tr")
        for n, shown in enumerate(("0.4000", "0.4100", "0.4200")):
            expect(rows.nth(n)).to_contain_text(shown)
        shares = [float(row.split("%")[0].split()[-1]) for row in rows.all_inner_texts()]
        page.close()

    assert site.arms.split
    assert shares == [round(100 * site.arms.split.shares.get(name, 0.0)) for name in OF_ARMS]


def test_an_experiment_says_first_whether_it_may_be_believed_then_what_each_arm_gains(browser: Browser, tmp_path: Path) -> None:
    measured = (0.1, 0.5, 0.3, 0.7, 1.0, 2.0)
    arms = [ArmReport(name, 0.5, 100, 2_000, 200, 50.0, *measured) for name in ("control", "<b>treatment</b>")]
    found = Uplift("<b>treatment</b>", "click_rate", Interval(0.01, -0.01, 0.03), Interval(0.1, -0.1, 0.3), "undecided", 0.2, None)
    rail = GuardRail("shares", False, "of 4,000 units 3,000 came to control")
    report = Report("first", "control", None, None, 0.95, 0.01, [rail], arms, [found], {})
    keep(tmp_path, report, 1_790_000_000_000)
    site = ArmsSite(reports=tmp_path)
    with served(site.app) as address:
        while not all(weights.followed for weights in site.arms.weights.values()):
            time.sleep(0.01)
        for name, weights in OF_ARMS.items():
            site.publish(name, weights)
        page = browser.new_page(base_url=address)
        page.goto("/")

        expect(page.locator("#report")).to_contain_text("<b>treatment</b> 2,000 impressions, 200 clicks")
        expect(page.locator("#report")).to_contain_text("A guard rail fails: don't believe the uplift.")
        expect(page.locator("#report .rails li")).to_have_text("shares of 4,000 units 3,000 came to control")
        row = page.locator("#report tbody tr")
        expect(row).to_have_text(re.compile(r"<b>treatment</b>click rate\+10\.00\s%\s+\(\u221210\.00\s% to \+30\.00\s%\)undecided"))
        page.set_viewport_size({"width": 375, "height": 800})
        for card in ("arms", "report"):
            width = page.evaluate(
                "id => { const t = document.querySelector(`#${id} table`); return [t.scrollWidth, t.parentElement.clientWidth]; }", card
            )
            assert width[0] <= width[1], card
        page.close()


MINUTE = 40  # samples
CALM = {
    "impressions": 100.0,
    "clicks": 10.0,
    "examples": 100.0,
    "to_join": 5.0,
    "to_learn": 0.0,
    "table": 0.4,
    "failures": 0.0,
    "unavailable": 0.0,
    "calibration": 1.0,
    "log_seconds": 0.01,
}


@pytest.mark.parametrize(
    ("model", "changes", "words"),
    [
        ({}, {}, None),
        ({"staleness_seconds": 40}, {}, "The learner publishes nothing."),
        ({"staleness_seconds": 40}, {"examples": 1.0, "impressions": 1.0, "hop_learn": 0.01}, "Nothing comes in."),  # heartbeats do
        ({"staleness_seconds": 40}, {"to_learn": 2_000, "hop_learn": 0.01}, "The weights are stale."),  # a burst, and all of it is learned
        ({"staleness_seconds": 40}, {"examples": 0, "to_join": 90_000}, "The joiner is behind, or has stopped."),
        ({"staleness_seconds": 40}, {"examples": 0, "impressions": 1, "clicks": 0}, "Nothing comes in."),
        ({"held": {"why": {"values": "user: 90 %, before 2 %"}}, "staleness_seconds": 40}, {}, "user: 90 %, before 2 %"),
        ({}, {"clicks": [10.0] * 5 + [0.0] * (MINUTE - 5)}, "Clicks have stopped."),
        ({}, {"clicks": [20.0] * 10 + [1.0] * (MINUTE - 10)}, "Clicks have stopped."),  # the joiner's mark, once a second
        ({}, {"impressions": [300.0] * 10 + [20.0] * (MINUTE - 10), "clicks": [30.0] * 10 + [2.0] * (MINUTE - 10)}, None),  # it is night
        ({}, {"hop_log": 2.5, "hop_join": 0.01, "hop_serve": 0.2}, "The hop “log” takes 2.5"),
        ({}, {"log_seconds": 0.8, "hop_learn": 2.5}, "The log is slow. It takes 800"),
        ({}, {"table": 0.995}, "The table is full."),
        ({}, {"impressions": [100.0] * 20 + [None] * (MINUTE - 20)}, "This server can't reach the log."),
        ({}, {"calibration": 1.6}, "Predicted are 1.60 times the clicks"),
        ({}, {"failures": 3.0}, "3.0 requests a second fail."),
        ({}, {"unavailable": 3.0}, "3.0 requests a second are told to come again later."),
    ],
)
def test_a_fault_is_named(page: Page, model: dict[str, Any], changes: dict[str, Any], words: str | None) -> None:
    page.goto("/docs")  # another page of the same server, so that nothing else is asked
    columns: dict[str, Any] = {name: [None] * MINUTE for name in COLUMNS} | {"time": [2.0 * n for n in range(MINUTE)]}
    columns |= {name: value if isinstance(value, list) else [value] * MINUTE for name, value in (CALM | changes).items()}
    seen = {
        "model": {"staleness_seconds": 0.2, "version": 7, "held": None} | model,
        "samples": columns,
        "learner": {"examples": 10_000, "expired_rows": 3},
        "holds": [],
        "set_aside": [],
        "now": 2.0 * MINUTE,
    }

    found = page.evaluate("async seen => (await import('/console/health.js')).findings(seen)", seen)

    assert [f"{each['what']} {each['why']}" for each in found if words and words in f"{each['what']} {each['why']}"] == [
        f"{each['what']} {each['why']}" for each in found
    ]
    assert len(found) == (words is not None)


def test_the_page_asks_nobody_but_its_own_server(page: Page, lively: Site, address: str, errors: list[str]) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    published(lively)

    page.goto("/")
    expect(page.locator("#predictions .candidate")).to_have_count(5)

    assert [url for url in asked if not url.startswith((address, "data:"))] == []
    assert {path for path in CONSOLE if f"{address}{path}" not in asked} == set()
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


def test_uplot_comes_with_its_licence() -> None:
    folder = console.FOLDER / "uplot"

    assert "MIT" in (folder / "LICENSE").read_text(encoding="utf-8")
    assert "1.6.32" in (folder / "uPlot.iife.min.js").read_text(encoding="utf-8")[:300]
    assert "1.6.32" in (folder / "README.md").read_text(encoding="utf-8")


def test_every_file_of_the_console_is_served_and_no_other() -> None:
    files = {f"/console/{path.relative_to(console.FOLDER)}" for path in console.FOLDER.rglob("*.*")}
    unserved = {"/console/index.html", "/console/uplot/README.md"}

    assert files - unserved == CONSOLE


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 375)])
def test_axe_finds_nothing(page: Page, lively: Site, scheme: Literal["light", "dark"], width: int) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 812})
    page.goto("/")
    expect(page.locator("#state")).to_have_text("no weights yet")
    found = {"no weights": Axe().run(page)}
    served = published(lively, age=60)
    served.held = Version(9, "d", 0, None, {}, [], [], "s", "f", 0, held={"golden": "moved"})
    letters = [SetAside("join", "BadRecordError", "field 'time': got …, expected int", 3, 1_760_000_000_000)]
    lively.app.state.service.history.watch.set_aside = lambda: letters
    expect(page.locator("#why table")).to_have_count(2)
    expect(page.locator("#findings li")).to_have_count(1)
    page.locator("summary").click()

    found |= {"held and stale": Axe().run(page)}

    assert {state: results.generate_report() for state, results in found.items() if results.violations_count} == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_in_light_and_in_dark(page: Page, lively: Site, scheme: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.set_viewport_size({"width": 375, "height": 740})
    published(lively)

    page.goto("/")
    expect(page.locator("#why table")).to_have_count(2)

    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(14, 17, 22)" if scheme == "dark" else "rgb(244, 245, 248)")


MARKUP = [
    "<img src=x onerror=\"document.title='broken'\">",
    "<script>document.title='broken'</script>",
    "</td></table><svg onload=document.title='broken'>",
    "javascript:document.title='broken'",
    '"><style>*{display:none}</style>',
]


def test_names_and_values_with_markup_are_shown_as_text(page: Page, site: Site, errors: list[str]) -> None:
    fields = (*SPEC.fields, *(Field(name=name) for name in MARKUP))
    values = [FieldValues(field.name, field.kind, values=list(MARKUP)) for field in fields if field.kind == "categorical"]
    site.app.state.service.frequent.of = lambda _: (values, 100)
    site.app.state.service.history.watch = watch = LogWatch(cast("Log", site.log), site.topics)
    watch.readable = True
    watch.set_aside = lambda: [SetAside("join", text, text, 1, 1) for text in MARKUP]  # type: ignore[method-assign]
    site.follower.publish(7, trained(spec=SPEC.model_copy(update={"fields": fields})))
    served = cast("ServedWeights", site.follower.served)
    served.learner = msgspec.structs.replace(SAID, terms=dict.fromkeys(MARKUP, 1.0), fields=dict.fromkeys(MARKUP, 1.0))
    served.held = Version(9, "d", 0, None, {}, [], [], "s", "f", 0, held=dict.fromkeys(MARKUP, MARKUP[0]))
    page.goto("/")

    expect(page.locator("#why table")).to_have_count(2)
    expect(page.locator("#findings")).to_contain_text(MARKUP[0])
    page.locator("summary").click()
    page.locator("#request").fill(json.dumps({"candidates": [{"id": 1, MARKUP[0]: {}}]}))
    page.get_by_role("button", name="Send this").click()
    expect(page.locator("#answer")).to_contain_text(MARKUP[0])

    assert page.title() == "SML Online"
    assert page.locator("#fields th").all_text_contents()[-len(MARKUP) :] == MARKUP
    assert page.locator("#letters tbody th").all_text_contents() == MARKUP
    assert page.locator("#terms tbody th").all_text_contents() == MARKUP
    assert page.locator("#predictions .candidate > span").all_text_contents() == MARKUP
    assert page.locator("main img, main script, main style, td svg, th svg").count() == 0
    assert [error for error in errors if "422" not in error] == []


def test_an_id_of_64_bits_is_asked_about_as_it_is(page: Page, site: Site) -> None:
    large = 2**60 + 1  # to JavaScript the same number as 2**60
    asked: list[dict[str, Any]] = []
    page.on("request", lambda request: asked.append(json.loads(request.post_data or "")) if request.method == "POST" else None)
    published(site)
    page.goto("/")
    expect(page.locator("#inputs select, #inputs input")).to_have_count(4)
    page.locator("summary").click()

    page.locator("#request").fill(f'{{"context": {{"user": {large}}}, "candidates": [{{"id": {large}, "item": {-large}, "price": 1e22}}]}}')
    page.get_by_role("button", name="Send this").click()

    expect(page.locator("#why table")).to_have_count(2)
    expected = {"context": {"user": str(large)}, "candidates": [{"id": str(large), "item": str(-large), "price": 1e22}]}
    assert asked == [expected, expected]  # the prediction, and its explanation


def test_a_name_that_turns_the_writing_round_turns_nothing_but_itself(page: Page, site: Site) -> None:
    published(site)
    page.goto("/")
    expect(page.locator("#inputs select, #inputs input")).to_have_count(4)
    page.locator("summary").click()

    page.locator("#request").fill(json.dumps({"candidates": [{"id": "\u202eabc"}]}))
    page.get_by_role("button", name="Send this").click()

    expect(page.locator("#why p").first).to_contain_text("is a sum:")
    left = """text => { const range = document.createRange(), node = [...document.querySelector("#why p").childNodes].at(-1);
        const at = node.textContent.indexOf(text); range.setStart(node, at); range.setEnd(node, at + text.length);
        return range.getBoundingClientRect().left; }"""
    assert page.evaluate(left, "is") < page.evaluate(left, "sum")


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
    with served(site.app) as address:
        page = browser.new_page(base_url=address)
        page.set_default_timeout(10_000)
        published(site)
        page.goto("/")
        expect(page.locator("#state")).to_have_text("a key is needed")

        for key, state in ((reader[:-2] + "AA", "this key is not valid"), (stranger, "this key may not read"), (reader, "ready")):
            page.locator("#key").fill(key)
            page.get_by_role("button", name="Look").click()
            expect(page.locator("#state")).to_have_text(state)
        expect(page.locator("#ask")).to_be_hidden()
        page.get_by_label("user", exact=True).fill("u1")
        page.get_by_role("button", name="Predict").click()
        expect(page.locator("#why table")).to_have_count(2)
        page.reload()
        expect(page.locator("#state")).to_have_text("ready")
        other = browser.new_page(base_url=address)
        other.goto("/")
        expect(other.locator("#state")).to_have_text("a key is needed")

        assert page.context.cookies() == []
        assert reader not in page.url
        other.close()
        page.close()
