"""What the processes of ``sml up`` do not use, as lines for its screen: their counters, looked at every few seconds.

What rises is told at the next look, then once a minute at most. Records that are set aside are always told, whatever the reason;
clicks that came to nothing only where they are more than one in a hundred, for a few are part of every stream.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeAlias

import httpx
from prometheus_client.parser import text_string_to_metric_families

LOOK_EVERY = 5.0  # seconds
TELL_EVERY = 55.0  # seconds, so that nothing waits for more than a minute
FEW = 0.01  # of the clicks

MEANINGS = {
    "future_time": "later than their append time",
    "late_impression": "impressions whose window was closed before they came",
    "misrouted": "in another partition than their impression's",
    "time_unit": "with a time in seconds",
    "FutureTimeError": "later than their append time",  # as the learner names them
    "TimeUnitError": "with a time in seconds",
    "WeightError": "heavier than max_weight",
}

Labels: TypeAlias = tuple[str, ...]  # the values, in the order of the labels' names
Counts: TypeAlias = Mapping[tuple[str, Labels], float]  # of counters, by their names and labels


class Told(NamedTuple):
    """Counters that are told together, in one line."""

    begins: str
    names: tuple[str, ...]
    form: str  # of the labels
    only: Callable[[Labels], bool] = lambda _: True
    ends: str = ""
    share_of: str | None = None  # where only more than a few of these are told


CLICKS = "sml_joiner_clicks_total"
LATE = "sml_joiner_late_events_total"
DEAD_LETTERS = ("sml_joiner_dead_letters_total", "sml_learner_dead_letters_total")
LINES = (
    Told("set aside", DEAD_LETTERS, "for {}", ends="; `sml dead-letters list` shows them"),
    Told("late", (LATE,), "{} from {}", lambda labels: labels[0] != "clicks"),
    Told("late", (LATE,), "{} from {}", lambda labels: labels[0] == "clicks", share_of=CLICKS),
    Told("without effect", (CLICKS,), "{} clicks", lambda labels: labels[0] in {"late", "orphan"}, share_of=CLICKS),
    Told("odd", ("sml_joiner_oddities_total",), "{}", lambda labels: labels[0] not in {"early_click", "late_click_learned"}),
    Told(
        "refused",
        ("sml_server_requests_total",),
        "requests to {} (status {})",
        lambda labels: labels[0].startswith("/v1/") and labels[1] in {"413", "422"},
        ends="; their answers say why",
    ),
)


class Watch:
    """Compares what the counters say with what was told last.

    Args:
        read: Gives the counters, as far as they can be had.
        clock: Seconds.
    """

    def __init__(self, read: Callable[[], Counts], clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with counters at 0, as those of processes that have just begun are."""
        self._read, self._clock = read, clock
        self._told: dict[tuple[str, Labels], float] = {}  # the counters, as they were when all was told
        self._quiet = self._looked = clock()  # when all that had risen was told
        self._told_at = -TELL_EVERY

    def look(self) -> list[str]:
        """Look, if it is time, and give the lines that are to be told now."""
        now = self._clock()
        if now - self._looked < LOOK_EVERY:
            return []
        self._looked, counts = now, self._read()
        risen = {key: value - self._told.get(key, 0.0) for key, value in counts.items() if value > self._told.get(key, 0.0)}
        lines = [line for each in LINES if (line := _line(each, risen, now - self._quiet))]
        if lines and now - self._told_at < TELL_EVERY:
            return []  # told with what comes until then
        self._told |= counts
        self._quiet = now
        self._told_at = now if lines else self._told_at
        return lines


def counters(client: httpx.Client, addresses: Iterable[str]) -> Counts:
    """Read the counters of the processes at ``addresses``; one that does not answer, or not with metrics, has none."""
    counts: dict[tuple[str, Labels], float] = {}
    for address in addresses:
        try:
            families = list(text_string_to_metric_families(client.get(address).raise_for_status().text))
        except (httpx.HTTPError, ValueError):  # it is away, or somebody else listens there
            continue
        for family in families:
            if family.type == "counter":
                counts |= {(each.name, tuple(value for _, value in sorted(each.labels.items()))): each.value for each in family.samples}
    return counts


def _line(told: Told, risen: Mapping[tuple[str, Labels], float], seconds: float) -> str | None:
    """Return the line about what has risen, the most first; None if nothing has, or too little to tell."""
    found: dict[str, float] = defaultdict(float)
    for (name, labels), number in risen.items():
        if name in told.names and told.only(labels):
            found[_named(told.form, labels)] += number
    if sum(found.values()) <= FEW * sum(number for (name, _), number in risen.items() if name == told.share_of):
        return None
    parts = (f"{number:,.0f} {what}" for what, number in sorted(found.items(), key=lambda part: -part[1]))
    last = "minute" if seconds > TELL_EVERY - LOOK_EVERY else f"{seconds:.0f} s"
    return f"{told.begins} in the last {last}: {', '.join(parts)}{told.ends}"


def _named(form: str, labels: Labels) -> str:
    meaning = MEANINGS.get(labels[0])
    return f"{meaning} ({labels[0]})" if meaning else form.format(*(_printable(label) or "an unnamed source" for label in labels))


def _printable(label: str) -> str:
    """Keep a terminal from obeying what a record calls its source."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in label)
