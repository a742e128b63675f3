"""What is counted of an experiment follows from the decisions alone."""

from pathlib import Path

import msgspec
import pytest

from stream.arms import POINTS, Traffic
from stream.experiment.plan import NEVER, ExperimentError, Plans, plan_of
from stream.log.contract import Message
from stream.log.sqlite.log import SqliteLog
from stream.log.topics import Topics, create

TOPICS = Topics("sml")
BEGINS = Traffic.of("exp", {"control": 1.0, "treatment": 0.0})


def at(time: int, decision: Traffic) -> Traffic:
    return msgspec.structs.replace(decision, time=time)


SMALL = at(100, BEGINS.with_points("treatment", POINTS // 100))
HALF = at(200, SMALL.with_points("treatment", POINTS // 2))


def test_counting_begins_when_the_shares_were_last_changed_and_before_is_before_the_first() -> None:
    plan = plan_of("exp", [BEGINS, SMALL, HALF, at(250, HALF)], TOPICS)

    assert (plan.begins, plan.since, plan.until) == (100, 200, NEVER)
    assert plan.shares == {"control": 0.5, "treatment": 0.5}
    assert plan.versions == {"control": "sml.versions", "treatment": "sml.versions.treatment"}


def test_a_promotion_ends_the_experiment_and_what_it_was_stays() -> None:
    plan = plan_of("exp", [BEGINS, HALF, at(300, HALF.promoted("treatment"))], TOPICS)

    assert (plan.since, plan.until, plan.control) == (200, 300, "control")


def test_a_split_that_the_settings_begin_with_begins_with_its_first_impression() -> None:
    plan = plan_of("exp", [Traffic.of("exp", {"control": 0.5, "treatment": 0.5})], TOPICS)

    assert (plan.begins, plan.since) == (None, 0)


def test_a_unit_belongs_to_the_arm_whose_point_it_is() -> None:
    plan = plan_of("exp", [BEGINS, HALF], TOPICS)
    units = [f"{n * 0x9E3779B97F4A7C15 % 2**64:016x}" for n in range(2_000)]

    inside = [HALF.point(bytes.fromhex(unit)) >= POINTS // 2 for unit in units]

    assert [plan.arm_of(unit) == "treatment" for unit in units] == inside
    assert 900 < sum(inside) < 1_100


def test_a_name_under_which_nothing_was_split_is_refused_with_those_that_were() -> None:
    with pytest.raises(ExperimentError, match="got 'other', expected one that has split the traffic: exp"):
        plan_of("other", [BEGINS, HALF], TOPICS)
    with pytest.raises(ExperimentError, match="there is none"):
        plan_of("exp", [BEGINS], TOPICS)


def test_a_decision_is_in_the_plan_as_soon_as_it_is_in_the_log(tmp_path: Path) -> None:
    with SqliteLog(f"sqlite:///{tmp_path}/log.db") as log:
        create(log, TOPICS, 1, arms=("control", "treatment"))
        plans = Plans(log, TOPICS, Traffic.of("exp", {"control": 0.9, "treatment": 0.1}), "exp")

        first = plans()
        log.append([Message(TOPICS.arms, None, msgspec.json.encode(HALF), partition=0)])

        assert (first.since, plans().since) == (0, 200)
