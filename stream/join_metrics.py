"""What the joiner tells Prometheus: what went through it and what waits in it.

Counters count what is committed, so a record that is read again after a failure is counted once.
"""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class JoinerMetrics:
    """What the joiner tells."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the metrics."""

        def counter(noun: str, text: str, label: str) -> Counter:
            return Counter(f"sml_joiner_{noun}", text, [label], registry=registry)

        self._counters = {
            "record": counter("records", "Records read.", "topic"),
            "example": counter("examples", "Examples written.", "label"),
            "impression": counter("impressions", "Impressions settled: decided, duplicate or forgotten.", "fate"),
            "click": counter("clicks", "Clicks settled: counted, duplicate, late or orphan.", "fate"),
            "oddity": counter("oddities", "Late impressions, early clicks, tombstones in vain.", "kind"),
            "dead_letter": counter("dead_letters", "Records set aside, by the field at fault, or misrouted.", "reason"),
            "watermark": counter("idle_watermarks", "Watermarks written because a partition stood still.", "topic"),
        }
        self.waiting = Gauge("sml_joiner_waiting_impressions", "Impressions whose label is not decided.", registry=registry)
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

    def count(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Add counts by (what, value of its label)."""
        for (what, value), number in counts.items():
            self._counters[what].labels(value).inc(number)
