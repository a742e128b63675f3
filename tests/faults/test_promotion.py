"""A promotion while the broker dies: it is not known to be made, servers stay with what was decided, and it is made when it is asked for again."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from stream.arms import POINTS, Traffic, decide, read_traffic
from stream.log.connect import connect
from stream.log.contract import LogUnavailableError
from stream.log.topics import Topics, create
from stream.traffic import TrafficFollower
from tests.helpers.kafka_server import KafkaServer

TOPICS, BEGINS = Topics("sml"), Traffic.of("first", {"control": 1.0})
PATIENCE = 60.0  # seconds


@contextmanager
def followed(url: str) -> Iterator[TrafficFollower]:
    """Follow the decisions, as a server does."""
    stop = threading.Event()
    with connect(url) as log:
        follower = TrafficFollower(log, TOPICS, BEGINS)
        thread = threading.Thread(target=follower.run, args=(stop.is_set,))
        thread.start()
        try:
            yield follower
        finally:
            stop.set()
            thread.join()


def wait_for(follower: TrafficFollower, traffic: Traffic) -> None:
    end = time.monotonic() + PATIENCE
    while follower.traffic != traffic:
        assert time.monotonic() < end, follower.traffic
        time.sleep(0.05)


@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.usefixtures("refused")
def test_a_promotion_during_a_brokers_death_is_made_once_the_broker_is_back_and_servers_follow_only_then(broker: KafkaServer) -> None:
    with connect(broker.url) as log, followed(broker.url) as follower:
        create(log, TOPICS, 1, arms=("control", "treatment"))
        before = decide(log, TOPICS, BEGINS, lambda traffic: traffic.with_points("treatment", POINTS // 10))
        wait_for(follower, before)

        def promote_while_it_dies(traffic: Traffic) -> Traffic:
            broker.kill()
            return traffic.promoted("treatment")

        with pytest.raises(LogUnavailableError):
            decide(log, TOPICS, BEGINS, promote_while_it_dies)
        in_force_while_away = follower.traffic
        broker.start()
        promoted = promote_again(broker.url)
        wait_for(follower, promoted)
        with connect(broker.url) as again:
            decisions = list(read_traffic(again, TOPICS))

    assert in_force_while_away == before
    assert decisions == [before, promoted]
    assert promoted.control == "treatment"
    assert promoted.points() == {"treatment": POINTS}


def promote_again(url: str) -> Traffic:
    """Promote as a person would, until the log takes it."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            with connect(url) as log:
                return decide(log, TOPICS, BEGINS, lambda traffic: traffic.promoted("treatment"))
        except LogUnavailableError:
            assert time.monotonic() < end
            time.sleep(0.2)
