"""A treatment that is poisoned is stopped by its guard rail, once, within a stated number of impressions; one that is not goes on."""

import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from experiments.moments import INDEX
from model.encoding.keys import key_of
from model.settings import Field
from service.commands.experiments.arms import start, stop
from service.commands.experiments.guard import GuardRail, guard
from service.commands.experiments.report import reporter_of
from service.commands.simulation.site import SCENARIOS, Site as SimulatedSite
from service.commands.topics import create
from service.settings import Settings, load
from stream.arms import Traffic, read_traffic
from stream.experiment.plan import Plans
from stream.experiment.sums import Sums
from stream.log.connect import connect
from stream.log.contract import Message
from stream.records.events import Example, Served, encode
from tests.helpers.site import Site

WITHIN = 3_000  # impressions of both arms, within which a poisoned one is stopped
BATCH = 100
SETTINGS = """
[log]
url = "{url}"
prefix = "{prefix}"
[model]
hidden = [8, 4]
[table]
capacity = 4096
[experiment]
name = "sml"
unit = "user_id"
[arms.control]
share = 0.5
[arms.treatment]
share = 0.5
[[field]]
name = "user_id"
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path, f"sqlite:///{tmp_path}/log.db")
    (tmp_path / "sml.toml").write_text(SETTINGS.format(url=site.url, prefix=site.topics.prefix))
    create(load(tmp_path / "sml.toml"))
    yield site
    site.close()


@pytest.fixture
def settings(site: Site) -> Settings:
    return load(site.folder / "sml.toml")


def impressions(settings: Settings, *, poisoned: bool) -> Iterator[Example]:
    """Yield what the simulated site shows: control knows a click's chance roughly, and so does the treatment, or takes it upside down."""
    site, user_field = SimulatedSite(seed=4, rate=50, scenario=SCENARIOS["feed"]), Field(name="user_id")
    chance, traffic, begins = np.random.default_rng(5), settings.traffic, int(time.time() * 1000) - 10_000_000
    while True:
        visit = site.visit()
        unit = key_of(user_field, visit.context["user_id"]).to_bytes(8, "big")
        arm = "control" if traffic.point(unit) < traffic.ranges[0][0] else "treatment"
        logits = np.log(visit.probabilities / (1 - visit.probabilities)) + chance.normal(0, 0.5, len(visit.probabilities))
        p = 1 / (1 + np.exp(logits if poisoned and arm == "treatment" else -logits))
        for c in site.show(visit, p.tolist()):
            at, served = begins + round(1000 * visit.time), Served(1, float(p[c]), arm, "sml", 0.5, unit.hex())
            features = {"user_id": visit.context["user_id"]}
            yield Example(f"{at}-{c}", at, features, int(visit.clicked[c]), value=float(visit.values[c]), served=served)  # type: ignore[arg-type]


def append(site: Site, examples: Iterator[Example], count: int) -> None:
    with connect(site.url) as log:
        log.append([Message(site.topics.examples, None, encode(next(examples))) for _ in range(count)])


def decided(site: Site) -> list[Traffic]:
    with connect(site.url) as log:
        return list(read_traffic(log, site.topics))


def shown_until_stopped(site: Site, settings: Settings, examples: Iterator[Example], most: int) -> int | None:
    """Guard while impressions come, and return how many had come when the treatment was stopped; None if it was not."""
    sums = Sums(site.folder / "guard.db")
    with connect(site.url) as log:
        plans = Plans(log, site.topics, settings.traffic, "sml")
        rail = GuardRail(log, settings, plans, clock=iter(range(0, 10_000_000, 1_000)).__next__)
        reporter = reporter_of(log, settings, sums, plans)
        for shown in range(0, most, BATCH):
            append(site, examples, BATCH)
            reporter.run(lambda: False, until_caught_up=True, look=rail.look)
            if decided(site):
                sums.close()
                return shown + BATCH
    sums.close()
    return None


def test_a_poisoned_treatment_gives_its_units_back_within_the_stated_number_of_impressions(site: Site, settings: Settings) -> None:
    shown = shown_until_stopped(site, settings, impressions(settings, poisoned=True), 2 * WITHIN)

    assert shown is not None
    assert shown <= WITHIN
    (decision,) = decided(site)
    assert decision.points() == {"control": 1_000_000_000}
    assert decision.by == "guard rail"
    assert decision.action.startswith("stop treatment: ")
    assert "bound" in decision.action


def test_a_treatment_that_is_no_worse_goes_on(site: Site, settings: Settings) -> None:
    assert shown_until_stopped(site, settings, impressions(settings, poisoned=False), 2 * WITHIN) is None


