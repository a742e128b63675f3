"""What a server answered, while a file was replayed, joined and learned, is as good as ``sml evaluate`` says of the file."""

import json
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry

from benchmarks.joining.delay import FIELDS
from model.evaluation.scores import RunningScores
from model.settings import ModelSettings, TableSettings
from service.api.app import build
from service.api.served_weights import ServedWeights
from service.commands.evaluation.evaluate import evaluate
from service.commands.simulation.site import Site
from service.settings import Settings
from stream.files.layout import Logged
from stream.files.rows import read
from stream.inputs.event_time import TimeRule
from stream.join.joiner import Joiner
from stream.join.metrics import JoinerMetrics
from stream.join.session import JoinSession
from stream.join.share import joiner_of
from stream.learn.learner import Learner
from stream.learn.metrics import LearnerMetrics
from stream.log.connect import connect
from stream.log.topics import Topics, create
from stream.replay import Replay
from stream.settings import DataSettings, JoinSettings, LearnSettings
from stream.weights.follow import Follower
from stream.weights.metrics import FollowerMetrics

PAGES, TOGETHER = 400, 5  # pages of the simulated site, and how many are shown at a time
STEP = 10  # seconds from one time to the next


def recorded(path: Path) -> Path:
    """Write what the simulated site showed, and what was clicked."""
    site = Site(seed=0, rate=TOGETHER / STEP)
    lines = []
    for page in range(PAGES):
        visit = site.visit()
        for candidate, clicked in zip(visit.candidates, visit.clicked, strict=True):
            shown = visit.context | {name: value for name, value in candidate.items() if name != "id"}
            lines.append(json.dumps(shown | {"time": 1_760_000_000 + STEP * (page // TOGETHER), "click": int(clicked)}))
    path.write_text("\n".join(lines))
    return path


def wait_for(promise: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not promise():
        assert time.monotonic() < end
        time.sleep(0.002)


def answered(client: TestClient, batch: list[Logged]) -> list[float]:
    """Ask the server for the probabilities of rows that are shown at one time."""
    candidates = [{"id": str(row.number), **row.features} for row in batch]
    answer = client.post("/v1/predict", json={"candidates": candidates, "time": batch[0].time})
    assert answer.status_code == 200, answer.text
    return [each["probability"] for each in answer.json()["predictions"]]


def test_what_the_server_answered_while_a_log_was_replayed_is_what_evaluating_the_log_gives(tmp_path: Path) -> None:
    file, topics, stopped, scores = recorded(tmp_path / "site.jsonl"), Topics("sml"), threading.Event(), RunningScores()
    settings = Settings(
        model=ModelSettings(hidden=(16, 8), embedding=4, base_rate=True),
        table=TableSettings(capacity=16_384),
        field=FIELDS,
        join=JoinSettings(click_window=60, lateness=1),
        data=DataSettings(time="time"),
        learn=LearnSettings(directory=str(tmp_path / "checkpoints"), publish_every=0.01),
    )

    with connect(f"sqlite:///{tmp_path}/log.db") as log:
        create(log, topics, 1)

        def follow(served: ServedWeights, should_stop: Callable[[], bool]) -> None:
            Follower(log, topics, served, FollowerMetrics(CollectorRegistry())).run(should_stop)

        joiner = Joiner(log, topics, settings.join, JoinerMetrics(CollectorRegistry()))
        rule = TimeRule.of(settings.join)
        learner = Learner(log, topics, settings.spec, settings.learn, LearnerMetrics(CollectorRegistry()), times=rule)
        learning = threading.Thread(target=learner.run, args=(stopped.is_set,))
        learning.start()
        with (
            TestClient(build(log, topics, follow, CollectorRegistry())) as client,
            closing(log.writer(joiner_of(topics))) as writer,
            closing(JoinSession(joiner, writer)) as session,
        ):
            wait_for(lambda: client.get("/readyz").status_code == 200)
            rows = read(file, settings.data)
            for batch in Replay(log, topics, settings.join, "impressions", speed=1.0).run(rows, lambda _: False):
                assert len({row.time for row in batch}) == 1
                probabilities = np.array(answered(client, batch))
                logits = np.log(probabilities / (1 - probabilities)).astype(np.float32)
                scores.update(logits, np.array([row.label for row in batch], np.float32))
                while not session.has_reached(session.ends()):
                    session.step()
                decided = log.bounds(topics.examples)[0].end
                wait_for(lambda decided=decided: client.get("/v1/model").json()["examples"] >= decided)  # type: ignore[misc]
        stopped.set()
        learning.join()

    evaluated = evaluate(file, settings)

    assert evaluated["protocol"] == "served"
    assert scores.total().examples == evaluated["examples"] == 5 * PAGES
    assert scores.total().log_loss == pytest.approx(evaluated["log_loss"], rel=0.005)
    assert scores.total().auc == pytest.approx(evaluated["auc"], abs=0.01)
