"""The screen of `sml up` shows within a minute what is set aside, and why; and nothing else."""

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest

from service.up.watch import READ_EVERY, Watch, counters

DEAD = "sml_joiner_dead_letters_total"
CLICKS = "sml_joiner_clicks_total"


class Processes:
    """Counters and a clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.counts: dict[tuple[str, tuple[str, ...]], float] = {}
        self.watch = Watch(lambda: dict(self.counts), lambda: self.now)

    def add(self, number: float, name: str, *labels: str) -> None:
        """Increase a counter."""
        self.counts[name, labels] = self.counts.get((name, labels), 0) + number

    def after(self, seconds: float) -> list[str]:
        """Advance the time, looking several times a second as `sml up` does; return the lines."""
        lines = []
        for _ in range(round(seconds * 4)):
            self.now += 0.25
            lines += self.watch.new_lines()
        return lines


@pytest.fixture
def processes() -> Processes:
    return Processes()


def test_what_is_set_aside_is_told_within_seconds_with_its_reason_and_what_shows_it(processes: Processes) -> None:
    processes.after(300)
    processes.add(12, DEAD, "future_time")
    processes.add(2, "sml_learner_dead_letters_total", "FeatureError")

    (line,) = processes.after(READ_EVERY)

    assert line == (
        "set aside in the last 5 s: 12 later than their append time (future_time), 2 for FeatureError; `sml dead-letters list` shows them"
    )


def test_a_reason_that_nobody_has_heard_of_is_told_as_it_is(processes: Processes) -> None:
    processes.add(1, DEAD, "quux")

    assert "1 for quux" in processes.after(READ_EVERY)[0]


def test_versions_that_are_held_are_told_with_the_check_that_holds_them(processes: Processes) -> None:
    processes.add(4, "sml_learner_held_versions_total", "golden")

    (line,) = processes.after(READ_EVERY)

    assert line == "held in the last 5 s: 4 versions of the weights for golden; `GET /v1/model` and the learner's log say why"


def test_what_goes_on_is_told_once_a_minute_and_nothing_is_left_out(processes: Processes) -> None:
    lines = []
    for _ in range(300):
        processes.add(1, DEAD, "time")
        lines += processes.after(1)
    lines += processes.after(60)

    reported = [int(line.partition(": ")[2].split()[0]) for line in lines]
    assert sum(reported) == 300
    assert len(lines) == 7
    assert "in the last minute: 55 for time" in lines[1]


def test_nothing_waits_for_more_than_a_minute(processes: Processes) -> None:
    processes.add(1, DEAD, "time")
    assert processes.after(READ_EVERY)
    processes.add(1, DEAD, "features")

    assert "features" in processes.after(60)[0]


def test_nothing_is_told_twice_nor_when_nothing_rises(processes: Processes) -> None:
    processes.add(5, DEAD, "time")
    processes.add(1_000, "sml_joiner_records_total", "sml.impressions")

    assert len(processes.after(READ_EVERY)) == 1
    assert processes.after(600) == []


def test_late_events_are_told_by_input_and_source(processes: Processes) -> None:
    processes.add(7, "sml_joiner_late_events_total", "impressions", "web-3")
    processes.add(1, "sml_joiner_late_events_total", "impressions", "")

    assert processes.after(READ_EVERY) == ["late in the last 5 s: 7 impressions from web-3, 1 impressions from an unnamed source"]


def test_a_terminal_does_not_obey_what_a_source_calls_itself(processes: Processes) -> None:
    processes.add(10, "sml_joiner_late_events_total", "impressions", "\x1b[2J\nall is well {} Zürich")

    (line,) = processes.after(READ_EVERY)

    assert line.isprintable()
    assert line.endswith("all is well {} Zürich")


def test_a_few_clicks_without_effect_are_part_of_every_stream_and_many_are_not(processes: Processes) -> None:
    processes.add(995, CLICKS, "counted")
    processes.add(5, CLICKS, "late")
    few = processes.after(READ_EVERY)
    processes.add(100, CLICKS, "counted")
    processes.add(60, CLICKS, "orphan")
    many = processes.after(READ_EVERY)

    assert few == []
    assert many == ["without effect in the last 5 s: 60 orphan clicks"]


def test_what_the_server_refuses_is_told_and_what_it_answers_is_not(processes: Processes) -> None:
    for route, status in (("/v1/clicks", "422"), ("/v1/predict", "200"), ("/readyz", "503"), ("none", "404")):
        processes.add(3, "sml_server_requests_total", route, status)

    assert processes.after(READ_EVERY) == ["refused in the last 5 s: 3 requests to /v1/clicks (status 422); their answers say why"]


def test_counters_are_read_from_the_processes_that_answer() -> None:
    registry = CollectorRegistry()
    Counter("sml_joiner_late_events", "…", ["source", "input"], registry=registry).labels("web", "clicks").inc(3)

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.port == 1:
            raise httpx.ConnectError("nobody listens")
        if request.url.port == 3:
            return httpx.Response(200, text="<html>somebody else does</html>")
        return httpx.Response(200, content=generate_latest(registry))

    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        counts = counters(client, [f"http://host:{port}/metrics" for port in (1, 2, 3)])

    assert counts == {("sml_joiner_late_events_total", ("clicks", "web")): 3}
