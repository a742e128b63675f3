"""The simulated site knows the truth: its clicks are drawn from its probabilities, which are the best possible prediction."""

import asyncio
import io
import json
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from model.encoding.features import Encoder
from service.commands.simulation import traffic as simulated_traffic
from service.commands.simulation.site import CANDIDATES, DAY, SCENARIOS, Scoreboard, Site, Visit
from service.commands.simulation.traffic import Traffic
from service.settings import load
from tests.service.schemas import fits

VISITS = 4_000


@pytest.fixture(scope="module")
def visits() -> list[Visit]:
    site = Site(seed=3, rate=150)
    return [site.visit() for _ in range(VISITS)]


def test_clicks_are_drawn_from_the_true_probabilities(visits: list[Visit]) -> None:
    true = np.concatenate([visit.probabilities for visit in visits])
    clicked = np.concatenate([visit.clicked for visit in visits])

    for tenth in np.array_split(np.argsort(true), 10):
        sd = np.sqrt(np.sum(true[tenth] * (1 - true[tenth]))) / len(tenth)
        assert clicked[tenth].mean() == pytest.approx(true[tenth].mean(), abs=4 * sd)


def test_the_true_probabilities_beat_the_mean_and_any_distortion(visits: list[Visit]) -> None:
    board = Scoreboard(window=VISITS * CANDIDATES)
    for visit in visits:
        board.add(np.sqrt(visit.probabilities).tolist(), visit)

    compared = board.compare()

    assert compared is not None
    assert compared.impressions == VISITS * CANDIDATES
    assert compared.best < compared.served
    assert compared.best < 0.9 * compared.mean


def test_the_same_seed_is_the_same_site_and_another_is_another(visits: list[Visit]) -> None:
    again, other = Site(seed=3, rate=150), Site(seed=4, rate=150)

    assert [again.visit().context for _ in range(20)] == [visit.context for visit in visits[:20]]
    assert [other.visit().context for _ in range(20)] != [visit.context for visit in visits[:20]]


def feed(visits: int, rate: float = 20, **changed: Any) -> tuple[Site, list[Visit]]:
    site = Site(seed=2, rate=rate, scenario=SCENARIOS["feed"]._replace(**changed))
    return site, [site.visit() for _ in range(visits)]


def test_a_day_has_its_rhythm_in_traffic_and_in_clicks() -> None:
    _, visits = feed(3_500, rate=5, rhythm=0.5, drift=0.0)
    day = [visit for visit in visits if visit.time < DAY]
    noon = [visit for visit in day if DAY / 4 <= visit.time < 3 * DAY / 4]
    night = [visit for visit in day if not DAY / 4 <= visit.time < 3 * DAY / 4]

    assert len(day) == pytest.approx(5 * DAY, rel=0.01)
    assert len(noon) / len(night) == pytest.approx((1 + 1 / np.pi) / (1 - 1 / np.pi), rel=0.02)
    means = [np.mean([visit.probabilities for visit in some]) for some in (noon, night)]
    assert means[0] > 1.3 * means[1]


def test_a_click_is_worth_the_bid_if_it_converts_and_on_average_what_the_site_expects() -> None:
    _, visits = feed(2_000)
    worth, values = (np.concatenate([getattr(visit, name) for visit in visits]) for name in ("worth", "values"))

    assert values.sum() / worth.sum() == pytest.approx(1, abs=0.04)
    assert 0.1 < (values > 0).mean() < 0.5
    assert (values[values > 0] > worth[values > 0]).all()


def test_a_visitor_sees_what_promises_the_most_value_and_all_where_there_is_room() -> None:
    site, (visit, *_) = feed(1)
    predicted = np.linspace(0.01, 0.3, len(visit.candidates)).tolist()

    shown = site.show(visit, predicted)

    expected = sorted(range(len(predicted)), key=lambda c: -predicted[c] * visit.worth[c])[:3]
    assert shown == expected
    assert visit.only(shown).values.tolist() == [visit.values[c] for c in expected]
    assert visit.only(shown).candidates == [visit.candidates[c] for c in expected]
    assert Site(seed=0, rate=1).show(visit, predicted[:CANDIDATES]) == list(range(CANDIDATES))


