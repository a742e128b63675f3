"""The learner's metrics.

Names are process, noun, unit; the values of a label are few and known.
"""

import math
import time
from functools import partial
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from model.encoding.features import Encoder
from model.encoding.keys import FeatureError
from model.guard.guard import CHECKS
from model.kernels.rows.table import EXPIRED, OCCUPIED
from stream.ignored_features import IgnoredMetric
from stream.inputs.event_time import FutureTimeError, TimeUnitError
from stream.learn.quality_metrics import InsideMetrics, QualityMetrics, learner_gauge
from stream.learn.rules import WeightError
from stream.learn.trainer import BatchResult, NotFiniteError, Trainer
from stream.records.events import BadRecordError
from stream.records.version import Version
from stream.weights.metrics import BUCKETS

_OF_ARCHIVE = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)  # seconds


class Lag(NamedTuple):
    """How far a reader is behind the log."""

    records: int
    seconds: float  # since the append time of the newest record read; 0 when all are read


def tell_arm(registry: CollectorRegistry, arm: str) -> None:
    """Say which arm a learner's metrics are of."""
    Gauge("sml_learner_arm_info", "Which arm this learner's metrics are of.", ["arm"], registry=registry).labels(arm).set(1)


class LearnerMetrics:
    """The learner's metrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        gauge = partial(learner_gauge, registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"sml_learner_{name}", text, labels, registry=registry)

        def seconds(name: str, text: str) -> Histogram:
            return Histogram(f"sml_learner_{name}_seconds", text, buckets=BUCKETS, registry=registry)

        self.examples = counter("examples", "Examples learned by this process.")
        self.dead_letters = counter("dead_letters", "Records set aside, by the kind of error.", "reason")
        for reason in (BadRecordError, FeatureError, NotFiniteError, WeightError, FutureTimeError, TimeUnitError):
            self.dead_letters.labels(reason.__name__)  # so that 0 is shown, too
        self.forgotten = counter("forgotten", "Requests to forget a value that were carried out.")
        self.erased_examples = counter("erased_examples", "Examples not learned, because they hold a forgotten value.")
        self.left_out_examples = counter(
            "left_out_examples", "Examples without a click that were not learned: see keep_negatives and max_lag."
        )
        self.kept_negatives = gauge(
            "kept_negatives_ratio",
            "Share of the examples without a click that is learned now, and without haste, as keep_negatives says.",
            "of",
        )
        self.others_examples = counter("others_examples", "Examples not learned, because this arm learns only what it served itself.")
        self.step_seconds = seconds("step", "Time to decode, predict, score and learn the examples of one poll.")
        self.quality = QualityMetrics(registry)
        self.inside = InsideMetrics(registry)
        self.lag_records = gauge("lag_records", "Examples in the log that are not learned yet.")
        self.lag_seconds = gauge("lag_seconds", "Time since the log took the newest example learned; 0 when all are learned.")
        self.version = gauge("version", "The last version published.")
        self.trained_through = gauge("trained_through_seconds", "Time of the newest event learned, in epoch seconds.")
        self.versions = counter("versions", "Versions published, held ones included.")
        self.held_versions = counter(
            "held_versions", "Versions held, by the check of the guard: servers stay on the last good one.", "check"
        )
        self.held = gauge("held", "1 while versions are held for this check of the guard.", "check")
        self.top_value_share = gauge(
            "top_value_share_ratio",
            "Share of a field's most frequent value in a sample of recent examples, and of good ones.",
            "field",
            "of",
        )
        self.published_bytes = counter("published_bytes", "Bytes of deltas published.")
        self.publish_seconds = seconds("publish", "Time to make a version and commit it.")
        self.table_rows = gauge("table_rows", "Rows of the table that are occupied.")
        self.table_capacity = gauge("table_capacity_rows", "Rows of the table.")
        self.table_expired = gauge("table_expired_rows", "Rows that gave way to newer values, since the model began.")
        self._encoders: list[Encoder] = []
        IgnoredMetric("learner", lambda: self._encoders, registry)
        self.reconnects = counter("reconnects", "Times that the log was away.")
        self.checkpoint_seconds = seconds("checkpoint", "Time to write a checkpoint.")
        self.checkpoint_failures = counter("checkpoint_failures", "Checkpoints that could not be written.")
        self.archive_seconds = Histogram(
            "sml_learner_archive_seconds", "Time to copy a checkpoint to the archive.", buckets=_OF_ARCHIVE, registry=registry
        )
        self.archive_failures = counter("archive_failures", "Checkpoints that could not be copied to the archive.")
        self.saved_at = time.time()  # of the newest checkpoint, or the start of the process
        gauge("checkpoint_age_seconds", "Time since a checkpoint was last written, or since the start.").set_function(
            lambda: time.time() - self.saved_at
        )

    def record_step(self, result: BatchResult, seconds: float) -> None:
        """Record the result of learning the records of one poll."""
        self.step_seconds.observe(seconds)
        self.examples.inc(result.learned)
        rare = {
            self.forgotten: len(result.forgotten),
            self.erased_examples: result.erased,
            self.left_out_examples: result.left_out,
            self.others_examples: result.others,
        }
        for counter, count in rare.items():
            if count:
                counter.inc(count)
        for _, error in result.bad + result.excluded:
            self.dead_letters.labels(type(error).__name__).inc()

    def record_version(self, version: Version, size: int, seconds: float) -> None:
        """Record a version that was published, and the bytes of its delta."""
        self.versions.inc()
        self.published_bytes.inc(size)
        self.publish_seconds.observe(seconds)
        self.kept_negatives.labels("now").set(version.sampling.rate if version.sampling else 1)
        for check in CHECKS:
            self.held_versions.labels(check).inc(check in version.held)
            self.held.labels(check).set(check in version.held)
        self.version.set(version.version)
        self.trained_through.set((version.trained_through or math.nan) / 1000)

    def record_lag(self, lag: Lag) -> None:
        """Record how far the learner is behind the log."""
        self.lag_records.set(lag.records)
        self.lag_seconds.set(lag.seconds)

    def record_model(self, trainer: Trainer, *, inside: bool = True) -> None:
        """Record the model's scores and how full its table is; if asked to, what takes longer: scores by slice, and what goes on inside."""
        self.quality.record(trainer)
        table = trainer.model.table
        self.table_rows.set(table.counts[OCCUPIED])
        self.table_expired.set(table.counts[EXPIRED])
        self.table_capacity.set(len(table.keys))
        self._encoders = [trainer.preparer.encoder]
        if inside:
            self.quality.record_parts(trainer)
            self.inside.record(trainer.model, trainer.guard.recent)
            self._record_top_values(trainer)

    def _record_top_values(self, trainer: Trainer) -> None:
        for name, sample in {"recent": trainer.guard.recent, "good": trainer.guard.golden}.items():
            for field, share in zip(trainer.model.spec.fields, sample.top_shares(), strict=False):  # an empty sample has none
                if field.kind not in ("hour", "weekday"):  # whose value is always the same for a while
                    self.top_value_share.labels(field.name, name).set(share)
