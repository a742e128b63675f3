"""A unit keeps its arm: it moves only into an arm that grows, or out of one that shrinks; decisions hold once and for all processes."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from stream.arms import POINTS, ArmError, Traffic, decide, decode_traffic, read_traffic
from stream.log import topics as topics_module
from stream.log.contract import FencedError, Log, Message, Record
from stream.log.sqlite.log import SqliteLog
from stream.log.topics import Topics
from stream.records.events import BadRecordError
from stream.traffic import TrafficFollower

TOPICS = Topics("sml")
ARMS = ("control", "a", "b", "c")
ALL_CONTROL = Traffic.of("first", {"control": 1.0})
UNITS = [str(n).encode() for n in range(2_000)]

ramps = st.lists(st.tuples(st.sampled_from(ARMS[1:]), st.integers(0, POINTS)), min_size=1, max_size=12)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    """Yield an empty log of a model with arms."""
    with SqliteLog(f"sqlite:///{tmp_path / 'log.db'}") as log:
        topics_module.create(log, TOPICS, 1, arms=ARMS)
        yield log


def arm_at(traffic: Traffic, point: int) -> str:
    """Return whose a point is, by looking through all ranges."""
    return next(arm for end, arm in traffic.ranges if point < end)


@given(ramps)
@settings(deadline=None)
def test_a_ramp_moves_units_between_control_and_the_arm_alone_and_gives_each_its_share(steps: list[tuple[str, int]]) -> None:
    traffic, edges = ALL_CONTROL, {0, POINTS - 1}
    for arm, count in steps:
        before, has = traffic, traffic.points().get(arm, 0)
        try:
            traffic = before.with_points(arm, count)
        except ArmError:
            assert count - has > before.points().get("control", 0)
            continue
        edges |= {point for end, _ in (*before.ranges, *traffic.ranges) for point in (end - 1, end) if point < POINTS}
        moved = {(arm_at(before, point), arm_at(traffic, point)) for point in edges}
        assert {pair for pair in moved if pair[0] != pair[1]} <= ({("control", arm)} if count > has else {(arm, "control")})
        assert traffic.points().get(arm, 0) == count
        assert sum(traffic.points().values()) == POINTS
        assert decode_traffic(Record("", 0, 0, 0, None, encoded(traffic))) == traffic


def test_an_arm_that_grows_again_gets_the_units_that_it_had() -> None:
    before = ALL_CONTROL.with_points("a", POINTS // 20)

    assert before.with_points("a", 0).with_points("a", POINTS // 20) == before
    assert before.with_points("a", POINTS // 2).with_points("a", POINTS // 20) == before


def test_units_are_split_by_their_shares_and_independently_of_another_experiment() -> None:
    first, second = (Traffic.of(name, {"control": 0.7, "a": 0.3}) for name in ("first", "second"))

    inside = [(arm_at(first, first.point(unit)) == "a", arm_at(second, second.point(unit)) == "a") for unit in UNITS]

    count, both = len(UNITS), sum(a and b for a, b in inside)
    for column in (0, 1):
        assert abs(sum(pair[column] for pair in inside) - 0.3 * count) < 4 * (0.3 * 0.7 * count) ** 0.5
    assert abs(both - 0.09 * count) < 4 * (0.09 * 0.91 * count) ** 0.5


def encoded(traffic: Traffic) -> bytes:
    """Return a decision as it is written."""
    return msgspec.json.encode(traffic)


@pytest.mark.parametrize(
    "ranges",
    [
        [],
        [[POINTS - 1, "a"]],
        [[5, "a"], [5, "b"], [POINTS, "a"]],
        [[0, "a"], [POINTS, "a"]],
        [[POINTS, "A b"]],
        [[POINTS, "a\n"]],
        [[POINTS, 3]],
    ],
)
def test_ranges_that_are_no_split_are_no_decision(ranges: list[list[object]]) -> None:
    value = msgspec.json.encode({"experiment": "e", "control": "control", "ranges": ranges})

    with pytest.raises(BadRecordError):
        decode_traffic(Record("", 0, 0, 0, None, value))


@pytest.mark.parametrize("retired", ["control", "a"])
def test_no_decision_retires_an_arm_that_answers_somebody(retired: str) -> None:
    traffic = ALL_CONTROL.with_points("a", 100)

    with pytest.raises(BadRecordError, match="answer nobody"):
        decode_traffic(Record("", 0, 0, 0, None, encoded(msgspec.structs.replace(traffic, retired=[retired]))))
    assert decode_traffic(Record("", 0, 0, 0, None, encoded(msgspec.structs.replace(traffic, retired=["b"])))).retired == ["b"]


def test_a_decision_was_made_before_it_was_written_whatever_it_says() -> None:
    decided = msgspec.structs.replace(ALL_CONTROL, time=2_000)

    assert [decode_traffic(Record("", 0, 0, written, None, encoded(decided))).time for written in (1_000, 3_000)] == [1_000, 2_000]


def test_the_newest_decision_is_in_force_and_rubbish_among_them_is_passed_over(log: Log) -> None:
    follower = TrafficFollower(log, TOPICS, ALL_CONTROL)
    decide(log, TOPICS, ALL_CONTROL, lambda traffic: traffic.with_points("a", 100))
    log.append([Message(TOPICS.arms, None, b"rubbish", partition=0)])
    newest = decide(log, TOPICS, ALL_CONTROL, lambda traffic: traffic.with_points("b", 100))
    log.append([Message(TOPICS.arms, None, b'{"experiment": "x", "control": "y", "ranges": [[7, "z"]]}', partition=0)])

    follower.run(lambda: follower.caught_up)

    assert follower.traffic == newest
    assert newest.points() == {"control": POINTS - 200, "a": 100, "b": 100}
    assert len(list(read_traffic(log, TOPICS))) == 2


def test_of_two_who_decide_at_once_one_is_refused_and_nothing_is_lost(log: Log) -> None:
    def change(traffic: Traffic) -> Traffic:
        decide(log, TOPICS, ALL_CONTROL, lambda other: other.with_points("b", 200))
        return traffic.with_points("a", 100)

    with pytest.raises(FencedError):
        decide(log, TOPICS, ALL_CONTROL, change)

    assert [each.points() for each in read_traffic(log, TOPICS)] == [{"control": POINTS - 200, "b": 200}]
