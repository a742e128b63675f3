"""Arms as real processes: two learners on one log, two servers, and decisions that all follow without losing a request."""

import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.commands.experiments import arms
from service.commands.topics import create
from service.settings import load
from stream.log.connect import connect
from stream.log.contract import Message
from stream.records.events import Example, encode
from tests.helpers.ports import free_port
from tests.helpers.site import Site

SETTINGS = """
[model]
hidden = [8, 4]
embedding = 4
[table]
capacity = 1024
[learn]
publish_every = "50ms"
[experiment]
unit = "user"
staleness = "1s"
[arms.control]
metrics_port = 0
[arms.treatment]
metrics_port = 0
model = { skip = "none" }
[[field]]
name = "user"
"""


class Load(threading.Thread):
    """Asks a server for predictions until told to stop, and keeps who answered whom, in order."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.url, self.done = f"http://127.0.0.1:{port}/v1/predict", threading.Event()
        self.failed: list[str] = []
        self.answers: list[tuple[str, dict[str, Any]]] = []

    def run(self) -> None:
        """Ask."""
        with httpx.Client(timeout=60) as client:
            number = 0
            while not self.done.is_set():
                number += 1
                time.sleep(0.002)
                user = f"u{number % 50}"
                answer = client.post(self.url, json={"context": {"user": user}, "candidates": [{"id": 1}, {"id": 2}]})
                if answer.status_code == 200:
                    self.answers.append((user, answer.json()))
                else:
                    self.failed.append(answer.text)

    def arms(self, since: int) -> Counter[str]:
        """Return how often each arm has answered after the first ``since`` answers."""
        return Counter(answer["served"]["arm"] for _, answer in self.answers[since:])

    def settle(self) -> int:
        """Wait until what was decided before is in force for sure, and return how many answers there are by then."""
        time.sleep(1.5)
        return len(self.answers)


def append(site: Site, first: int, count: int = 50) -> None:
    """Write examples."""
    now = int(time.time() * 1000)
    with connect(site.url) as log:
        made = [Example(f"i{n}", now, {"user": f"u{n % 50}"}, n % 2) for n in range(first, first + count)]  # type: ignore[arg-type]
        log.append([Message(site.topics.examples, each.impression_id.encode(), encode(each)) for each in made])


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return a site of two arms."""
    site = Site(tmp_path, f"sqlite:///{tmp_path}/log.db")
    (tmp_path / "sml.toml").write_text(f'[log]\nurl = "{site.url}"\nprefix = "{site.topics.prefix}"\n{SETTINGS}')
    create(load(tmp_path / "sml.toml"))
    append(site, 0)
    return site


def test_arms_are_ramped_promoted_and_retired_under_load_on_two_servers_and_no_request_is_lost(site: Site) -> None:
    other, loads, settings = free_port(), [], load(site.folder / "sml.toml")
    try:
        site.start("learn", "--arm", "treatment", called="treatment")
        site.start("serve", called="other", SML_SERVE__PORT=str(other))
        for name in ("learn", "serve"):
            site.start(name)
        for port in (site.ports["serve"], other):
            site.wait_for(lambda port=port: _examples(port) == [50, 50], "both arms on both servers")  # type: ignore[misc]
        loads = [Load(site.ports["serve"]), Load(other)]
        for each in loads:
            each.start()

        arms.start(settings, "treatment", 0.3, "ramp")
        time.sleep(1.5)
        arms.start(settings, "treatment", 0.6, None)
        time.sleep(1.5)
        # The treatment's learner dies, and control learns on.
        site.kill("treatment")
        append(site, 50)
        time.sleep(1.0)
        dead = [each.settle() for each in loads]
        time.sleep(0.5)
        revived = [len(each.answers) for each in loads]
        site.start("learn", "--arm", "treatment", called="treatment")
        site.wait_for(lambda: _examples(other) == [100, 100], "the treatment again")
        arms.promote(settings, "treatment", anyway=True)
        promoted = [each.settle() for each in loads]
        arms.retire(settings, "control")
        assert site.processes.pop("learn").wait(90) == 0
    finally:
        for each in loads:
            each.done.set()
            each.join(60)
        statuses = site.end()

    assert [each.failed for each in loads] == [[], []]
    for each, gone, back, end in zip(loads, dead, revived, promoted, strict=True):
        by_user = [
            {user: answer["served"]["arm"] for user, answer in each.answers if answer["served"]["propensity"] in shares}
            for shares in ({0.3, 0.7}, {0.6, 0.4})
        ]
        assert [len(users) for users in by_user] == [50, 50]
        assert {(by_user[0][user], arm) for user, arm in by_user[1].items()} == {
            ("control", "control"), ("control", "treatment"), ("treatment", "treatment"),
        }  # fmt: skip
        assert each.arms(end).keys() == {"treatment"}
        without = each.answers[gone:back]
        assert {answer["served"]["arm"] for _, answer in without} == {"control"}
        assert all(answer["stale_arms"] == ["treatment"] for _, answer in without)
        assert {answer["served"].get("assigned") for _, answer in without} == {None, "treatment"}
    assert set(statuses.values()) == {0}


def _examples(port: int) -> list[int | None]:
    """Return how many examples each arm in service has learned."""
    answer = httpx.get(f"http://127.0.0.1:{port}/v1/model")
    return [each["examples"] for each in answer.json()["arms"]] if answer.is_success else []
