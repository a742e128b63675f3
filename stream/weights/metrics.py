"""The metrics of a follower of the weights, in the server's process.

Histograms begin at 0.1 ms: the default buckets begin at 5 ms, where a step has long ended.
"""

from prometheus_client import CollectorRegistry, Counter, Histogram

BUCKETS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0)  # seconds


class FollowerMetrics:
    """The metrics of a follower of the weights."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.deltas = Counter("sml_follower_deltas", "Deltas applied.", registry=registry)
        self.starts = Counter("sml_follower_starts", "Times that the weights were started from a snapshot.", registry=registry)
        self.gaps = Counter(
            "sml_follower_gaps", "Times that a delta was missing or did not fit, so that a snapshot was needed.", registry=registry
        )
        self.apply_seconds = Histogram(
            "sml_follower_apply_seconds", "Time to apply the deltas of one poll to one copy.", buckets=BUCKETS, registry=registry
        )
        self.freshness_seconds = Histogram(
            "sml_follower_freshness_seconds", "Time from a version's publication to its service.", buckets=BUCKETS, registry=registry
        )
