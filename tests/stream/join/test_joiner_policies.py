"""Whatever the policy, and however partitions differ, each impression is settled once and in the same order, wherever the joiner is killed."""

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given, settings, strategies as st
from prometheus_client import CollectorRegistry

from stream.join.joiner import Joiner
from stream.join.metrics import JoinerMetrics
from stream.log.contract import Message
from stream.log.topics import JoinerError
from stream.records.events import Impression, Watermark, encode
from stream.settings import JoinSettings
from tests.stream.join.joining import id_in
from tests.stream.join.test_joiner import SETTINGS, TOPICS, KilledError, Mortal, clicked, end, examples, new_log, shown, traffic

HOUR = 3_600_000  # ms

POLICIES = {
    "late clicks": SETTINGS.model_copy(update={"late_clicks": "learn"}),
    "fnw": SETTINGS.model_copy(update={"label_policy": "fnw"}),
    "fnc": SETTINGS.model_copy(update={"label_policy": "fnc"}),
}


def join(log: object, wanted: JoinSettings = SETTINGS, registry: CollectorRegistry | None = None) -> None:
    Joiner(log, TOPICS, wanted, JoinerMetrics(registry or CollectorRegistry())).run(lambda: False, until_caught_up=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 1_000),
    deaths=st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=5),
    records=st.integers(1, 40),
    partitions=st.sampled_from([1, 3]),
)
def test_wherever_it_is_killed_the_examples_are_the_same(
    policy: str, seed: int, deaths: list[tuple[int, bool]], records: int, partitions: int
) -> None:
    with new_log(partitions) as calm, new_log(partitions) as stormy:
        for log in (calm, stormy):
            log.append([*traffic(seed), *end(log)])
        join(calm, POLICIES[policy])

        for commits, after in deaths:
            with suppress(KilledError):
                join(Mortal(stormy, records=records, dies_at=commits, after=after), POLICIES[policy])
        join(Mortal(stormy, records=records, dies_at=1_000, after=False), POLICIES[policy])

        assert examples(stormy) == examples(calm)


@pytest.mark.parametrize("policy", ["fnw", "fnc"])
def test_a_negative_comes_out_before_its_window_has_passed(policy: str) -> None:
    with new_log() as log:
        log.append([shown("a", 1), shown("b", 2), Message(TOPICS.clicks, None, encode(Watermark(2)), partition=0)])

        join(log, POLICIES[policy])

        assert [(each.impression_id, each.label) for each in examples(log)[0]] == [("a", 0), ("b", 0)]


@pytest.mark.parametrize("policy", ["fnw", "fnc"])
def test_without_clicks_a_watermark_lets_the_impressions_through(policy: str) -> None:
    with new_log() as log:
        log.append([shown(f"{time}", time) for time in range(1, 2_000, 10)])

        Joiner(log, TOPICS, POLICIES[policy], JoinerMetrics(CollectorRegistry())).run(lambda: len(examples(log)[0]) == 200)

        assert {each.label for each in examples(log)[0]} == {0}


def test_what_both_inputs_hold_is_one_transaction() -> None:
    with new_log() as log:
        log.append([shown("a", 1), shown("b", 2), clicked("a", 3)])
        mortal = Mortal(log, records=1_000, dies_at=10, after=False)

        join(mortal, POLICIES["fnw"])

        assert [(each.impression_id, each.label) for each in examples(log)[0]] == [("a", 0), ("a", 1), ("b", 0)]
        assert 10 - mortal.commits_left == 1


def test_another_policy_on_the_same_topics_is_a_refusal_to_start() -> None:
    with new_log() as log:
        log.append([shown("a", 1)])
        join(log)

        with pytest.raises(JoinerError, match="expected progress under label_policy 'fnw', got 'window'"):
            join(log, POLICIES["fnw"])


def test_a_partition_whose_clock_is_an_hour_ahead_changes_nothing_in_the_others() -> None:
    def joined(skew: int) -> list[tuple[str, int, int | None]]:
        with new_log(partitions=2) as log:
            for time in range(0, 60, 4):
                near, far = id_in(0, 2, f"{time}"), id_in(1, 2, f"far {time}")
                log.append([shown(near, time), shown(far, time + skew)])
                log.append([clicked(near, time + 3), clicked(far, time + 3 + skew)])
            log.append(end(log))
            join(log)
            return [(each.impression_id, each.time, each.clicked_at) for each in examples(log)[0]]

    assert joined(skew=HOUR // 10) == joined(skew=0)
    assert len(joined(skew=0)) == 15


def test_an_idle_partition_does_not_hold_the_others() -> None:
    with new_log(partitions=2) as log:
        log.append([shown(id_in(1, 2, "idle"), 1)])
        names = [id_in(0, 2, f"{time}") for time in range(0, 60, 4)]
        log.append([*(shown(name, 4 * number) for number, name in enumerate(names)), clicked(names[0], 3)])
        log.append([Message(topic, None, encode(Watermark(1_000)), partition=0) for topic in (TOPICS.impressions, TOPICS.clicks)])

        join(log)

        assert len(examples(log)[0]) == 15
        assert examples(log)[1] == []  # it waits for its own clicks, until it is noticed that it is idle


def test_records_out_of_order_and_sent_twice_give_the_examples_of_those_in_order() -> None:
    def joined(times: list[int], copies: int) -> list[tuple[str, int]]:
        with new_log() as log:
            log.append([shown(f"{time}", time) for time in times for _ in range(copies)])
            log.append([clicked(f"{time}", time + 1) for time in times if time % 2 for _ in range(copies)])
            log.append(end(log))
            join(log)
            return [(each.impression_id, each.label) for each in examples(log)[0]]

    in_order = list(range(30))
    swapped = [time for pair in pairwise([*range(0, 31, 2)]) for time in (pair[0] + 1, pair[0])]

    assert joined(swapped, copies=2) == joined(in_order, copies=1)


def test_an_impression_never_clicked_becomes_a_negative() -> None:
    with new_log() as log:
        log.append([shown("a", 1), *end(log)])

        join(log)

        assert [(each.label, each.clicked_at) for each in examples(log)[0]] == [(0, None)]


def test_tombstones_are_counted_by_what_they_did() -> None:
    registry = CollectorRegistry()
    forget = [Message(TOPICS.impressions, name, None) for name in (b"a", b"nobody's")]
    with new_log() as log:
        log.append([shown("a", 1), *forget, Message(TOPICS.impressions, b"b", encode(Impression("b", 2, {}))), *end(log)])

        join(log, registry=registry)

    assert registry.get_sample_value("sml_joiner_impressions_total", {"fate": "forgotten"}) == 1
    assert registry.get_sample_value("sml_joiner_oddities_total", {"kind": "vain_tombstone"}) == 1
