"""Report on the screen of ``sml up`` what its processes do not use, from their counters, which are read every few seconds.

A rise is reported at the next reading, then at most once a minute. Records that are set aside are always reported, whatever the reason;
clicks without effect only if they are more than one in a hundred, for a few are part of every stream.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeAlias

import httpx
from prometheus_client.parser import text_string_to_metric_families

from service.telemetry.log_lines import printable

READ_EVERY = 5.0  # seconds
REPORT_EVERY = 55.0  # seconds, so that nothing waits for more than a minute
NEGLIGIBLE = 0.01  # of the clicks

REASONS = {
    "future_time": "later than their append time",
    "late_impression": "impressions whose window was closed before they came",
    "misrouted": "in another partition than their impression's",
    "time_unit": "with a time in seconds",
    "FutureTimeError": "later than their append time",  # the learner's names
    "TimeUnitError": "with a time in seconds",
    "WeightError": "heavier than max_weight",
}

Labels: TypeAlias = tuple[str, ...]  # the values, in the order of the labels' names
Counts: TypeAlias = Mapping[tuple[str, Labels], float]  # of counters, by their names and labels


class Line(NamedTuple):
    """Counters that are reported together, in one line."""

    start: str
    counters: tuple[str, ...]
    label_form: str
    takes: Callable[[Labels], bool] = lambda _: True
    end: str = ""
    share_of: str | None = None  # report only what is more than a negligible share of this counter


CLICKS = "sml_joiner_clicks_total"
LATE = "sml_joiner_late_events_total"
DEAD_LETTERS = ("sml_joiner_dead_letters_total", "sml_learner_dead_letters_total")
EXPECTED = {"early_click", "late_click_learned", "foreign_heartbeat"}  # a joiner that was restarted finds one of the joiner before it
LINES = (
    Line("set aside", DEAD_LETTERS, "for {}", end="; `sml dead-letters list` shows them"),
    Line("late", (LATE,), "{} from {}", lambda labels: labels[0] != "clicks"),
    Line("late", (LATE,), "{} from {}", lambda labels: labels[0] == "clicks", share_of=CLICKS),
    Line("without effect", (CLICKS,), "{} clicks", lambda labels: labels[0] in {"late", "orphan"}, share_of=CLICKS),
    Line(
        "held",
        ("sml_learner_held_versions_total",),
        "versions of the weights for {}",
        end="; `GET /v1/model` and the learner's log say why",
    ),
    Line("odd", ("sml_joiner_oddities_total",), "{}", lambda labels: labels[0] not in EXPECTED),
    Line(
        "refused",
        ("sml_server_requests_total",),
        "requests to {} (status {})",
        lambda labels: labels[0].startswith("/v1/") and labels[1] in {"413", "422"},
        end="; their answers say why",
    ),
)


class Watch:
    """Compares the counters with what was reported last.

    Args:
        read: Returns the counters, as far as the processes answer.
        clock: Seconds.
    """

    def __init__(self, read: Callable[[], Counts], clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with counters at 0, where those of a new process are."""
        self._read, self._clock = read, clock
        self._reported: dict[tuple[str, Labels], float] = {}  # the counters at the last reading after which nothing was left to report
        self._reported_until = self._read_at = clock()  # when that reading was; when the last reading was
        self._last_line_at = -REPORT_EVERY

    def new_lines(self) -> list[str]:
        """Read the counters, if it is time, and return the lines to print now."""
        now = self._clock()
        if now - self._read_at < READ_EVERY:
            return []
        self._read_at, counts = now, self._read()
        risen = {key: value - self._reported.get(key, 0.0) for key, value in counts.items() if value > self._reported.get(key, 0.0)}
        lines = [text for line in LINES if (text := _text(line, risen, now - self._reported_until))]
        if lines and now - self._last_line_at < REPORT_EVERY:
            return []  # reported with what comes until then
        self._reported |= counts
        self._reported_until = now
        self._last_line_at = now if lines else self._last_line_at
        return lines


def counters(client: httpx.Client, addresses: Iterable[str]) -> Counts:
    """Read the counters of the processes at ``addresses``; one that does not answer, or not with metrics, has none."""
    counts: dict[tuple[str, Labels], float] = {}
    for address in addresses:
        try:
            families = list(text_string_to_metric_families(client.get(address).raise_for_status().text))
        except (httpx.HTTPError, ValueError):  # it is away, or another program listens there
            continue
        for family in families:
            if family.type == "counter":
                for each in family.samples:
                    key = (each.name, tuple(value for _, value in sorted(each.labels.items())))
                    counts[key] = counts.get(key, 0.0) + each.value  # two arms have a learner each
    return counts


def _text(line: Line, risen: Mapping[tuple[str, Labels], float], seconds: float) -> str | None:
    """Return the line about what has risen, the most first; None if nothing has, or too little."""
    found: dict[str, float] = defaultdict(float)
    for (name, labels), number in risen.items():
        if name in line.counters and line.takes(labels):
            found[_named(line.label_form, labels)] += number
    if sum(found.values()) <= NEGLIGIBLE * sum(number for (name, _), number in risen.items() if name == line.share_of):
        return None
    parts = (f"{number:,.0f} {what}" for what, number in sorted(found.items(), key=lambda part: -part[1]))
    last = "minute" if seconds > REPORT_EVERY - READ_EVERY else f"{seconds:.0f} s"
    return f"{line.start} in the last {last}: {', '.join(parts)}{line.end}"


def _named(label_form: str, labels: Labels) -> str:
    reason = REASONS.get(labels[0])
    return f"{reason} ({labels[0]})" if reason else label_form.format(*(printable(label) or "an unnamed source" for label in labels))
