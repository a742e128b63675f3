"""``/v1/freshness`` says how long the last heartbeats took to each arm, hop by hop."""

import pytest
from fastapi.testclient import TestClient

from stream.records.heartbeat import HOPS, TARGET, Heartbeat
from stream.weights.shared import HEARTBEATS
from tests.service.api.test_arms import ArmsSite
from tests.service.fakes import Site

AT = 1_790_000_000.0  # epoch seconds


def test_the_last_heartbeats_are_told_with_their_hops(site: Site) -> None:
    site.now = AT + 3
    with site.client() as client:
        for number in range(HEARTBEATS + 80):
            weights = site.app.state.service.arms.control
            weights.heartbeats.append(Heartbeat([int(AT * 1000) + number, 10, 20, -5, 40, number]))
        answer = client.get("/v1/freshness").json()

    (arm,) = answer["arms"]
    assert answer["target_seconds"] == TARGET
    assert arm["arm"] == "control"
    assert len(arm["heartbeats"]) == HEARTBEATS
    assert arm["heartbeats"][-1] == {
        "sent": int(AT * 1000) + 199,
        "seconds": pytest.approx(0.264),
        "hops": dict(zip(HOPS, (0.01, 0.02, -0.005, 0.04, 0.199), strict=True)),
    }
    assert arm["since_last_seconds"] == pytest.approx(3 - 0.199 - 0.264)
    assert arm["p50_seconds"] == pytest.approx(0.065 + 0.1395)
    assert arm["p95_seconds"] == pytest.approx(0.065 + 0.19305)


def test_before_the_first_heartbeat_there_is_nothing_to_tell_of_it(site: Site) -> None:
    with site.client() as client:
        arms = client.get("/v1/freshness").json()["arms"]

    assert arms == [{"arm": "control", "since_last_seconds": None, "p50_seconds": None, "p95_seconds": None, "heartbeats": []}]


def test_each_arm_has_heartbeats_of_its_own() -> None:
    site = ArmsSite()
    site.arms.weights["treatment"].heartbeats.append(Heartbeat([int(site.now * 1000), 1, 1, 1, 1, 1]))

    with TestClient(site.app) as client:
        arms = client.get("/v1/freshness").json()["arms"]

    assert {arm["arm"]: len(arm["heartbeats"]) for arm in arms} == {"control": 0, "treatment": 1, "shadow": 0}
