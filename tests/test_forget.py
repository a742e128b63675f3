"""``sml forget`` while everything runs: nothing answers to the value, whatever is restarted, killed or rolled back afterwards."""

import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stream.log.connect import connect
from stream.log.contract import Message
from stream.log.topics import create
from stream.records.events import Impression, encode
from tests.faults.traffic import SETTINGS
from tests.helpers.site import Site

WHO = "alice@example.com"
PLACES = {"weights", "checkpoint", "127.0.0.1"}


@pytest.fixture(params=["sqlite", "kafka"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "sml.toml").write_text(SETTINGS.replace("[join]", '[privacy]\nfields = ["user"]\n\n[join]', 1))
    url = f"sqlite:///{tmp_path}/log.db" if request.param == "sqlite" else request.getfixturevalue("kafka")
    site = Site(tmp_path, url, SML_JOIN__CLICK_WINDOW="1s", SML_JOIN__LATENESS="100ms", SML_JOIN__IDLE_AFTER="500ms")
    with connect(url) as log:
        create(log, site.topics, 2)
    yield site
    site.close()


def show(site: Site, first: int, count: int = 40) -> None:
    """Show pages now, every fourth to the person."""
    now = int(time.time() * 1000)
    shown = [Impression(f"i{n}", now, {"user": WHO if n % 4 == 0 else f"u{n % 9}", "price": n / 7}) for n in range(first, first + count)]
    with connect(site.url) as log:
        log.append([Message(site.topics.impressions, each.impression_id.encode(), encode(each)) for each in shown])


def places(site: Site) -> list[dict[str, Any]]:
    """Return where ``sml forget --verify`` has looked, and what it found; its exit status must agree."""
    done = site.run("forget", "--value", WHO, "--verify", "--json")
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == any(each.get("answers", False) is not False for each in found), done.stderr
    return found


def answering(site: Site) -> list[str]:
    return [each["where"] for each in places(site) if each.get("answers")]


def kinds(where: Iterable[str]) -> set[str]:
    """Return which kinds of places these are; there may be several checkpoints."""
    return {kind for each in where for kind in PLACES if kind in each}


def all_is_learned(site: Site) -> bool:
    caught_up = site.get("serve", "/readyz").status_code == 200
    return caught_up and site.metric("learn", "sml_learner_lag_records") == 0 and site.metric("join", "sml_joiner_waiting_impressions") == 0


def test_a_person_is_forgotten_everywhere_and_stays_forgotten(site: Site) -> None:
    for name in ("join", "learn", "serve"):
        site.start(name)
    show(site, 0)
    site.wait_for(lambda: kinds(answering(site)) == PLACES, "weights, checkpoints and server to know the person")
    show(site, 40)  # these wait in the joiner

    done = site.sml("forget", "--value", WHO)

    assert (done["fields"], done["impressions"]) == (["user"], 20)
    assert "dense weights" in done["not_reached"]
    site.wait_for(lambda: not answering(site), "nothing to answer")
    assert kinds(each["where"] for each in places(site)) == PLACES

    for name in ("learn", "serve"):
        site.kill(name)
        site.start(name)
    show(site, 80)  # still within the clocks' skew of the request
    site.wait_for(lambda: all_is_learned(site), "all to be learned after the kills")
    assert not answering(site)

    assert site.end() == dict.fromkeys(("join", "learn", "serve"), 0)
    site.sml("snapshots", "rollback", "--to", str(done["forgotten_by_version"] - 1), "--replay")
    for name in ("join", "learn", "serve"):
        site.start(name)
    site.wait_for(lambda: all_is_learned(site), "all to be learned after the rollback")
    assert not answering(site)


def test_what_could_not_be_looked_into_is_not_said_to_be_without_the_value(tmp_path: Path) -> None:
    (tmp_path / "sml.toml").write_text(SETTINGS.replace("[join]", '[privacy]\nfields = ["user"]\n\n[join]', 1))
    site = Site(tmp_path, f"sqlite:///{tmp_path}/log.db")
    with connect(site.url) as log:
        create(log, site.topics, 2)
    site.run("learn", "--until-caught-up")
    checkpoints = sorted((tmp_path / "data" / "checkpoints").glob("*.checkpoint"))

    def unseen() -> list[str]:
        return [each["where"] for each in places(site) if each.get("answers", False) is None]

    (no_server,) = unseen()
    checkpoints[-1].write_bytes(b"damaged")
    damaged, _ = unseen()
    for path in checkpoints:
        path.unlink()
    gone, _ = unseen()

    assert "no answer" in no_server
    assert f"{checkpoints[-1].name}, which can't be read" in damaged
    assert "no checkpoint is here" in gone


def test_nothing_can_be_forgotten_before_anything_was_learned(site: Site) -> None:
    done = site.run("forget", "--value", WHO)

    assert done.returncode == 1
    assert "nothing was learned" in done.stderr