def test_an_arm_that_somebody_starts_again_is_not_stopped_for_what_it_showed_before(site: Site, settings: Settings) -> None:
    append(site, impressions(settings, poisoned=True), WITHIN)
    sums = Sums(site.folder / "guard.db")
    with connect(site.url) as log:
        plans = Plans(log, site.topics, settings.traffic, "sml")
        counted_by = plans()
        reporter_of(log, settings, sums, plans).run(lambda: False, until_caught_up=True)
        stop(settings, "treatment")
        start(settings, "treatment", 0.5, None)

        GuardRail(log, settings, plans).look(sums, counted_by)

    assert [decision.action for decision in decided(site)] == ["stop treatment", "start treatment 0.5"]
    sums.close()


def test_a_unit_that_floods_an_arm_stops_it_not(site: Site, settings: Settings) -> None:
    append(site, impressions(settings, poisoned=False), WITHIN)
    sums = Sums(site.folder / "guard.db")
    with connect(site.url) as log:
        plans = Plans(log, site.topics, settings.traffic, "sml")
        reporter_of(log, settings, sums, plans).run(lambda: False, until_caught_up=True)
        flooded = "UPDATE units SET impressions = 1e6, clicks = 0, loss = 7e6, loss_squares = 5e7 WHERE unit = ?"
        (unit,) = sums._file.execute("SELECT unit FROM units WHERE arm = 'treatment' LIMIT 1").fetchone()
        sums._file.execute(flooded, (unit,))

        GuardRail(log, settings, plans).look(sums, plans())

    assert sums.heaviest("treatment", 2)[:, INDEX["impressions"]].tolist()[0] == 1e6
    assert decided(site) == []
    sums.close()


def catches_sigterm(process_id: int) -> bool:
    status = Path(f"/proc/{process_id}/status").read_text()
    caught = int(status.split("SigCgt:")[1].split()[0], base=16)
    return bool(caught & 1 << (signal.SIGTERM - 1))


def test_a_guard_that_is_killed_and_two_that_guard_at_once_write_one_decision(site: Site, settings: Settings) -> None:
    append(site, impressions(settings, poisoned=True), 2 * WITHIN)
    chance, kills = random.Random(2), 0

    while kills < 4 and not decided(site):
        site.start("experiment", "guard", called="first")
        time.sleep(0.3 + chance.random())
        site.kill("first")
        kills += 1
    guards = [site.start("experiment", "guard", "--sums", name, called=name) for name in ("one", "other")]
    site.wait_for(lambda: len(decided(site)) > 0, "a decision", 60)
    site.wait_for(lambda: all(catches_sigterm(process.pid) for process in guards), "both guards", 60)
    time.sleep(2.5)

    assert [decision.by for decision in decided(site)] == ["guard rail"]
    assert [process.poll() for process in guards] == [None, None]
    assert site.end() == {"one": 0, "other": 0}


def test_a_guard_that_cannot_have_its_sums_goes_on_once_it_can(
    site: Site, settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    append(site, impressions(settings, poisoned=True), WITHIN)
    monkeypatch.setattr("stream.experiment.sums.PATIENCE", 0.1)
    monkeypatch.setattr("service.commands.experiments.guard.WAIT", 0.1)
    first, stopped = Sums(site.folder / "sums" / "sml.db"), threading.Event()
    thread = threading.Thread(target=guard, args=(settings, site.folder / "sums", stopped.is_set))
    thread.start()
    time.sleep(1.0)
    before = decided(site)
    first.close()

    site.wait_for(lambda: len(decided(site)) == 1, "a decision", 60)
    stopped.set()
    thread.join()

    assert before == []
    assert [line.message for line in caplog.records if "Nothing is guarded" in line.message] == [caplog.messages[0]]


def test_a_running_system_stops_a_poisoned_treatment_and_says_so_on_the_screen(site: Site, settings: Settings) -> None:
    site.start("up")
    site.wait_for(lambda: site.get("serve", "/readyz").is_success, "the server")
    append(site, impressions(settings, poisoned=True), WITHIN)
    site.wait_for(lambda: "guard rail: decided stop treatment, of experiment sml: " in site.said("up"), "the decision on the screen", 60)

    def shares() -> dict[str, float]:
        return {each["arm"]: each["share"] for each in site.get("serve", "/v1/model").json()["arms"]}

    site.wait_for(lambda: shares() == {"control": 1.0, "treatment": 0.0}, "the server to follow", 60)
    (shown,) = site.get("serve", "/v1/experiments").json()["experiments"]
    assert shown["report"]["experiment"] == "sml"
    assert sum(each["impressions"] for each in shown["report"]["arms"]) == WITHIN
    assert site.end() == {"up": 0}
    assert [decision.by for decision in decided(site)] == ["guard rail"]
