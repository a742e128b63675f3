"""The TypeScript client: made from the OpenAPI document as it is now, and driven by node against a real server."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from deploy.typescript import FOLDER, TYPES, write
from service.access.bounds.limits import Allowances
from service.access.callers import Callers
from service.access.guard import Access
from service.access.keys import Keys, create as create_key
from tests.client.rows import lines
from tests.helpers.system import need
from tests.service.api.test_console import served
from tests.service.fakes import SPEC, Site, trained


@pytest.fixture(scope="module")
def node() -> str:
    """Return node's path, once the client is compiled by what its lock file names. Where npm's registry is away, skip; in CI, fail."""
    npm = need("npm")
    for command in (["ci", "--ignore-scripts"], ["run", "build"]):
        done = subprocess.run([npm, *command], cwd=FOLDER, capture_output=True, text=True, check=False)
        if done.returncode and command[0] == "ci" and os.environ.get("CI") != "true":
            pytest.skip(f"npm ci failed: {done.stderr[-500:]}")
        assert done.returncode == 0, done.stdout + done.stderr
    return need("node", "nodejs")


def logged(site: Site, topic: str) -> list[dict[str, Any]]:
    return [json.loads(message.value or b"") for message in site.log.messages if message.topic == topic]


@pytest.mark.usefixtures("node")
def test_its_types_are_those_of_the_document(tmp_path: Path) -> None:
    write(tmp_path / "schema.ts")

    assert (tmp_path / "schema.ts").read_text() == TYPES.read_text(), "run `make client`"


def test_node_predicts_logs_and_clicks_with_it(node: str, tmp_path: Path) -> None:
    key, _ = create_key(tmp_path / "keys.json", ["predict", "ingest", "read"], "shop")
    site = Site(access=Access(Callers(Keys(tmp_path / "keys.json")), Allowances(1e9, 1e9, 1_000)))
    with served(site.app) as address:
        site.follower.publish(7, trained())
        done = subprocess.run([node, FOLDER / "dist/test/drive.js", address, key], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr

    said = json.loads(done.stdout)
    impressions, clicks = logged(site, site.topics.impressions), logged(site, site.topics.clicks)
    assert [each["impression_id"] for each in impressions] == [said["predicted"]["predictions"][1]["impression_id"], "mine"]
    assert impressions[0]["features"] == {"user": "u1", "price": 0.5, "item": "i2", "tags": ["a", "b"]}
    assert [(each["impression_id"], each["value"]) for each in clicks] == [(impressions[0]["impression_id"], 2.5)]
    assert said["refused"] == [422, "candidates", 1]
    assert (said["predicted"]["version"], len(said["logits"])) == (7, 2)
    assert said["fields"] == len(SPEC.fields)


def test_the_lines_that_the_readme_shows_predict_log_and_click(node: str, site: Site) -> None:
    program = FOLDER / "dist/readme.mjs"
    with served(site.app) as address:
        site.follower.publish(7, trained())
        program.write_text(lines("JavaScript, TypeScript", address))
        subprocess.run([node, program], check=True, timeout=60)

    [impression], [click] = logged(site, site.topics.impressions), logged(site, site.topics.clicks)
    assert impression["impression_id"] == click["impression_id"]