def test_where_tastes_change_at_once_the_same_visits_are_clicked_otherwise_from_then_on() -> None:
    (_, before), (_, after) = feed(1_500), feed(1_500, changes=50.0)
    pairs = list(zip(before, after, strict=True))
    early = [(a, b) for a, b in pairs if a.time < 50]
    late = [(a, b) for a, b in pairs if a.time >= 50]

    assert len(early) > 100
    assert all(a.probabilities.tolist() == b.probabilities.tolist() for a, b in early)
    assert all(a.candidates == b.candidates for a, b in pairs)
    assert np.mean([np.abs(np.log(a.probabilities / b.probabilities)).mean() for a, b in late]) > 0.5


def test_visitors_come_back_and_new_items_appear(visits: list[Visit]) -> None:
    users = {visit.context["user_id"] for visit in visits}
    early, late = ({each["id"] for visit in some for each in visit.candidates} for some in (visits[:1_000], visits[-1_000:]))

    assert len(users) < VISITS / 10
    assert late - early


def test_a_visit_shows_no_item_twice(visits: list[Visit]) -> None:
    assert all(len({each["id"] for each in visit.candidates}) == CANDIDATES for visit in visits)


def test_the_settings_of_the_site_declare_what_it_sends(visits: list[Visit]) -> None:
    settings = load(Path(__file__).parents[4] / "deploy" / "simulated.toml")
    encoder = Encoder(settings.spec.fields)

    for candidate in visits[0].candidates:
        sent = {name: value for name, value in {**visits[0].context, **candidate}.items() if name != "id"}
        assert encoder.encode([sent], [0]).bad == {}
        assert {field.name for field in settings.field if field.is_feature} == set(sent)

    assert not encoder.ignored.counts()


