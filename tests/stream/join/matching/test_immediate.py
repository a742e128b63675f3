"""Under ``fnw`` and ``fnc`` nothing waits: a negative at once, a positive with its click, in an order that follows from the two streams."""

import itertools
from collections.abc import Sequence

from hypothesis import given, settings

from stream.join.matching.immediate import ImmediateJoin
from stream.join.matching.input_state import ResumePoint
from stream.join.matching.window import Join
from stream.records.events import Click, Example, Impression, Watermark
from tests.stream.join.joining import (
    END,
    LATENESS,
    WINDOW,
    ClickEvent,
    ImpressionEvent,
    Run,
    click_streams,
    event_time,
    impression,
    impression_streams,
    seen,
    steps,
)


def immediate(impressions: ResumePoint, clicks: ResumePoint) -> Join:
    return ImmediateJoin("fnw", WINDOW, LATENESS, impressions, clicks)


def joined(impressions: Sequence[ImpressionEvent], clicks: Sequence[ClickEvent]) -> list[tuple[str, int, int]]:
    """Join, to the end, into (id, time, label)."""
    return [(each.impression_id, each.time, each.label) for each in Run([*impressions, END], [*clicks, END], immediate).finish()]


def turns(impressions: Sequence[ImpressionEvent], clicks: Sequence[ClickEvent]) -> tuple[dict[int, int], dict[int, int]]:
    """Return when each record of both streams has its turn: the next is always of the stream whose time is behind."""
    shown_at: dict[int, int] = {}
    clicked_at: dict[int, int] = {}
    for turn in itertools.count():
        shown_next = seen(impressions[: len(shown_at)]) <= seen(clicks[: len(clicked_at)])
        taken, stream = (shown_at, impressions) if shown_next else (clicked_at, clicks)
        if len(taken) == len(stream):
            return shown_at, clicked_at
        taken[len(taken)] = turn
    raise AssertionError


def longhand(impressions: Sequence[ImpressionEvent], clicks: Sequence[ClickEvent]) -> list[tuple[str, int, int | None]]:
    """Make every example from the definitions, as (id, offset, clicked_at), by comparing every record with every other."""
    shown_at, clicked_at = turns(impressions, clicks)
    orders = {o: event_time(impressions[o]) for o in shown_at if event_time(impressions[o]) + WINDOW >= seen(impressions[:o]) - LATENESS}
    made: list[tuple[int, int, str, int, int | None]] = []
    for offset, turn in shown_at.items():
        record = impressions[offset]
        if not isinstance(record, Impression) or offset not in orders:
            continue
        name, closes, order = record.impression_id, record.time + WINDOW, orders[offset]
        earlier = [o for o in orders if o < offset and isinstance(impressions[o], Impression) and impressions[o].impression_id == name]  # type: ignore[union-attr]
        if any(order - orders[o] <= WINDOW + LATENESS for o in earlier):
            continue
        made.append((turn, 0, name, offset, None))
        forgotten = [t for o, t in shown_at.items() if o > offset and impressions[o] == name and seen(impressions[:o]) - LATENESS < closes]
        counted = [
            (at, click.time)
            for offset, at in clicked_at.items()
            if isinstance(click := clicks[offset], Click)
            and click.impression_id == name
            and click.time <= closes
            and seen(clicks[: offset + 1]) - LATENESS < closes
            and order <= click.time + LATENESS
        ]
        if counted and all(max(turn, counted[0][0]) < tombstone for tombstone in forgotten):
            made.append((max(turn, counted[0][0]), 1, name, offset, counted[0][1]))
    return [(name, offset, clicked) for _, _, name, offset, clicked in sorted(made, key=lambda each: each[:2])]


@settings(max_examples=300, deadline=None)
@given(impression_streams, click_streams, steps)
def test_any_interleaving_any_cut_and_any_restart_give_what_the_definitions_give(
    impressions: list[ImpressionEvent], clicks: list[ClickEvent], steps: list[str]
) -> None:
    run = Run(impressions, clicks, immediate)

    run.take(steps)
    examples = run.finish()

    expected = [(name, event_time(impressions[offset]), clicked_at) for name, offset, clicked_at in longhand(impressions, clicks)]
    assert [(each.impression_id, each.time, each.clicked_at) for each in examples] == expected
    assert all(each.label == (each.clicked_at is not None) for each in examples)


def test_an_impression_is_a_negative_at_once_and_a_positive_when_its_click_comes() -> None:
    assert joined([impression("a", 0), impression("b", 5)], [Click("a", 3)]) == [("a", 0, 0), ("a", 0, 1), ("b", 5, 0)]


def test_a_negative_comes_out_without_waiting_for_the_window() -> None:
    run = Run([impression("a", 0)], [], immediate)
    run.impression()

    run.decide()

    assert [example.label for example in run.examples] == [0]


def test_the_input_that_has_come_further_waits_for_the_other_and_impressions_go_first() -> None:
    run = Run([impression("a", 5), impression("b", 6)], [Watermark(5), Watermark(6)], immediate)
    run.impression()
    run.impression()

    run.decide()
    assert len(run.examples) == 1
    assert run.join.waiting == 2

    run.click()
    run.decide()
    assert len(run.examples) == 2


def test_a_click_before_its_impression_waits_for_it() -> None:
    assert joined([impression("a", 5)], [Click("a", 4)]) == [("a", 5, 0), ("a", 5, 1)]


def test_a_second_click_and_a_late_click_make_no_example() -> None:
    run = Run([impression("a", 0), END], [Click("a", 5), Click("a", 6), Click("a", WINDOW + 1), END], immediate)

    assert [example.label for example in run.finish()] == [0, 1]
    assert run.join.counts["click", "duplicate"] == 1
    assert run.join.counts["click", "late"] == 1


def test_an_impression_that_is_forgotten_makes_no_positive_any_more() -> None:
    run = Run([impression("a", 0), "a", END], [Watermark(2), Click("a", 3), END], immediate)

    assert [example.label for example in run.finish()] == [0]
    assert run.join.counts["impression", "forgotten"] == 1


def test_only_fnw_asks_the_learner_to_weigh_its_examples() -> None:
    def policies(policy: str) -> set[str | None]:
        run = Run([impression("a", 0), END], [Click("a", 1), END], lambda *points: ImmediateJoin(policy, WINDOW, LATENESS, *points))  # type: ignore[arg-type]
        return {example.policy for example in run.finish()}

    assert policies("fnw") == {"fnw"}
    assert policies("fnc") == {None}


def test_a_note_is_far_below_what_kafka_keeps_beside_an_offset() -> None:
    run = Run([impression(f"{time}", 10**14 + time) for time in range(2_000)], [Watermark(10**14)], immediate)
    run.finish()

    points: list[Example | ResumePoint] = [*run.join.resume_points(2_000, 1)]

    assert max(len(str(point)) for point in points) < 300
