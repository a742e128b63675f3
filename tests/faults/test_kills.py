"""Whatever is killed at any moment, nothing is lost and nothing counts twice: in the log, in the learner and in the server."""

import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.log.connect import connect
from stream.log.topics import create
from stream.weights.versions import newest_version
from tests.faults.conftest import LONG, long_only, opened
from tests.faults.traffic import Books, Traffic, settle
from tests.helpers.kafka_server import KafkaServer
from tests.helpers.site import Site

PROCESSES = ("join", "learn", "serve")
KILLS = 50 if LONG else 4
AWAY = 60.0 if LONG else 3.0  # seconds that the broker is away, once
PARTITIONS = 8

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600), pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")]


def keep_running(site: Site) -> None:
    """Start processes that have ended, as a supervisor does: by a kill, or because the log was away when they started."""
    for name in PROCESSES:
        process = site.processes.get(name)
        if process and process.poll() is not None:
            assert process.returncode == 1, site.said(name)[-2000:]
            assert "can't be used now" in site.said(name).splitlines()[-1], site.said(name)[-2000:]
        if process is None or process.poll() is not None:
            site.start(name)


def wait_until_all_is_learned(site: Site, traffic: Traffic) -> Books:
    """Wait until learner and server have the last example, end all processes in order, and settle the books."""

    def learned() -> bool:
        keep_running(site)
        return bool(site.get("serve", "/v1/model").json().get("examples") == traffic.learnable)

    site.wait_for(learned, f"{traffic.learnable} examples")
    with connect(site.url) as log:
        newest = newest_version(log, site.topics)
        assert newest
        site.wait_for(lambda: site.get("serve", "/v1/model").json()["digest"] == newest.version.digest, "the same weights at the server")
        assert site.end() == dict.fromkeys(PROCESSES, 0)
        return settle(log, site.topics, traffic.expected)


@pytest.fixture(params=["kafka", pytest.param("sqlite", marks=long_only)])
def broker_or_none(request: pytest.FixtureRequest) -> KafkaServer | None:
    """Return a broker that the test may kill; None for the log in a file."""
    return request.getfixturevalue("broker") if request.param == "kafka" else None


@pytest.fixture
def site(broker_or_none: KafkaServer | None, tmp_path: Path) -> Iterator[Site]:
    """Yield a site on that log, with its topics."""
    url = broker_or_none.url if broker_or_none else f"sqlite:///{tmp_path}/log.db"
    for site in opened(tmp_path, url):
        with connect(url) as log:
            create(log, site.topics, PARTITIONS)
        yield site


@pytest.fixture
def traffic(site: Site) -> Iterator[Traffic]:
    """Send traffic until the test ends."""
    traffic = Traffic(site.url, site.topics, PARTITIONS)
    traffic.start()
    yield traffic
    traffic.give_up()


@pytest.mark.usefixtures("refused")
def test_kills_at_random_moments_lose_nothing_and_count_nothing_twice(
    broker_or_none: KafkaServer | None, site: Site, traffic: Traffic, capsys: pytest.CaptureFixture[str]
) -> None:
    chance, killed = random.Random(time.time_ns()), Counter[str]()
    victims = [*PROCESSES, "broker"] if broker_or_none else list(PROCESSES)
    order = [victims[n % len(victims)] for n in range(KILLS)]
    chance.shuffle(order)
    keep_running(site)
    site.wait_for(lambda: site.get("serve", "/readyz").is_success, "weights at the server")
    for victim in order:
        rest = time.monotonic() + chance.uniform(0.5, 8.0 if LONG else 3.0)
        while time.monotonic() < rest:
            keep_running(site)
            time.sleep(0.1)
        if victim == "broker" and broker_or_none:
            broker_or_none.kill()
            time.sleep(0 if killed["broker"] else AWAY)
            broker_or_none.start()
        else:
            site.kill(victim)
        killed[victim] += 1
    keep_running(site)
    traffic.finish()

    books = wait_until_all_is_learned(site, traffic)

    assert books.records > 0
    assert books.balance() == 0
    with capsys.disabled():
        print(f"\nkilled: {dict(killed)}; sent again: {traffic.sent['batches sent again']} batches; {books}")  # noqa: T201 - the result
