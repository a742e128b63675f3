"""Arms on a real Kafka: learners that don't fence each other, and decisions that are whole or not there."""

import uuid
from pathlib import Path

import pytest

from stream.arms import POINTS, Traffic, decide, read_traffic
from stream.log import topics as topics_module
from stream.log.connect import connect
from stream.log.contract import FencedError, Message, Retention
from stream.log.topics import Topics
from stream.traffic import TrafficFollower
from tests.stream.learning import SPEC, example, learn_all

BEGINS = Traffic.of("first", {"control": 1.0})


def test_two_arms_learn_the_same_examples_and_a_decision_reaches_who_follows(kafka: str, tmp_path: Path) -> None:
    topics = Topics(f"arms-{uuid.uuid4().hex[:8]}")
    treatment = topics._replace(arm="treatment")
    with connect(kafka) as log:
        topics_module.create(log, topics, 2, arms=("control", "treatment"))
        log.append([message._replace(topic=topics.examples) for message in map(example, range(40))])
        follower = TrafficFollower(log, topics, BEGINS)

        versions = [learn_all(log, tmp_path / each.arm, SPEC, topics=each) for each in (topics, treatment)]
        decide(log, topics, BEGINS, lambda traffic: traffic.with_points("treatment", POINTS // 4))
        decided = decide(log, topics, BEGINS, lambda traffic: traffic.promoted("treatment"))
        follower.run(lambda: follower.caught_up)

        assert [version.examples for version in versions] == [40, 40]
        assert follower.traffic == decided
        assert log.retention(topics.arms) == Retention(None, None)
        assert log.progress(topics.learner, topics.examples) == log.progress(treatment.learner, topics.examples) != {}


def test_a_promotion_whose_commit_fails_leaves_what_was_in_force(kafka: str) -> None:
    topics = Topics(f"arms-{uuid.uuid4().hex[:8]}")
    with connect(kafka) as log:
        topics_module.create(log, topics, 1, arms=("control", "treatment"))
        decide(log, topics, BEGINS, lambda traffic: traffic.with_points("treatment", POINTS // 4))

        def taken_over(traffic: Traffic) -> Traffic:
            log.writer(f"{topics.prefix}.arms").close()
            return traffic.promoted("treatment")

        with pytest.raises(FencedError):
            decide(log, topics, BEGINS, taken_over)

        assert [traffic.control for traffic in read_traffic(log, topics)] == ["control"]
        assert log.append([Message(topics.arms, None, b"{}", partition=0)])
