"""An example carries the value of its click and by which arm it was shown, and says if it is its impression's second."""

import pytest

from stream.join.matching.immediate import ImmediateJoin
from stream.join.matching.input_state import ResumePoint
from stream.join.matching.waiting import as_written
from stream.join.matching.window import Join
from stream.records.events import Click, Example, Impression, Served
from tests.stream.join.joining import END, LATENESS, WINDOW, Make, Run, window

ARM = Served(3, 0.25, "treatment", "sml", 0.5, "00000000000000ab")


def joined(make: Make, *clicks: Click, served: Served | None = ARM) -> list[Example]:
    return Run([Impression("a", 5, {}, served), END], [*clicks, END], make).finish()


def immediate(impressions: ResumePoint, clicks: ResumePoint) -> Join:
    return ImmediateJoin("fnc", WINDOW, LATENESS, impressions, clicks)


def learning_late(impressions: ResumePoint, clicks: ResumePoint) -> Join:
    return Join(WINDOW, LATENESS, impressions, clicks, learn_late=True)


def test_the_value_is_that_of_the_first_click_that_counts() -> None:
    (example,) = joined(window, Click("a", 7, 2.5), Click("a", 8, 9.0))

    assert (example.value, example.served) == (2.5, ARM)


def test_without_waiting_the_positive_has_the_value_and_both_have_the_arm() -> None:
    first, second = joined(immediate, Click("a", 7, 2.5))

    assert (first.label, first.value, first.served) == (0, None, ARM)
    assert (second.label, second.value, second.served) == (1, 2.5, ARM)


@pytest.mark.parametrize("served", [None, Served(3, 0.25)])
def test_nothing_is_written_where_no_arm_is_named(served: Served | None) -> None:
    assert as_written(joined(window, served=served)[0]).served is None
    assert as_written(joined(window)[0]).served == ARM


def test_the_extra_example_of_a_late_click_says_that_it_is_one() -> None:
    assert [(each.label, each.late) for each in joined(learning_late, Click("a", 5 + WINDOW + 1, 1.0))] == [(0, False), (1, True)]
