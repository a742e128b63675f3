"""What the tutorial and the README's "Use it from" say works: it runs as it stands, beside ``sml up``, and what is sent is learned."""

import ast
import importlib
import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from playwright.sync_api import Browser, Error as PlaywrightError, Page

from stream.log.connect import connect
from stream.log.reading import read_all
from stream.log.topics import Topics, create
from stream.records.events import Impression, decode_impression
from tests.client.rows import ADDRESS, ROWS, lines
from tests.helpers.kafka_server import ROOT
from tests.helpers.ports import free_port
from tests.helpers.site import Site
from tests.service.api.test_console import browser

__all__ = ["browser"]

README = (ROOT / "README.md").read_text(encoding="utf-8")
TUTORIAL = re.findall(r"```(?:python|sh)\n(.*?)```", (ROOT / "docs/tutorial.md").read_text(encoding="utf-8"), re.DOTALL)
OPEN_INFERENCE = "[Open Inference Protocol](deploy/inference.md), here Triton's client"
RECORD, EVALUATE, UP, PREDICT, ASK = TUTORIAL


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Do what the tutorial says up to ``sml up``, and wait until its server predicts."""
    folder = tmp_path_factory.mktemp("site")
    quick = {"SML_JOIN__CLICK_WINDOW": "1s", "SML_JOIN__LATENESS": "1s", "SML_JOIN__IDLE_AFTER": "100ms"}
    site = Site(folder, f"sqlite:///{folder}/log.db", **quick)
    subprocess.run([sys.executable, "-c", RECORD], cwd=folder, check=True)
    for line in EVALUATE.splitlines():
        done = site.run(*line.split()[1:])
        assert done.returncode == 0, done.stderr
    assert UP == "sml up\n"
    with site.running("up"):
        site.wait_for(lambda: site.get("serve", "/readyz").is_success, "weights")
        yield site


@pytest.fixture
def learned(up: Site) -> Iterator[None]:
    """Wait, at the end of the test, until more is learned than before it."""
    before = examples(up)
    yield
    up.wait_for(lambda: examples(up) > before, "an example", 60)


def examples(site: Site) -> int:
    count: int = site.get("serve", "/v1/model").json()["examples"]
    return count


def address(site: Site) -> str:
    return f"http://127.0.0.1:{site.ports['serve']}"


def python(script: str) -> None:
    subprocess.run([sys.executable, "-c", script], cwd=ROOT / "client", check=True, timeout=60)


def curl(line: str, site: Site) -> Any:
    """Return what the server answers to a line that the README shows."""
    command = shlex.split(line.replace("localhost:8000", address(site)))
    return json.loads(subprocess.run([*command, "-sSf"], capture_output=True, check=True).stdout)


@pytest.mark.usefixtures("learned")
def test_curl(up: Site) -> None:
    done = subprocess.run(
        ["bash", "-ec", lines("curl", address(up)).replace("curl ", "curl -sSf ")], capture_output=True, text=True, check=True
    )

    assert '"probability"' in done.stdout
    assert done.stdout.count('{"accepted":1}') == 2

    predict, click = re.findall(r"^curl .*", README.partition("## Your own data")[2].partition("\n## ")[0], re.MULTILINE)
    [prediction] = curl(predict, up)["predictions"]
    click = click.replace("…", prediction["impression_id"]).replace("1790000000000", str(int(time.time() * 1000)))
    assert curl(click, up) == {"accepted": 1}


@pytest.mark.usefixtures("learned")
def test_python(up: Site) -> None:
    python(lines("Python", address(up)))


@pytest.mark.usefixtures("learned")
def test_asyncio(up: Site) -> None:
    body = textwrap.indent(lines("Python, asyncio", address(up)), "    ")
    python(f"import asyncio\nasync def main():\n{body}\nasyncio.run(main())")


def blocks(page: str) -> list[str]:
    """Return what a page shows in Python."""
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


def test_the_open_inference_protocol_and_what_the_pages_of_the_clients_show(up: Site) -> None:
    shown = [lines(OPEN_INFERENCE, address(up)), *blocks("deploy/inference.md"), *blocks("client/README.md")]
    assert len(shown) == 3

    port = address(up).rpartition(":")[2]
    python(
        "\n".join(shown).replace(ADDRESS, address(up)).replace(":8000", f":{port}").replace('infer("sml"', f'infer("{up.topics.prefix}"')
    )


def test_kafka(kafka: str) -> None:
    topics = Topics(f"use-{time.time_ns()}")
    with connect(kafka) as log:
        create(log, topics, 1)
        python(
            "\n".join(ROWS["Kafka, here from Python"])
            .replace("127.0.0.1:9092", kafka.removeprefix("kafka://"))
            .replace("sml.", f"{topics.prefix}.")
        )
        [record] = read_all(log, topics.impressions)

    impression = decode_impression(record.value or b"")
    assert record.key == b"i-1"
    assert isinstance(impression, Impression)
    assert impression.features == {"item_id": "a"}


def test_files() -> None:
    assert ROWS["files"] == [line for line in (EVALUATE + UP).splitlines() if line]


@pytest.mark.usefixtures("learned")
def test_the_tutorial_ends_with_what_was_clicked_on_top(up: Site) -> None:
    before = examples(up)
    python(PREDICT.replace(ADDRESS, address(up)))
    up.wait_for(lambda: examples(up) >= before + 90, "the tutorial's examples", 60)
    definitions = "from sml_online_client import Client\n" + re.findall(r"    items = .*\n", PREDICT)[0].strip()
    done = subprocess.run(
        [sys.executable, "-c", f"{definitions}\n{ASK.replace(ADDRESS, address(up))}"],
        cwd=ROOT / "client",
        capture_output=True,
        text=True,
        check=True,
    )

    probabilities, wide = map(ast.literal_eval, done.stdout.splitlines())
    assert max(probabilities, key=probabilities.get) == "tea"
    assert set(wide) == {"user_id", "item_id", "price"}


def opens(page: Page) -> bool:
    try:
        return page.goto("/") is not None
    except PlaywrightError:
        return False


@pytest.mark.usefixtures("learned")
def test_the_shop_shows_predicts_and_learns_what_is_clicked(up: Site, browser: Browser) -> None:
    port = free_port()
    command = shlex.split(ROWS["a shop"][0])
    assert command[0] == "uvicorn"
    command = [sys.executable, "-m", *["uvicorn", "--app-dir", "examples", "--port", str(port), command[-1]]]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "client"), "SML_URL": address(up)}
    with subprocess.Popen(command, cwd=ROOT, env=environment) as shop:
        try:
            page = browser.new_page(base_url=f"http://127.0.0.1:{port}")
            up.wait_for(lambda: opens(page), "the shop", 60)
            assert sorted(page.locator("button").all_inner_texts()) == ["cup", "pot", "tea"]

            def pot_is_first_once_clicked() -> bool:
                page.get_by_role("button", name="pot").click()
                return page.locator("button").first.inner_text() == "pot"

            for _ in range(25):
                pot_is_first_once_clicked()
            up.wait_for(pot_is_first_once_clicked, "the pot to come first", 180)
            page.close()
        finally:
            shop.terminate()


def test_a_shop_whose_server_is_away_shows_its_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SML_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.syspath_prepend(ROOT / "examples")

    with TestClient(importlib.import_module("shop").app) as visitor:
        assert re.findall("<button>(...)</button>", visitor.get("/").text) == ["cup", "pot", "tea"]


def test_every_row_is_run_here_or_by_node() -> None:
    assert set(ROWS) == {
        "curl",
        "Python",
        "Python, asyncio",
        "JavaScript, TypeScript",
        "Kafka, here from Python",
        OPEN_INFERENCE,
        "files",
        "a shop",
    }
