"""The join is a pure function of the two streams: the same examples, in the same order, however it is read, cut and restarted."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings

from stream.join.matching.input_state import ResumePoint
from stream.records.events import Click, Impression, Watermark
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


def joined(impressions: Sequence[ImpressionEvent], clicks: Sequence[ClickEvent]) -> list[tuple[str, int, int]]:
    """Join, to the end, into (id, time, label)."""
    return [(each.impression_id, each.time, each.label) for each in Run([*impressions, END], [*clicks, END]).finish()]


def in_time(clicks: Sequence[ClickEvent], name: str, closes: int, order: int) -> list[int]:
    """Return the times of the clicks on ``name`` that count for a window that ends at ``closes``: see (a), (b) and (c) of ``Join``."""
    return [
        click.time
        for offset, click in enumerate(clicks)
        if isinstance(click, Click)
        and click.impression_id == name
        and click.time <= closes
        and seen(clicks[: offset + 1]) - LATENESS < closes
        and order <= click.time + LATENESS
    ]


def longhand(impressions: Sequence[ImpressionEvent], clicks: Sequence[ClickEvent]) -> list[tuple[int, int, str, int | None]]:
    """Decide everything from the definitions: (time, offset, id, clicked_at), by comparing every record with every other."""
    orders = {
        offset: record.time
        for offset, record in enumerate(impressions)
        if isinstance(record, Impression) and seen(impressions[:offset]) - LATENESS <= record.time + WINDOW
    }
    end = min(seen(impressions), seen(clicks)) - LATENESS - WINDOW
    decided = []
    for offset, order in orders.items():
        record = impressions[offset]
        assert isinstance(record, Impression)
        name, closes = record.impression_id, record.time + WINDOW
        same = [earlier for earlier in orders if earlier < offset and impressions[earlier].impression_id == name]  # type: ignore[union-attr]
        duplicate = any(order - orders[earlier] <= WINDOW + LATENESS for earlier in same)
        forgotten = any(
            impressions[later] == name and seen(impressions[:later]) - LATENESS < closes for later in range(offset, len(impressions))
        )
        counted = in_time(clicks, name, closes, order)
        if order <= end and not duplicate and not forgotten:
            decided.append((order, offset, name, counted[0] if counted else None))
    return sorted(decided)


@settings(max_examples=300, deadline=None)
@given(impression_streams, click_streams, steps)
def test_any_interleaving_any_cut_and_any_restart_give_what_the_definitions_give(
    impressions: list[ImpressionEvent], clicks: list[ClickEvent], steps: list[str]
) -> None:
    run = Run(impressions, clicks)

    run.take(steps)
    examples = run.finish()

    expected = longhand(impressions, clicks)
    assert [(each.impression_id, each.clicked_at) for each in examples] == [(name, clicked_at) for _, _, name, clicked_at in expected]
    assert all(each.label == (each.clicked_at is not None) for each in examples)


@given(impression_streams, click_streams)
def test_every_record_has_one_fate(impressions: list[ImpressionEvent], clicks: list[ClickEvent]) -> None:
    run = Run(impressions, [*clicks, END])

    run.finish()
    counts = run.join.counts

    settled = sum(number for (what, *_), number in counts.items() if what == "impression")
    assert settled + len(run.late) + run.join.waiting == sum(isinstance(record, Impression) for record in impressions)
    assert counts["click", "counted"] <= counts["impression", "decided"] + counts["impression", "forgotten"] + run.join.waiting


def test_a_click_within_its_window_makes_a_positive_and_its_absence_a_negative() -> None:
    assert joined([impression("a", 0), impression("b", 1)], [Click("b", 11)]) == [("a", 0, 0), ("b", 1, 1)]


def test_a_click_after_its_window_does_not_count() -> None:
    run = Run([impression("a", 0), END], [Click("a", 11), END])

    (example,) = run.finish()

    assert example.label == 0
    assert run.join.counts["click", "late"] == 1


def test_a_click_whose_record_comes_after_the_watermark_has_closed_the_window_does_not_count() -> None:
    closing = WINDOW + LATENESS

    assert joined([impression("a", 0)], [Watermark(closing), Click("a", 5)]) == [("a", 0, 0)]
    assert joined([impression("a", 0)], [Watermark(closing - 1), Click("a", 5)]) == [("a", 0, 1)]


def test_a_click_before_its_impression_counts_and_is_noted() -> None:
    run = Run([impression("a", 5), END], [Click("a", 4), END])

    (example,) = run.finish()

    assert (example.label, example.clicked_at) == (1, 4)
    assert run.join.counts["anomaly", "early_click"] == 1


def test_of_two_clicks_the_first_in_the_log_counts_and_the_second_is_a_duplicate() -> None:
    run = Run([impression("a", 0), END], [Click("a", 5), Click("a", 3), END])

    (example,) = run.finish()

    assert example.clicked_at == 5
    assert run.join.counts["click", "duplicate"] == 1


def test_a_click_without_an_impression_is_an_orphan() -> None:
    run = Run([impression("a", 0), END], [Click("nobody's", 1), END])

    run.finish()

    assert run.join.counts["click", "orphan"] == 1


def test_an_impression_sent_twice_is_one_example() -> None:
    run = Run([impression("a", 0), impression("a", 0), impression("a", 2), END], [END])

    assert len(run.finish()) == 1
    assert run.join.counts["impression", "duplicate"] == 2


def test_an_id_used_again_after_the_horizon_is_a_new_impression_with_its_own_clicks() -> None:
    again = WINDOW + LATENESS + 1

    assert joined([impression("a", 0), impression("a", again)], [Click("a", again + 1)]) == [("a", 0, 0), ("a", again, 1)]


def test_an_impression_that_comes_when_its_window_is_closed_is_set_aside_clicked_or_not() -> None:
    run = Run([impression("a", 50), impression("late", 0), impression("clicked late", 0), END], [Click("clicked late", 1), END])

    examples = run.finish()

    assert [example.impression_id for example in examples] == ["a"]
    assert run.late == [1, 2]
    assert run.join.counts["late_event", "impressions", ""] == 2


def test_an_impression_that_is_late_but_within_its_window_is_judged_as_any_other() -> None:
    in_time = 50 - LATENESS - WINDOW

    assert joined([impression("b", 50), impression("a", in_time)], [Click("a", in_time + 1)]) == [("a", in_time, 1), ("b", 50, 0)]


def test_a_tombstone_forgets_an_impression_that_waits() -> None:
    run = Run([impression("a", 0), impression("b", 0), "a", END], [Click("a", 1), END])

    assert [example.impression_id for example in run.finish()] == ["b"]
    assert run.join.counts["impression", "forgotten"] == 1


def test_a_tombstone_after_the_window_is_in_vain() -> None:
    run = Run([impression("a", 0), Watermark(WINDOW + LATENESS), "a", END], [END])

    assert len(run.finish()) == 1
    assert run.join.counts["anomaly", "vain_tombstone"] == 1


def test_nothing_is_decided_before_both_inputs_have_come_so_far() -> None:
    run = Run([impression("a", 0), END], [Watermark(WINDOW + LATENESS - 1), Watermark(WINDOW + LATENESS)])
    run.impression()
    run.impression()
    run.click()

    run.decide()
    assert run.examples == []

    run.click()
    run.decide()
    assert len(run.examples) == 1


def test_equal_times_keep_the_order_of_the_log() -> None:
    names = [f"{number}" for number in range(50)]

    assert [name for name, _, _ in joined([impression(name, 7) for name in names], [])] == names


def test_a_restart_reads_again_only_what_may_still_matter() -> None:
    run = Run([impression(f"{time}", time) for time in range(1_000)], [Click(f"{time}", time) for time in range(1_000)])
    run.finish()

    impressions, clicks = run.join.resume_points(1_000, 1_000)

    decided = 999 - LATENESS - WINDOW
    assert impressions == ResumePoint(decided - WINDOW - LATENESS, decided - WINDOW - LATENESS - 1, run.join.cursor)
    assert clicks.rewind == decided - LATENESS


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_however_few_examples_are_taken_at_once_they_are_the_same(limit: int) -> None:
    run = Run([impression(f"{time}", time // 3) for time in range(60)] + [END], [END])
    for _ in run.impressions:
        run.impression()
    run.click()

    for _ in range(60):
        run.decide(limit)

    assert [example.impression_id for example in run.examples] == [f"{number}" for number in range(60)]
