"""The metrics of several processes are those of one: counts add up, those of processes that have ended, too."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from service.workers import totals
from service.workers.totals import AllProcesses, Family, Totals, added_up, reporting


def test_counts_add_up_by_label_and_the_last_value_of_anything_else_counts() -> None:
    def report(count: float, route: str, age: float, in_flight: float) -> list[Family]:
        return [
            Family("requests", "counter", "Requests.", [("requests_total", {"route": route}, count)]),
            Family("age", "gauge", "Age.", [("age", {}, age)]),
            Family("sml_server_in_flight_requests", "gauge", "In flight.", [("sml_server_in_flight_requests", {}, in_flight)]),
        ]

    requests, age, in_flight = added_up([report(2, "a", 7, 1), report(3, "b", 5, 2), report(4, "a", 6, 3)])

    assert requests.samples == [("requests_total", {"route": "a"}, 6), ("requests_total", {"route": "b"}, 3)]
    assert age.samples == [("age", {}, 6)]
    assert in_flight.samples == [("sml_server_in_flight_requests", {}, 6)]


class Standing(Collector):
    """Says nothing while its process stands still."""

    def __init__(self) -> None:
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def collect(self) -> Iterator[Metric]:
        """Yield nothing, once it may."""
        self.may_go_on.wait(10)
        yield from ()


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield where all processes report, in a short time; the path is short, as such paths must be."""
    monkeypatch.setattr(totals, "_TIMEOUT", 0.3)
    monkeypatch.setattr(totals, "_ASK_EVERY", 0.01)
    with TemporaryDirectory() as folder:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{folder}/metrics")
        listener.listen()
        with Totals(listener):
            yield Path(folder, "metrics")


def test_a_process_that_stood_still_is_waited_for_once_and_then_reports_what_it_has_counted_by_now(path: Path) -> None:
    registry, standing, everything = CollectorRegistry(), Standing(), AllProcesses(CollectorRegistry(), path)
    registry.register(standing)
    requests = Counter("requests", "Requests.", registry=registry)

    def counted() -> float:
        return sum(sample.value for metric in everything.collect() for sample in metric.samples if sample.name == "requests_total")

    with reporting(registry, path):
        requests.inc()
        while counted() < 1:
            time.sleep(0.01)
        standing.may_go_on.clear()
        time.sleep(0.7)  # it has been waited for by now
        start = time.monotonic()
        while_standing = [counted() for _ in range(10)]
        took = time.monotonic() - start
        requests.inc()
        standing.may_go_on.set()
        time.sleep(0.2)
        after = counted()
        requests.inc()

        assert while_standing == [1] * 10
        assert took < 10 * 0.3
        assert after == 2
        assert counted() == 3
