"""An owner that slept while another process took over writes nothing more, ends, and says why; one without a rival goes on."""

import signal
import sqlite3
import time
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from subprocess import Popen

import pytest

from stream.log.connect import connect
from stream.log.topics import create
from stream.weights.versions import newest_version
from tests.faults.conftest import long_only
from tests.faults.traffic import Traffic, learned, settle
from tests.helpers.ports import free_port
from tests.helpers.site import Site

TRANSACTION = 10.0  # seconds, after which Kafka ends a transaction by itself

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


@pytest.fixture
def traffic(site: Site) -> Iterator[Traffic]:
    """Send traffic until the test ends."""
    with connect(site.url) as log:
        create(log, site.topics, 2)
    traffic = Traffic(site.url, site.topics, 2)
    traffic.start()
    yield traffic
    traffic.give_up()


@contextmanager
def asleep(site: Site, processes: Collection[Popen[bytes]]) -> Iterator[None]:
    """Suspend processes until the block ends; if one holds SQLite's lock, which would block all others, try again later."""
    while True:
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        if takes_writes(site):
            break
        for process in processes:
            process.send_signal(signal.SIGCONT)
        time.sleep(0.1)
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)


def takes_writes(site: Site) -> bool:
    """Return whether SQLite's lock is free; Kafka has no lock."""
    if site.url.startswith("kafka"):
        return True
    with closing(sqlite3.connect(site.url.removeprefix("sqlite:///"), timeout=2.0, isolation_level=None)) as file:
        try:
            file.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        file.execute("ROLLBACK")
    return True


def versions(site: Site) -> int:
    """Return how many versions there are."""
    with connect(site.url) as log:
        newest = newest_version(log, site.topics)
        return newest.version.version + 1 if newest else 0


def test_a_zombie_publishes_nothing_more_and_says_why_it_ends(site: Site, traffic: Traffic, tmp_path: Path) -> None:
    zombies = {name: site.start(name) for name in ("join", "learn")}
    site.wait_for(lambda: versions(site) > 3, "versions")
    with asleep(site, zombies.values()):
        since = time.monotonic()
        site.start("join", SML_JOIN__METRICS_PORT=str(free_port()))
        site.start("learn", SML_LEARN__METRICS_PORT=str(free_port()), SML_LEARN__DIRECTORY=str(tmp_path / "of the second"))
        before = versions(site)
        site.wait_for(lambda: versions(site) > before + 3, "versions of the second learner")
        if site.url.startswith("kafka"):
            time.sleep(max(0.0, TRANSACTION + 1 - (time.monotonic() - since)))
    statuses = {name: process.wait(60) for name, process in zombies.items()}
    traffic.finish()

    assert statuses == {"join": 1, "learn": 1}
    for name in zombies:
        assert "owns" in site.said(name), site.said(name)[-2000:]
    with connect(site.url) as log:
        site.wait_for(lambda: learned(site.url, site.topics) == traffic.learnable, "the rest")
        assert site.end() == {"join": 0, "learn": 0}
        assert settle(log, site.topics, traffic.expected).balance() == 0


@long_only
def test_an_owner_whose_transaction_timed_out_goes_on_where_it_has_no_rival(kafka_site: Site) -> None:
    site = kafka_site
    with connect(site.url) as log:
        create(log, site.topics, 2)
    traffic = Traffic(site.url, site.topics, 2)
    traffic.start()
    owners = [site.start(name) for name in ("join", "learn")]
    site.wait_for(lambda: versions(site) > 3, "versions")

    with asleep(site, owners):
        time.sleep(TRANSACTION + 1)
    traffic.finish()
    site.wait_for(lambda: learned(site.url, site.topics) == traffic.learnable, "the rest")

    assert site.end() == {"join": 0, "learn": 0}
    with connect(site.url) as log:
        assert settle(log, site.topics, traffic.expected).balance() == 0
