"""A click that comes after its window becomes an extra example, if that is wished: once, and at the same place in every run."""

from collections.abc import Sequence

from hypothesis import given, settings

from stream.join.matching.input_state import ResumePoint
from stream.join.matching.window import Join
from stream.records.events import Click, Watermark
from tests.stream.join.joining import (
    END,
    LATENESS,
    WINDOW,
    ClickEvent,
    ImpressionEvent,
    Run,
    click_streams,
    impression,
    impression_streams,
    seen,
    steps,
)
from tests.stream.join.matching.test_window import in_time, longhand


def learning(impressions: ResumePoint, clicks: ResumePoint) -> Join:
    return Join(WINDOW, LATENESS, impressions, clicks, learn_late=True)


def late_longhand(impressions: Sequence[ImpressionEvent], clicks: Sequence[ClickEvent]) -> list[tuple[int, int, str, int | None]]:
    """Add to what is decided, as (due, offset, id, clicked_at), the extra examples of those that were not clicked in time."""
    end = min(seen(impressions), seen(clicks)) - LATENESS - WINDOW
    decided = longhand(impressions, clicks)
    extra = []
    for order, offset, name, clicked_at in decided:
        closes = impressions[offset].time + 2 * WINDOW  # type: ignore[union-attr]
        late = in_time(clicks, name, closes, order)
        if clicked_at is None and late and order + WINDOW <= end:
            extra.append((order + WINDOW, offset, name, late[0]))
    return sorted([*decided, *extra], key=lambda each: each[:2])


@settings(max_examples=300, deadline=None)
@given(impression_streams, click_streams, steps)
def test_any_interleaving_any_cut_and_any_restart_give_what_the_definitions_give(
    impressions: list[ImpressionEvent], clicks: list[ClickEvent], steps: list[str]
) -> None:
    run = Run([*impressions, Watermark(60)], [*clicks, Watermark(60)], learning)

    run.take(steps)
    examples = run.finish()

    expected = late_longhand(run.impressions, run.clicks)
    assert [(each.impression_id, each.clicked_at) for each in examples] == [(name, clicked_at) for _, _, name, clicked_at in expected]


def test_a_click_after_its_window_becomes_a_positive_after_the_negative() -> None:
    run = Run([impression("a", 0), END], [Click("a", WINDOW + 1), END], learning)

    assert [(each.label, each.clicked_at) for each in run.finish()] == [(0, None), (1, WINDOW + 1)]
    assert run.join.counts["click", "late"] == 1
    assert run.join.counts["anomaly", "late_click_learned"] == 1


def test_only_the_first_late_click_does_and_none_after_a_click_in_time() -> None:
    twice = Run([impression("a", 0), END], [Click("a", WINDOW + 1), Click("a", WINDOW + 2), END], learning)
    in_time = Run([impression("a", 0), END], [Click("a", 1), Click("a", WINDOW + 2), END], learning)

    assert [each.label for each in twice.finish()] == [0, 1]
    assert [each.label for each in in_time.finish()] == [1]


def test_a_click_later_than_twice_the_window_is_dropped() -> None:
    run = Run([impression("a", 0), END], [Click("a", 2 * WINDOW + 1), END], learning)

    assert [each.label for each in run.finish()] == [0]


def test_late_clicks_are_dropped_unless_asked_for() -> None:
    run = Run([impression("a", 0), END], [Click("a", WINDOW + 1), END])

    assert [each.label for each in run.finish()] == [0]
