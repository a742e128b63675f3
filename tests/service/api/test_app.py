"""The application as a whole: alive, ready, measured, and ended without leaving anything behind."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import cast

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from starlette.types import Receive, Send

from service.api.app import build
from service.api.arms import Arms
from service.api.monitoring.metrics import ArrayHistogram, Measured, ServerMetrics
from service.api.served_weights import ServedWeights
from stream.log.contract import Log
from stream.log.topics import Topics
from stream.records.version import Version
from tests.service.fakes import SPEC, TRAINED_THROUGH, FakeLog, Site, trained


def metric(client: TestClient, name: str, **labels: str) -> float | None:
    """Read one value from ``/metrics``."""
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return sample.value
    return None


def test_a_server_without_weights_is_alive_and_not_ready(site: Site) -> None:
    with site.client() as client:
        assert (client.get("/healthz").status_code, client.get("/readyz").status_code) == (200, 503)


def test_a_server_is_ready_once_its_weights_have_caught_up(site: Site) -> None:
    with site.client() as client:
        site.follower.publish(1, trained(), caught_up=False)
        before = client.get("/readyz")
        site.follower.publish(2, trained())
        after = client.get("/readyz")

    assert (before.status_code, before.json()["detail"]) == (503, "catching up: version 1 so far")
    assert (after.status_code, after.json()) == (200, {"status": "ready"})


def test_a_server_says_that_newer_versions_are_held_and_what_each_check_found(site: Site) -> None:
    why = {"calibration": "of the last 256 examples 0.0% were clicked, and 18.1% predicted"}
    with site.client() as client:
        site.follower.publish(1, trained())
        before = client.get("/v1/model").json()["held"], metric(client, "sml_server_weights_held")
        assert site.follower.served
        site.follower.served.held = Version(4, "d", 9, None, {}, [], [], "s", "f", 0, held=why)
        after = client.get("/v1/model").json()["held"], metric(client, "sml_server_weights_held")

    assert before == (None, 0)
    assert after == ({"version": 4, "why": why}, 1)


def test_a_server_whose_follower_has_ended_says_so_and_goes_on_predicting() -> None:
    dying = threading.Event()

    def follow(served: ServedWeights, _should_stop: Callable[[], bool]) -> None:
        site.follower.served = served
        site.follower.started.set()
        dying.wait(60)
        raise RuntimeError("a bug")

    site = Site()
    with TestClient(build(cast("Log", FakeLog()), Topics("sml"), follow)) as client:
        site.follower.publish(1, trained())
        dying.set()
        while client.get("/healthz").status_code == 200:
            pass

        assert "ended" in client.get("/healthz").json()["detail"]
        assert client.post("/v1/predict", json={"candidates": [{"id": 1}]}).status_code == 200


def test_no_thread_is_left_when_the_application_ends(site: Site) -> None:
    with site.client():
        assert any(thread.name == "follower" for thread in threading.enumerate())

    assert not any(thread.name == "follower" for thread in threading.enumerate())


def test_the_model_says_what_it_is(client: TestClient) -> None:
    model = client.get("/v1/model").json()

    assert (model["version"], model["examples"], model["trained_through"]) == (7, 700, TRAINED_THROUGH)
    assert model["digest"] == trained().digest()
    assert model["network"]["hidden"] == [8, 4]
    assert [field["name"] for field in model["fields"]] == [field.name for field in SPEC.fields]


def test_the_model_is_unknown_until_weights_are_published(site: Site) -> None:
    with site.client() as client:
        assert client.get("/v1/model").status_code == 503


def test_requests_are_counted_by_route_and_status(client: TestClient) -> None:
    client.post("/v1/predict", json={"candidates": [{"id": 1}, {"id": 2}]})
    client.post("/v1/predict", json={})
    client.get("/made-up")

    assert metric(client, "sml_server_requests_total", route="/v1/predict", status="200") == 1
    assert metric(client, "sml_server_requests_total", route="/v1/predict", status="422") == 1
    assert metric(client, "sml_server_requests_total", route="none", status="404") == 1
    assert metric(client, "sml_server_candidates_total") == 2
    assert metric(client, "sml_server_predict_seconds_count", candidates="up to 10") == 1
    assert metric(client, "sml_server_request_seconds_bucket", route="/v1/predict", le="0.0001") is not None


def test_latency_is_by_the_number_of_candidates_and_what_was_predicted_is_counted(client: TestClient) -> None:
    answers = [client.post("/v1/predict", json={"candidates": [{"id": n} for n in range(size)]}).json() for size in (1, 11, 101)]

    for size in ("up to 1", "up to 100", "up to 1000"):
        assert metric(client, "sml_server_predict_seconds_count", candidates=size) == 1
    probabilities = [prediction["probability"] for answer in answers for prediction in answer["predictions"]]
    assert metric(client, "sml_server_probability_count") == len(probabilities) == 113
    assert metric(client, "sml_server_probability_sum") == pytest.approx(sum(probabilities))
    assert metric(client, "sml_server_probability_bucket", le="0.5") == sum(probability <= 0.5 for probability in probabilities)


def test_a_histogram_of_arrays_is_the_librarys_of_their_values() -> None:
    bounds, values = (0.001, 0.1, 0.25, 1.0), [0.0, 0.001, 0.0010001, 0.1, 0.2, 0.25, 0.9, 1.0]
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    taken, one_by_one = ArrayHistogram("h", "Text.", bounds, ours), Histogram("h", "Text.", buckets=bounds, registry=theirs)

    taken.observe(values[:3])
    taken.observe([])
    taken.observe(values[3:])
    for value in values:
        one_by_one.observe(value)

    expected = [line for line in generate_latest(theirs).splitlines() if b"_created" not in line]
    assert generate_latest(ours).splitlines() == expected


def test_a_request_is_in_flight_until_it_is_answered() -> None:
    metrics = ServerMetrics(CollectorRegistry(), Arms())
    seen: list[float] = []

    async def app(*_: object) -> None:
        seen.append(metrics.in_flight._value.get())
        raise KeyError

    for _ in range(2):
        with suppress(KeyError):
            asyncio.run(Measured(app, metrics)({"type": "http"}, cast("Receive", None), cast("Send", None)))

    assert [*seen, metrics.in_flight._value.get()] == [1, 1, 0]


def test_the_weights_in_service_are_measured(site: Site) -> None:
    with site.client() as client:
        version = metric(client, "sml_server_weights_version")
        site.follower.publish(7, trained(), age=60)

        assert version != version  # noqa: PLR0124 - NaN: none yet
        assert metric(client, "sml_server_weights_version") == 7
        assert metric(client, "sml_server_weights_trained_through_seconds") == TRAINED_THROUGH / 1000
        assert 60 <= (metric(client, "sml_server_weights_age_seconds") or 0) < 70
        assert metric(client, "sml_server_ready") == 1


def test_metrics_are_those_of_the_registry_given() -> None:
    registry = CollectorRegistry()
    Gauge("sml_follower_lag", "As a follower would have it.", registry=registry).set(3)

    with TestClient(build(cast("Log", FakeLog()), Topics("sml"), Site().follower.follow, registry)) as client:
        assert metric(client, "sml_follower_lag") == 3


def test_every_metric_begins_with_our_name(client: TestClient) -> None:
    families = text_string_to_metric_families(client.get("/metrics").text)

    assert [family.name for family in families if not family.name.startswith("sml_")] == []
