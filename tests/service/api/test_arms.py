"""Several models in one server: each unit is answered by its arm, and every answer and every logged impression says by which and why."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from fastapi.testclient import TestClient

from model.weights import Weights
from service.access.bounds.limits import Allowances
from service.access.callers import Callers
from service.access.guard import Access
from service.access.roles import Caller
from service.api.app import build
from service.api.arms import Arms
from service.api.served_weights import ServedWeights
from stream.arms import POINTS, Traffic
from stream.log.contract import Log
from stream.log.topics import Topics
from stream.records.events import Impression, decode_impression
from stream.traffic import TrafficFollower
from stream.weights.chunks import WeightsHeader
from tests.service.fakes import TRAINED_THROUGH, FakeLog, Site, trained

NAMES = ("control", "treatment", "shadow")
HALVES = Traffic.of("first", {"control": 0.5, "treatment": 0.5, "shadow": 0.0})
OF_ARMS = {name: trained(seed) for seed, name in enumerate(NAMES)}


class FakeTraffic:
    """Holds the decision that a test makes."""

    def __init__(self) -> None:
        self.traffic, self.caught_up = HALVES, True

    def run(self, should_stop: Any) -> None:
        """Wait for the end."""
        while not should_stop():
            time.sleep(0.005)


class ArmsSite:
    """An application of three arms on a fake log, whose clock a test sets."""

    def __init__(self, access: Access | None = None, reports: Path | None = None) -> None:
        """Build it; no weights are published yet."""
        self.log, self.traffic, self.now = FakeLog(), FakeTraffic(), time.time()
        self.arms = Arms(NAMES, cast("TrafficFollower", self.traffic), "user", 60.0, lambda: self.now)
        self.app = build(cast("Log", self.log), Topics("sml"), self._follow, arms=self.arms, access=access, reports=reports)

    @contextmanager
    def client(self, **published: Weights) -> Iterator[TestClient]:
        """Run the application with these weights."""
        with TestClient(self.app, raise_server_exceptions=False) as client:
            for name, weights in published.items():
                self.publish(name, weights)
            yield client

    def publish(self, name: str, weights: Weights, *, version: int = 7, through: int = TRAINED_THROUGH) -> None:
        """Put weights of an arm into service."""
        header = WeightsHeader(version, version - 1, weights.digest(), 100, through, int(self.now * 1000))
        self.arms.weights[name].hand_over(header, weights)
        self.arms.weights[name].caught_up = True

    def _follow(self, _: ServedWeights, should_stop: Any) -> None:
        self.traffic.run(should_stop)


@pytest.fixture
def site() -> ArmsSite:
    """Return an application of three arms."""
    return ArmsSite()


@pytest.fixture
def client(site: ArmsSite) -> Iterator[TestClient]:
    """Its client, while it runs with weights of all arms."""
    with site.client(**OF_ARMS) as client:
        yield client


def ask(client: TestClient, user: Any = None, *, arm: str | None = None, **more: Any) -> dict[str, Any]:
    """Ask for a prediction, and return the answer."""
    request = {"context": {"price": 0.5} | ({} if user is None else {"user": user}), "candidates": [{"id": "a", "item": "i1"}], "time": 0}
    headers = {"x-sml-arm": arm} if arm else {}
    answer = client.post("/v1/predict", json=request | more, headers=headers)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def users_of(site: ArmsSite, name: str, count: int = 20) -> list[str]:
    """Return some users who belong to an arm, by the decision in force."""
    return [user for user in map("u{}".format, range(20 * count)) if arm_of(site, user) == name][:count]


def arm_of(site: ArmsSite, user: str) -> str | None:
    """Return the arm that answers a user."""
    served = site.arms.select({"user": user}).served
    return served.arm if served else None


def sample(client: TestClient, name: str) -> float | None:
    """Return one value of the metrics; None if it is not there."""
    lines = client.get("/metrics").text.splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + " ")), None)


def test_each_unit_is_answered_by_its_arm_and_the_answer_and_the_impression_say_so(site: ArmsSite, client: TestClient) -> None:
    seen = set()
    for user in map("u{}".format, range(30)):
        request: dict[str, Any] = {"context": {"user": user}, "candidates": [{"id": "a", "item": "i1"}], "time": 0, "log": True}
        answer = client.post("/v1/predict", json=request).json()
        served = answer["served"]
        assert served == {"arm": arm_of(site, user), "experiment": "first", "propensity": 0.5, "unit": served["unit"]}
        impression = decode_impression(site.log.messages[-1].value)
        assert isinstance(impression, Impression)
        logged = msgspec.to_builtins(impression.served)
        assert logged == served | {"version": 7, "probability": answer["predictions"][0]["probability"]}
        seen.add((served["arm"], served["unit"]))

    assert {arm for arm, _ in seen} == {"control", "treatment"}
    assert len(seen) == 30


def test_the_answer_is_that_of_the_arms_weights_alone(client: TestClient) -> None:
    by_arm = {name: ask(client, "u1", arm=name)["predictions"][0]["probability"] for name in NAMES}
    one = Site()
    with one.client() as alone:
        for seed, name in enumerate(NAMES):
            one.follower.publish(1, trained(seed))
            assert ask(alone, "u1")["predictions"][0]["probability"] == by_arm[name]

    assert len(set(by_arm.values())) == 3


def test_without_arms_answers_and_impressions_are_as_they_were() -> None:
    site = Site()
    with site.client() as client:
        site.follower.publish(7, trained())
        answer = ask(client, "u1", time=TRAINED_THROUGH, log=True)
        model, metrics = client.get("/v1/model").json(), client.get("/metrics").text
        forced = client.post("/v1/predict", json={"candidates": [{"id": 1}]}, headers={"x-sml-arm": "control"})

    assert answer.keys() == {"predictions", "version", "trained_through", "staleness_seconds"}
    assert msgspec.json.decode(site.log.messages[0].value or b"")["served"].keys() == {"version", "probability"}
    assert not {"arms", "experiment"} & model.keys()
    assert "sml_server_arm" not in metrics
    assert (forced.status_code, forced.json()["field"]) == (422, "x-sml-arm")


@pytest.mark.parametrize("context", [{}, {"user": None}, {"user": ""}])
def test_a_request_without_its_unit_is_answered_by_control_and_counted(client: TestClient, context: dict[str, Any]) -> None:
    served = client.post("/v1/predict", json={"context": context, "candidates": [{"id": 1, "user": "u1"}]}).json()["served"]

    assert served == {"arm": "control", "experiment": "first", "propensity": 1.0}
    assert sample(client, 'sml_server_arm_answers_total{arm="control",reason="no_unit"}') == 1


def test_a_unit_that_is_no_single_value_is_none(site: ArmsSite) -> None:
    assert site.arms.select({"user": ["a", "b"]}).reason == "no_unit"
    assert site.arms.select({"user": 5.0}).served == site.arms.select({"user": "5"}).served


@pytest.mark.usefixtures("client")
def test_a_ramp_moves_users_into_the_arm_that_grows_alone(site: ArmsSite) -> None:
    users = [f"u{n}" for n in range(400)]
    arms = []
    for share in (0.01, 0.05, 0.5):
        site.traffic.traffic = Traffic.of("first", {"control": 1.0}).with_points("treatment", round(share * POINTS))
        arms.append([arm_of(site, user) for user in users])

    for before, after in pairwise(arms):
        assert {(a, b) for a, b in zip(before, after, strict=True) if a != b} == {("control", "treatment")}


def test_a_shadow_serves_nobody_but_who_asks_for_it_by_name_which_is_said(client: TestClient) -> None:
    arms = {ask(client, f"u{n}")["served"]["arm"] for n in range(50)}

    forced = ask(client, "u1", arm="shadow")["served"]

    assert arms == {"control", "treatment"}
    assert (forced["arm"], forced["forced"]) == ("shadow", True)
    assert "propensity" not in forced
    assert sample(client, 'sml_server_arm_answers_total{arm="shadow",reason="forced"}') == 1


def test_an_arm_that_is_not_there_can_not_be_forced(client: TestClient) -> None:
    answer = client.post("/v1/predict", json={"candidates": [{"id": 1}]}, headers={"x-sml-arm": "best"})

    assert answer.status_code == 422
    assert answer.json() == {"field": "x-sml-arm", "detail": "got 'best', expected control or treatment or shadow"}


def test_only_who_may_operate_forces_an_arm() -> None:
    class Known(Callers):
        open = False

        def known(self, credential: str) -> Caller | None:
            return Caller("key:k", frozenset(credential.split("+")))

    site = ArmsSite(Access(Known(), Allowances(1e9, 1e9, in_flight=100)))
    with site.client(**OF_ARMS) as client:

        def status(roles: str, headers: dict[str, str]) -> int:
            sent = {"authorization": f"Bearer {roles}"} | headers
            return client.post("/v1/predict", json={"candidates": [{"id": 1}]}, headers=sent).status_code

        statuses = [status("predict", {}), status("predict", {"x-sml-arm": "shadow"}), status("predict+operate", {"x-sml-arm": "shadow"})]

    assert statuses == [200, 403, 200]


def test_control_stands_in_for_an_arm_whose_learner_is_dead_and_every_answer_says_so(site: ArmsSite, client: TestClient) -> None:
    theirs, ours = users_of(site, "treatment")[0], users_of(site, "control")[0]
    site.now += 100
    site.publish("control", trained(5), version=8, through=TRAINED_THROUGH + 1)

    stands_in, own = ask(client, theirs), ask(client, ours)

    assert stands_in["served"] | {"unit": ""} == {
        "arm": "control", "experiment": "first", "propensity": 1.0, "unit": "", "assigned": "treatment",
    }  # fmt: skip
    assert own["served"]["propensity"] == 1.0
    assert "assigned" not in own["served"]
    assert stands_in["stale_arms"] == own["stale_arms"] == ["treatment"]
    assert sample(client, 'sml_server_arm_stale{arm="treatment"}') == 1
    assert sample(client, 'sml_server_arm_answers_total{arm="control",reason="stand_in"}') == 1

    site.publish("treatment", trained(6), version=9, through=TRAINED_THROUGH + 1)

    assert ask(client, theirs)["served"]["arm"] == "treatment"
    assert "stale_arms" not in ask(client, theirs)


def test_arms_that_have_nothing_new_to_learn_go_on_serving(site: ArmsSite, client: TestClient) -> None:
    theirs = users_of(site, "treatment")[0]
    site.now += 10_000

    assert ask(client, theirs)["served"]["arm"] == "treatment"


def test_an_arm_without_weights_is_answered_for_and_holds_up_nothing(site: ArmsSite) -> None:
    with site.client(control=OF_ARMS["control"]) as client:
        ready_at_once = client.get("/readyz").status_code
        answer = ask(client, "u1")
        site.now += 61
        ready = client.get("/readyz").status_code

    assert (ready_at_once, ready) == (503, 200)
    assert answer["served"]["arm"] == "control"
    assert answer["stale_arms"] == ["treatment"]


def test_after_a_promotion_the_arm_answers_everybody_and_its_state_is_the_models(site: ArmsSite, client: TestClient) -> None:
    site.traffic.traffic = HALVES.promoted("treatment")

    arms = {ask(client, user)["served"]["arm"] for user in [None, *map("u{}".format, range(20))]}
    model = client.get("/v1/model").json()

    assert arms == {"treatment"}
    assert model["digest"] == OF_ARMS["treatment"].digest()
    assert [(each["arm"], each["role"], each["share"]) for each in model["arms"]] == [
        ("control", "shadow", 0.0), ("treatment", "control", 1.0), ("shadow", "shadow", 0.0),
    ]  # fmt: skip


def test_a_retired_arm_lets_its_memory_go_and_the_server_goes_on(site: ArmsSite, client: TestClient) -> None:
    site.traffic.traffic = msgspec.structs.replace(HALVES, retired=["shadow"])
    deadline = time.monotonic() + 60
    while site.arms.weights["shadow"].has_weights and time.monotonic() < deadline:
        time.sleep(0.01)

    assert not site.arms.weights["shadow"].has_weights
    assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
    assert client.post("/v1/predict", json={"candidates": [{"id": 1}]}, headers={"x-sml-arm": "shadow"}).status_code == 422
    assert [each["role"] for each in client.get("/v1/model").json()["arms"]] == ["control", "challenger", "retired"]


def test_of_a_retired_arm_no_gauge_stays(site: ArmsSite, client: TestClient) -> None:
    ask(client, arm="shadow")
    assert sample(client, 'sml_server_arm_weights_version{arm="shadow"}') == 7
    site.traffic.traffic = msgspec.structs.replace(HALVES, retired=["shadow"])

    lines = [line for line in client.get("/metrics").text.splitlines() if 'arm="shadow"' in line]

    assert {line.partition("{")[0].rpartition("_")[2] for line in lines} == {"total", "bucket", "count", "sum", "created"}
    assert sample(client, 'sml_server_arm_weights_version{arm="treatment"}') == 7


def test_a_decision_for_arms_that_this_server_does_not_know_leaves_them_to_control(site: ArmsSite, client: TestClient) -> None:
    site.traffic.traffic = Traffic("first", "nowhere", [(POINTS // 2, "elsewhere"), (POINTS, "treatment")])

    served = [ask(client, f"u{n}")["served"] for n in range(30)]

    assert {each["arm"] for each in served} == {"control", "treatment"}
    assert {each.get("assigned") for each in served if each["arm"] == "control"} == {"elsewhere"}


def test_who_a_server_knows_is_asked_of_all_arms(client: TestClient) -> None:
    def known(user: str) -> bool:
        found: bool = client.get(f"/v1/users/{user}", params={"field": "user"}).json()["fields"]["user"]
        return found

    assert [known("u1"), known("nobody")] == [True, False]
