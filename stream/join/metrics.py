"""The joiner's metrics: what went through it and what waits in it.

Counters count what is committed, so a record that is read again after a failure is counted once.
"""

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from stream.records.events import Example

PROBABILITIES = (  # bounds of twenty buckets, closer where click rates are
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15),
    *(0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
)
SOURCES = 20  # late events are counted by so many sources; those of all others together


class JoinerMetrics:
    """The joiner's metrics, in a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(noun: str, text: str, *labels: str) -> Counter:
            return Counter(f"sml_joiner_{noun}", text, labels, registry=registry)

        self._counters = {
            "record": counter("records", "Records read.", "topic"),
            "example": counter("examples", "Examples written.", "label"),
            "impression": counter("impressions", "Impressions settled: decided, duplicate or forgotten.", "fate"),
            "click": counter("clicks", "Clicks settled: counted, duplicate, late or orphan.", "fate"),
            "anomaly": counter(
                "oddities",
                "Early clicks, tombstones in vain, late clicks learned, others' heartbeats, events of [input] passed over.",
                "kind",
            ),
            "dead_letter": counter("dead_letters", "Records set aside, by the field at fault or the rule that refused them.", "reason"),
            "late_event": counter(
                "late_events",
                "Clicks behind their watermark and impressions whose window was closed, by source.",
                "input",
                "source",
            ),
            "watermark": counter("idle_watermarks", "Watermarks written because a partition stood still.", "topic"),
        }
        self.waiting = Gauge("sml_joiner_waiting_impressions", "Impressions whose label is not decided.", registry=registry)
        self.waiting_bytes = Gauge("sml_joiner_waiting_bytes", "Memory of what waits, or may still matter, about.", registry=registry)
        self.waiting_limit = Gauge("sml_joiner_waiting_limit_bytes", "What that may be at most: [join] most_waiting.", registry=registry)
        self.lag = Gauge("sml_joiner_lag_records", "Records in the log that are not read yet.", ["topic"], registry=registry)
        self.watermark_lag = Gauge(
            "sml_joiner_watermark_lag_seconds",
            "Newest event time seen anywhere less the watermark that holds the join back.",
            registry=registry,
        )
        self.commit_seconds = Histogram(
            "sml_joiner_commit_seconds",
            "Time to write examples and progress in one transaction.",
            # The embedded log answers in less than the default's first bucket, 5 ms.
            buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5),
            registry=registry,
        )

        self.click_delay = Histogram(
            "sml_joiner_click_delay_seconds",
            "Time from an impression to the click that counts for it.",
            buckets=(0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600, 21_600, 86_400),
            registry=registry,
        )
        served = Histogram(
            "sml_joiner_served_probability",
            "Probability served for each impression that was decided, and of these for the clicked.",
            ["of"],
            buckets=PROBABILITIES,
            registry=registry,
        )
        self.served, self.served_of_clicks = served.labels("impressions"), served.labels("clicks")
        for reason in ("future_time", "late_impression", "misrouted", "time_unit"):
            self._counters["dead_letter"].labels(reason)  # so that 0 is exported, too
        for fate in ("counted", "duplicate", "late", "orphan"):
            self._counters["click"].labels(fate)
        for fate in ("decided", "duplicate", "forgotten"):
            self._counters["impression"].labels(fate)
        for kind in ("early_click", "vain_tombstone", "late_click_learned"):
            self._counters["anomaly"].labels(kind)
        self._sources: set[str] = set()

    def count(self, counts: Mapping[tuple[str, ...], int]) -> None:
        """Add counts, each by (what, values of its labels …)."""
        for (what, *values), number in counts.items():
            labels = [values[0], self._source(values[1])] if what == "late_event" else values
            self._counters[what].labels(*labels).inc(number)

    def record_examples(self, examples: Iterable[Example], *, at_once: bool) -> None:
        """Record examples that are committed, but for the extra ones of late clicks.

        Args:
            examples: The examples.
            at_once: An impression is a negative at first, and a positive as well once it is clicked; else it is one of them.
        """
        for example in examples:
            if example.late:
                continue
            if example.clicked_at is not None:
                self.click_delay.observe(max(0, example.clicked_at - example.time) / 1000)
            if example.served and example.served.probability is not None:
                if not (at_once and example.label):
                    self.served.observe(example.served.probability)
                if example.label:
                    self.served_of_clicks.observe(example.served.probability)

    def _source(self, source: str) -> str:
        """Return the source's label: its own for the first few. Records choose the names, so their number has to be bounded."""
        if len(self._sources) < SOURCES:
            self._sources.add(source)
        return source if source in self._sources else "other"
