"""The joiner's metrics: what went through it and what waits in it.

Counters count what is committed, so a record that is read again after a failure is counted once.
"""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

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
            "anomaly": counter("oddities", "Early clicks, tombstones in vain, late clicks learned, others' heartbeats.", "kind"),
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

        for reason in ("future_time", "late_impression", "misrouted", "time_unit"):
            self._counters["dead_letter"].labels(reason)  # so that 0 is exported, too
        self._sources: set[str] = set()

    def count(self, counts: Mapping[tuple[str, ...], int]) -> None:
        """Add counts, each by (what, values of its labels …)."""
        for (what, *values), number in counts.items():
            labels = [values[0], self._source(values[1])] if what == "late_event" else values
            self._counters[what].labels(*labels).inc(number)

    def _source(self, source: str) -> str:
        """Return the source's label: its own for the first few. Records choose the names, so their number has to be bounded."""
        if len(self._sources) < SOURCES:
            self._sources.add(source)
        return source if source in self._sources else "other"
