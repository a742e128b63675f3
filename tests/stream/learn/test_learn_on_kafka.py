"""On a real Kafka, too, each example is learned once, and a follower comes to the same weights."""

import random
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from stream.log import topics
from stream.log.connect import connect
from stream.log.contract import FencedError, LogUnavailableError
from stream.weights.follow import Follower
from stream.weights.metrics import FollowerMetrics
from tests.stream.learn.fragile import Killed, fragile
from tests.stream.learning import (
    TOPICS,
    all_versions,
    assert_each_example_was_learned_once,
    examples,
    learn_all,
    learner,
    polls,
)
from tests.stream.weights.test_follow import Service


def test_a_learner_killed_on_kafka_learns_each_example_once(kafka: str, tmp_path: Path) -> None:
    chance = random.Random(0)

    def trouble() -> None:
        event = chance.random()
        if event < 0.1:
            raise Killed
        if event < 0.2:
            raise LogUnavailableError("away")

    with connect(kafka) as log:
        topics.create(log, TOPICS, 3)
        for first in range(0, 300, 30):  # an append each: what marks the ends of transactions takes offsets in between
            log.append(examples(30, first))
        breaking = fragile(log, lambda: chance.choice([1, 5, 40]), trouble, trouble)
        while not all_versions(log) or all_versions(log)[-1].examples < 300:
            try:
                learn_all(breaking, tmp_path, checkpoint_every=0.1)
            except Killed:
                continue
        assert_each_example_was_learned_once(log)

        service = Service()
        Follower(log, TOPICS, service, FollowerMetrics(CollectorRegistry())).run(lambda: service.caught_up)
        assert service.taken[-1].digest == all_versions(log)[-1].digest

        log.writer(f"{TOPICS.prefix}.learner").close()
        before = all_versions(log)
        log.append(examples(30, 300))
        rival = fragile(log, before_commit=lambda: log.writer(f"{TOPICS.prefix}.learner").close())
        with pytest.raises(FencedError):
            learner(rival, tmp_path).run(polls(20))
        assert all_versions(log) == before
