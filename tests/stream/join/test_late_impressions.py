"""An impression whose click can no longer count is no example, and which one that is follows from the log alone."""

from collections.abc import Sequence
from itertools import accumulate

import pytest
from hypothesis import given, settings, strategies as st

from stream.join.matching.immediate import ImmediateJoin
from stream.join.matching.input_state import ResumePoint
from stream.join.matching.window import Join
from stream.records.events import Click, Impression, Watermark
from tests.stream.join.joining import (
    END,
    LATENESS,
    WINDOW,
    ClickEvent,
    ImpressionEvent,
    Run,
    appended,
    click_streams,
    event_time,
    impression,
    impression_streams,
    steps,
)

SKEW = 5
FOREVER = 10**6  # an append time after everything


def window(impressions: ResumePoint, clicks: ResumePoint) -> Join:
    return Join(WINDOW, LATENESS, impressions, clicks, clock_skew=SKEW)


def fnw(impressions: ResumePoint, clicks: ResumePoint) -> Join:
    return ImmediateJoin("fnw", WINDOW, LATENESS, impressions, clicks, clock_skew=SKEW)


POLICIES = {"window": window, "fnw": fnw}


def late(impressions: Sequence[ImpressionEvent], clicks: Sequence[ClickEvent], written: tuple[list[int], list[int]]) -> list[int]:
    """Return the offsets of the impressions that came too late, from the definition."""
    streams = zip((impressions, clicks), written, strict=True)
    times = [[min(event_time(event), at) for event, at in zip(stream, ats, strict=True)] for stream, ats in streams]
    shown_before = [-1, *accumulate(times[0], max)]
    clicked_through = list(accumulate(times[1], max))
    found = []
    for offset, event in enumerate(impressions):
        if not isinstance(event, Impression):
            continue
        closes = event.time + WINDOW
        closing = next((k for k, through in enumerate(clicked_through) if through - LATENESS >= closes), None)
        by_click = (
            closing is not None
            and 0 <= written[1][closing] - times[1][closing] <= SKEW
            and max(written[1][: closing + 1]) < written[0][offset]
        )
        if by_click or shown_before[offset] - LATENESS > closes:
            found.append(offset)
    return found


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=300, deadline=None)
@given(impressions=impression_streams, clicks=click_streams, steps=steps, data=st.data())
def test_any_interleaving_any_cut_and_any_restart_set_aside_what_the_definition_does_and_join_the_rest(
    policy: str, impressions: list[ImpressionEvent], clicks: list[ClickEvent], steps: list[str], data: st.DataObject
) -> None:
    impressions = [Impression(f"{n}", max(0, event_time(event)), {}) for n, event in enumerate(impressions)]
    clicks = [Click(f"{n % 7}", click.time) if isinstance(click, Click) else click for n, click in enumerate(clicks)]
    written = ([*data.draw(appended(impressions)), FOREVER], [*data.draw(appended(clicks)), FOREVER])
    impressions, clicks = [*impressions, END], [*clicks, END]
    run = Run(impressions, clicks, POLICIES[policy], written)

    run.take(steps)
    examples = run.finish()

    wanted = late(impressions, clicks, written)
    assert sorted(run.late) == wanted
    joined = [int(example.impression_id) for example in examples if policy == "window" or example.label == 0]
    assert sorted(joined) == [n for n in range(len(impressions) - 1) if n not in wanted]


@pytest.mark.parametrize("policy", POLICIES)
def test_an_impression_written_after_a_click_has_closed_its_window_is_no_example(policy: str) -> None:
    impressions: list[ImpressionEvent] = [impression("slow", 0), impression("b", 40), END]
    clicks: list[ClickEvent] = [Click("b", 40), Click("slow", 1), END]

    run = Run(impressions, clicks, POLICIES[policy], ([41, 42, FOREVER], [40, 43, FOREVER]))

    assert "slow" not in [example.impression_id for example in run.finish()]
    assert run.late == [0]


@pytest.mark.parametrize("policy", POLICIES)
def test_one_written_before_that_is_judged_as_any_other(policy: str) -> None:
    run = Run([impression("slow", 0), END], [Click("b", 40), END], POLICIES[policy], ([40, FOREVER], [40, FOREVER]))

    assert [example.label for example in run.finish()] == [0]
    assert run.late == []


@pytest.mark.parametrize("policy", POLICIES)
def test_a_recorded_log_whose_clicks_were_written_first_is_joined_as_if_they_were_not(policy: str) -> None:
    recorded = ([impression(f"{time}", time) for time in range(0, 60, 20)], [Click(f"{time}", time + 1) for time in range(0, 60, 20)])
    years_later = ([9_000 + n for n in range(3)], [8_000 + n for n in range(3)])

    run = Run([*recorded[0], END], [*recorded[1], END], POLICIES[policy], ([*years_later[0], FOREVER], [*years_later[1], FOREVER]))

    assert [example.impression_id for example in run.finish() if example.label] == ["0", "20", "40"]
    assert run.late == []


@pytest.mark.parametrize("policy", POLICIES)
def test_a_clock_of_the_log_that_jumped_back_is_remembered_across_a_restart(policy: str) -> None:
    clicks: list[ClickEvent] = [Click("ahead", 0), Click("b", 40), END]
    run = Run([impression("b", 18), impression("slow", 20), END], clicks, POLICIES[policy], ([18, 60, FOREVER], [100, 40, FOREVER]))

    run.take(["impression", "click", "click", "decide", "restart"])

    assert [example.impression_id for example in run.finish()].count("slow") == 1
    assert run.late == []


def test_under_fnw_an_impression_written_long_after_its_time_waits_for_the_clicks_written_before_it() -> None:
    run = Run([impression("slow", 0)], [Click("b", 40), Watermark(41)], fnw, ([50], [40, 50]))
    run.impression()
    run.decide()
    assert (run.examples, run.late) == ([], [])

    run.click()
    run.decide()
    assert (run.examples, run.late) == ([], [])

    run.click()
    run.decide()
    assert (run.examples, run.late) == ([], [0])


def test_a_clock_that_is_ahead_makes_nobody_else_late() -> None:
    ahead = Run([impression("ahead", 59), impression("b", 20), END], [Click("b", 21), END], window, ([0, 20, FOREVER], [21, FOREVER]))

    assert [(example.impression_id, example.label) for example in ahead.finish()] == [("b", 1), ("ahead", 0)]
    assert ahead.late == []
