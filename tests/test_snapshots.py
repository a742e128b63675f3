"""The operator's tools: states are verified, rebuilt from the log, and rolled back to while a learner and a server work."""

import re
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from service.telemetry.audit import this_user
from stream.log.connect import connect
from stream.log.contract import Log, Message
from stream.log.topics import create
from stream.records.events import Example, encode
from stream.weights.versions import read_versions
from tests.faults.traffic import FIRST, SETTINGS
from tests.helpers.site import Site

COUNT = 300


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    """Open an empty log."""
    with connect(f"sqlite:///{tmp_path}/log.db") as log:
        yield log


@pytest.fixture
def site(log: Log, tmp_path: Path) -> Iterator[Site]:
    """Yield a site whose examples are learned, in several versions."""
    (tmp_path / "sml.toml").write_text(SETTINGS)
    site = Site(tmp_path, f"sqlite:///{tmp_path}/log.db")
    create(log, site.topics, 1)
    for first in (0, COUNT):
        send(site, log, first)
        site.sml("learn", "--until-caught-up")
    with closing(site):
        yield site


def send(site: Site, log: Log, first: int) -> None:
    """Append ``COUNT`` examples, from number ``first`` on."""
    made_up = [Example(f"{n}", FIRST + n, {"user": f"u{n % 50}", "price": n / 7}, 0 if n % 3 else 1) for n in range(first, first + COUNT)]
    log.append([Message(site.topics.examples, each.impression_id.encode(), encode(each)) for each in made_up])


def test_states_are_verified_and_a_damaged_one_is_named(site: Site) -> None:
    whole = site.run("snapshots", "verify")
    first, *_, last = sorted((site.folder / "data" / "checkpoints").iterdir())
    last.write_bytes(last.read_bytes()[:-3])

    damaged = site.run("snapshots", "verify")

    assert whole.returncode == 0
    assert re.search(rf"{first.name}\s+as it was saved", whole.stdout)
    assert damaged.returncode == 1
    assert re.search(rf"{last.name}\s+found\s+not a checkpoint as it was saved", damaged.stdout)
    assert re.search(rf"{first.name}\s+found\s+as it was saved", damaged.stdout)


def test_a_past_state_is_rebuilt_as_a_checkpoint_to_predict_by(site: Site, log: Log) -> None:
    version = next(version for version, _ in read_versions(log, site.topics, 0) if version.examples == COUNT)
    site.environment["SML_LEARN__DIRECTORY"] = "no checkpoints here"

    rebuilt = site.sml("rebuild", "--until", str(version.version), "-o", "past")
    site.environment["SML_LEARN__DIRECTORY"] = "past"
    (site.folder / "request.json").write_text('{"candidates": [{"id": 1, "user": "u1"}]}')

    assert rebuilt["digest"] == version.digest
    assert rebuilt["file"] == f"past/version-{version.version:012}.checkpoint"
    assert site.sml("predict", "request.json")["digest"] == version.digest


def test_a_rollback_is_followed_within_a_second_and_learning_goes_on(site: Site, log: Log) -> None:
    site.start("learn")
    site.start("serve")
    site.wait_for(lambda: site.get("serve", "/readyz").is_success, "weights at the server")
    past = next(version for version, _ in read_versions(log, site.topics, 0) if version.examples == COUNT)

    rolled_back = site.sml("snapshots", "rollback", "--to", str(past.version))
    while site.get("serve", "/v1/model").json()["digest"] != past.digest:
        assert time.time() < [version for version, _ in read_versions(log, site.topics, 0)][-1].published_at / 1000 + 1.0
    send(site, log, 2 * COUNT)
    site.wait_for(lambda: site.get("serve", "/v1/model").json()["examples"] == 2 * COUNT, "what came after the rollback")

    assert rolled_back["digest"] == past.digest
    assert rolled_back["rolled_back_to"] == past.version
    asked = [version.rollback.by for version, _ in read_versions(log, site.topics, 0) if version.rollback]
    assert asked == [this_user()]
    assert "the model was rolled back: going on from there" in site.said("learn")
    assert site.end() == {"learn": 0, "serve": 0}


def test_a_person_holds_and_approves_by_name_and_each_is_written_down(site: Site, log: Log) -> None:
    held = site.run("snapshots", "hold")
    approved = site.run("snapshots", "approve")

    *_, first, second = (version for version, _ in read_versions(log, site.topics, 0))
    assert (held.returncode, approved.returncode) == (0, 0)
    assert (first.order, first.by, first.held) == ("hold", this_user(), {"person": f"held by {this_user()}"})
    assert (second.order, second.by) == ("approve", this_user())
    assert f"{this_user()}: held {site.topics.versions}, by version {first.version}" in held.stderr
    assert site.sml("learn", "--until-caught-up")["version"] == second.version + 1