class FakeServer:
    """Is not ready at first; then predicts one half for every candidate, and records what was clicked."""

    def __init__(self) -> None:
        self.refusals = 1
        self.busy = 0  # so many predictions are to be asked for again
        self.keys: list[str] = []
        self.examples = 7
        self.shown: set[str] = set()
        self.clicked: list[str] = []
        self.values: list[float] = []
        self.impressions: list[dict[str, Any]] = []
        self.requests = 0
        self.best: list[float] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/readyz":
            self.refusals -= 1
            return httpx.Response(503 if self.refusals >= 0 else 200)
        if request.url.path == "/v1/model":
            return httpx.Response(200, json={"examples": self.examples, "staleness_seconds": 0.1})
        body = json.loads(request.content)
        if request.url.path == "/v1/clicks":
            self.clicked += [click["impression_id"] for click in body]
            self.values += [click["value"] for click in body]
            return httpx.Response(202)
        if request.url.path == "/v1/simulated":
            self.best.append(body["best_log_loss"])
            return httpx.Response(200)
        if request.url.path == "/v1/impressions":
            self.impressions += body
            return httpx.Response(202)
        return self.predict(request)

    def predict(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        self.keys.append(request.headers["Idempotency-Key"])
        if len(self.keys) <= self.busy:
            return httpx.Response(503, headers={"Retry-After": "1"})
        self.requests += 1
        ids = [f"{self.requests}-{index}" for index, _ in enumerate(body["candidates"])]
        if body["log"]:
            self.shown |= set(ids)
        predictions = [{"id": "x", "probability": 0.5, "impression_id": each} for each in ids]
        served = {"arm": "treatment" if self.requests % 2 else "control", "experiment": "sml", "propensity": 0.5}
        return httpx.Response(200, json={"predictions": predictions, "version": 3} | ({} if body["log"] else {"served": served}))


def test_traffic_waits_for_the_server_and_every_click_is_sent_once() -> None:
    server = FakeServer()

    async def run() -> Traffic:
        async with httpx.AsyncClient(base_url="http://site", transport=httpx.MockTransport(server.answer)) as client:
            traffic = Traffic(client, Site(seed=0, rate=200))
            await traffic.run(duration=0.5)
            return traffic

    result = asyncio.run(run()).result()

    assert result["visits"] * CANDIDATES == len(server.shown) > 0
    assert len(server.clicked) == len(set(server.clicked)) == result["clicks"] > 0
    assert set(server.clicked) <= server.shown
    assert result["log_loss"] == pytest.approx(np.log(2))
    assert result["best_log_loss"] == server.best[-1] < result["log_loss"]


@pytest.mark.parametrize(("busy", "visits", "failed"), [(3, 3, 0), (1_000, 0, 3)])
def test_a_visit_that_the_server_is_too_busy_for_is_asked_for_again_as_late_as_it_says_within_a_bound(
    busy: int, visits: int, failed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulated_traffic, "TRIES", 2)
    server = FakeServer()
    server.busy = busy

    async def run() -> dict[str, Any]:
        async with httpx.AsyncClient(base_url="http://site", transport=httpx.MockTransport(server.answer)) as client:
            traffic = Traffic(client, Site(seed=0, rate=20))
            shown = asyncio.gather(*(traffic._visit(traffic._site.visit()) for _ in range(3)))
            await asyncio.sleep(0.9)
            assert len(server.keys) == 3
            await shown
            return traffic.result()

    result = asyncio.run(run())

    assert (result["visits"], result["failed"]) == (visits, failed)
    assert sorted(server.keys[:3]) == sorted(server.keys[3:])  # what a try has logged counts once


def test_where_not_all_are_shown_the_site_writes_what_is_as_it_was_served_and_scores_each_arm() -> None:
    server = FakeServer()

    async def run() -> Traffic:
        async with httpx.AsyncClient(base_url="http://site", transport=httpx.MockTransport(server.answer)) as client:
            traffic = Traffic(client, Site(seed=0, rate=300, scenario=SCENARIOS["feed"]))
            await traffic.run(duration=0.5)
            return traffic

    traffic = asyncio.run(run())
    result, written = fits("simulate", traffic.result()), server.impressions

    assert not server.shown
    assert len(written) == 3 * result["visits"] == len({each["impression_id"] for each in written})
    assert set(server.clicked) <= {each["impression_id"] for each in written}
    assert set(map(float, server.values)) > {0.0}
    for each in written:
        request = int(each["impression_id"].split("-")[0])
        arm = "treatment" if request % 2 else "control"
        assert each["served"] == {"arm": arm, "experiment": "sml", "propensity": 0.5, "version": 3, "probability": 0.5}
        assert {"user_id", "item_id"} <= each["features"].keys() - {"id"}
    assert result["arms"].keys() == {"control", "treatment"}
    assert all(each["log_loss"] == pytest.approx(np.log(2)) for each in result["arms"].values())
    worth = sum(each["value_per_impression"] for each in result["arms"].values()) / 2
    assert worth * len(written) == pytest.approx(sum(server.values), rel=0.05)
    assert " | control 0.6931, worth " in traffic._line()


def test_while_examples_wait_for_their_window_the_line_says_so() -> None:
    server = FakeServer()
    server.examples = 0

    async def lines() -> tuple[str, str]:
        async with httpx.AsyncClient(base_url="http://site", transport=httpx.MockTransport(server.answer)) as client:
            traffic = Traffic(client, Site(seed=0, rate=20), decided_after=14.0)
            await traffic.run(duration=0.2)
            waiting = traffic._line()
            traffic._model = {"examples": 7}
            return waiting, traffic._line()

    waiting, learned = asyncio.run(lines())

    assert waiting.startswith(f"waiting for clicks: {len(server.shown)} impressions, the first is decided in 14 s | log loss")
    assert learned.startswith("learned 7 | log loss")


def test_the_line_that_lives_is_no_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "12")

    async def report() -> None:
        model = httpx.MockTransport(lambda _: httpx.Response(503))
        async with httpx.AsyncClient(transport=model, base_url="http://server") as client:
            traffic = Traffic(client, Site(seed=3, rate=1))
            asyncio.get_running_loop().call_later(1.1, traffic.stop)
            await traffic._report()

    asyncio.run(report())

    drawn = terminal.getvalue().split("\r\x1b[K")[1:]
    assert [line.rstrip("\n") for line in drawn] == ["nobody was "] * len(drawn)
    assert drawn
