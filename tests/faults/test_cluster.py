"""Three brokers, each record on all three, acknowledged once two have it: any one broker may be lost."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from stream.log.connect import connect
from stream.log.topics import create
from tests.faults.conftest import long_only, opened
from tests.faults.test_kills import keep_running, wait_until_all_is_learned
from tests.faults.traffic import Traffic
from tests.helpers.kafka_server import KafkaServer
from tests.helpers.ports import free_port
from tests.helpers.site import Site

PARTITIONS = 3
AWAY = 20.0  # seconds that a broker is away

pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(3600),
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    long_only,
]


@pytest.fixture
def brokers(kafka: str) -> Iterator[list[KafkaServer]]:
    """Start three brokers; ``kafka`` is needed so that the jars are there."""
    assert kafka
    cluster = [free_port() for _ in range(3)]
    nodes = [KafkaServer(cluster=cluster, node=node) for node in range(3)]
    with ExitStack() as stack:
        for node in nodes:
            stack.callback(node.close)
        with ThreadPoolExecutor(3) as pool:  # each answers once two have started
            list(pool.map(KafkaServer.start, nodes))
        yield nodes


@pytest.fixture
def site(brokers: list[KafkaServer], tmp_path: Path) -> Iterator[Site]:
    """Yield a site on the cluster, with its topics."""
    url = "kafka://" + ",".join(broker.url.removeprefix("kafka://") for broker in brokers)
    for site in opened(tmp_path, url):
        with connect(url) as log:
            create(log, site.topics, PARTITIONS)
        yield site


@pytest.mark.usefixtures("refused")
def test_any_one_of_three_brokers_may_be_lost(brokers: list[KafkaServer], site: Site) -> None:
    traffic = Traffic(site.url, site.topics, PARTITIONS)
    traffic.start()
    keep_running(site)
    site.wait_for(lambda: site.get("serve", "/readyz").is_success, "weights at the server")
    for broker in brokers:
        broker.kill()
        back = time.monotonic() + AWAY
        while time.monotonic() < back:
            keep_running(site)
            time.sleep(0.1)
        broker.start()
        time.sleep(AWAY / 2)  # to catch up with the others, before the next is lost
    traffic.finish()

    assert wait_until_all_is_learned(site, traffic).balance() == 0
