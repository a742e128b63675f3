"""The metrics of a follower of the weights, in the server's process.

Histograms begin at 0.1 ms: the default buckets begin at 5 ms, where a step has long ended.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from stream.records.heartbeat import HOPS, TARGET, Heartbeat

BUCKETS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0)  # seconds
_OF_HEARTBEAT = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, TARGET, 2.0, 5.0, 15.0, 60.0)  # seconds


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
        self._heartbeat_seconds = Histogram(
            "sml_follower_heartbeat_seconds",
            "Time from a heartbeat's sending by the joiner to the service of weights that know all before it.",
            ["arm"],
            buckets=_OF_HEARTBEAT,
            registry=registry,
        )
        self._hop_seconds = Histogram(
            "sml_follower_heartbeat_hop_seconds", "Time of a heartbeat's hops.", ["arm", "hop"], buckets=_OF_HEARTBEAT, registry=registry
        )
        self._expected: set[str] = set()  # arms
        self._expected_since = Gauge(
            "sml_follower_heartbeats_expected_since_seconds",
            "When the first heartbeat was seen, in epoch seconds: one a second is expected since.",
            ["arm"],
            registry=registry,
        )
        self._clock_skew = Gauge(
            "sml_follower_clock_skew_seconds",
            "By how much clocks differ at least: how long before its beginning a hop of the last heartbeat ended.",
            ["arm"],
            registry=registry,
        )

    def expect_heartbeats(self, arm: str) -> None:
        """Begin to expect one a second, now that there are any: where nobody joins, none is missed."""
        if arm not in self._expected:
            self._expected.add(arm)
            self._expected_since.labels(arm).set_to_current_time()
            self._heartbeat_seconds.labels(arm)

    def record_heartbeat(self, arm: str, heartbeat: Heartbeat) -> None:
        """Record a heartbeat that has arrived. One that took less than nothing by more than the target would tell of clocks only."""
        hops = heartbeat.hops
        self._clock_skew.labels(arm).set(max(0.0, -heartbeat.seconds, *(-seconds for seconds in hops.values())))
        if heartbeat.seconds >= -TARGET:
            self._heartbeat_seconds.labels(arm).observe(max(0.0, heartbeat.seconds))
            for hop in HOPS:
                self._hop_seconds.labels(arm, hop).observe(max(0.0, hops[hop]))

    def forget(self, arm: str) -> None:
        """Export nothing more of an arm that is followed no more."""
        self._expected.discard(arm)
        for metric in (self._heartbeat_seconds, self._hop_seconds, self._expected_since, self._clock_skew):
            metric.remove_by_labels({"arm": arm})
