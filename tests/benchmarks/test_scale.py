"""The simulation gives what was measured on one machine before it is believed for more; the plan's arithmetic is the page's."""

import numpy as np
import pytest

from benchmarks.scale.costs import REQUEST
from benchmarks.scale.followers import Round, lags
from benchmarks.scale.simulate import Stage, arriving, joining, learning, most, piped, predicting, through

WITHIN = 0.2
FRESH = [("sqlite", 0.066, 0.113), ("kafka", 0.095, 0.150)]  # benchmarks/freshness/publish.md: median, 95 %
FROM_THE_JOINER = [
    ("sqlite", 1, 0.087, 0.137),
    ("kafka", 2, 0.150, 0.193),
]  # benchmarks/freshness/publish.md: a click; a heartbeat, which it joins twice


def test_a_queue_for_one_waits_as_long_as_the_formula_says() -> None:
    """M/D/1: the mean wait is service × ρ / (2 (1 - ρ)), by Pollaczek and Khinchine."""
    service, load = 0.01, 0.7

    passed = through([Stage("one", item=service, most=1)], arriving(load / service, 300))

    assert passed.latency.mean() - service == pytest.approx(service * load / (2 * (1 - load)), rel=0.1)
    assert passed.busy["one"] == pytest.approx(load, rel=0.02)


def test_a_stage_that_works_every_so_often_holds_each_up_for_half_of_that() -> None:
    passed = through([Stage("timer", every=0.1, batch=1e-9)], np.arange(0, 100, 0.001))

    assert passed.latency.mean() == pytest.approx(0.05, rel=0.02)
    assert through([Stage("two", item=0.001, most=1, copies=2)], np.arange(0, 1, 0.0006)).latency.max() < 0.0011


@pytest.mark.parametrize(("log", "median", "late"), FRESH)
def test_simulated_freshness_is_that_which_was_measured(log: str, median: float, late: float) -> None:
    passed = through(learning(log), arriving(2_000, 10))

    assert passed.percentile(50) == pytest.approx(median, rel=WITHIN)
    assert passed.percentile(95) == pytest.approx(late, rel=WITHIN)


@pytest.mark.parametrize(("log", "times", "median", "late"), FROM_THE_JOINER)
def test_simulated_freshness_through_the_joiner_is_that_which_was_measured(log: str, times: int, median: float, late: float) -> None:
    passed = through(joining(log, times), arriving(2_000, 10))

    assert passed.percentile(50) == pytest.approx(median, rel=WITHIN)
    assert passed.percentile(95) == pytest.approx(late, rel=WITHIN)


def test_simulated_throughput_of_a_learner_is_that_which_was_measured_by_the_clock() -> None:
    assert most(learning("kafka")[:1], 40_000, seconds=10) == pytest.approx(15_550, rel=WITHIN)


def test_all_processes_on_two_cores_serve_as_many_events_as_their_processor_time_allows() -> None:
    assert piped(2) == pytest.approx(11_000, rel=WITHIN)


def test_a_version_that_a_follower_passed_over_counts_from_when_it_served_a_later_one() -> None:
    quick, slow = [(1, 10.1), (2, 11.1), (3, 12.1)], [(1, 10.3), (3, 12.4)]

    first, last = lags(Round(10.0, 12.5, {}, 0.0, [quick, slow], 0), {0: 9.0, 1: 10.0, 2: 11.0, 3: 12.0, 4: 13.0})

    assert first == pytest.approx([0.1, 0.1, 0.1])
    assert last == pytest.approx([0.3, 1.4, 0.4])


def test_simulated_overload_sheds_as_much_and_answers_as_late_as_was_measured() -> None:
    passed = through(predicting(), arriving(2 / REQUEST, 10))

    assert passed.percentile(50) == pytest.approx(0.020, rel=WITHIN)
    assert 2 * (1 - passed.shed) == pytest.approx(0.90, rel=WITHIN)
