"""The learner at work: it reads, learns, publishes and saves, from reaching the log to losing it."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, Protocol

from model.online import OnlineModel
from model.rounds import Ranks
from stream.learn import state
from stream.learn.examples.shared import prepare
from stream.learn.examples.shedding import Shedding
from stream.learn.examples.source import ExampleSource
from stream.learn.metrics import LearnerMetrics
from stream.learn.pending import PendingVersion
from stream.learn.prepare import Prepared
from stream.learn.publish import Publisher
from stream.learn.restore.recovery import Recovered
from stream.learn.rules import Rules
from stream.learn.saving.archive_writer import ArchiveWriter
from stream.learn.saving.checkpoint import Checkpoint
from stream.learn.saving.checkpoint_writer import CheckpointWriter
from stream.log.contract import Bounds
from stream.log.topics import Topics
from stream.records.heartbeat import Heartbeat

_BATCH = 512  # most examples in one poll; what is learned does not depend on it
_FEW = 8.0  # as many times more where few of them are learned, so that what a poll costs is shared by as many
_PATIENCE = 0.25  # seconds that a poll waits for an example; then the learner checks whether to stop
_REPORT_EVERY = 1.0  # seconds between updates of the metrics that are slow to compute
_INSIDE_EVERY = 5  # such updates from one of what goes on inside the network, which is slower still, to the next

End = Mapping[int, Bounds] | None  # partition → where to stop; None: go on


class LearningRanks(Ranks, Protocol):
    """The ranks that learn with a learner."""

    batch: int  # the most examples of one round

    def ready(self, model: OnlineModel, examples: int) -> int:
        """Return how many ranks are to learn the next ``examples``: 1 as long as the others are not there."""
        ...

    def ping(self) -> None:
        """Say that this rank is there, if it has not for long."""
        ...

    def check(self, digest: str) -> None:
        """Make sure that all have the same weights.

        Raises:
            RanksDifferError: one has others.
        """
        ...


class _Coming(NamedTuple):
    """Records that were read and are being prepared."""

    prepared: Future[Prepared]
    offsets: dict[int, int]  # partition → next example after them
    heartbeats: list[Heartbeat]  # among them


class Session:
    """The learner at work, from reaching the log to losing it."""

    def __init__(
        self,
        recovered: Recovered,
        pending: PendingVersion,
        source: ExampleSource,
        publisher: Publisher,
        checkpoint_writer: CheckpointWriter,
        archive_writer: ArchiveWriter | None,
        topics: Topics,
        rules: Rules,
        shedding: Shedding,
        metrics: LearnerMetrics,
        ranks: LearningRanks | None,
        *,
        scored: bool,
    ) -> None:
        self.last, self._scored, self._archive_writer, self._ranks = recovered.last, scored, archive_writer, ranks
        self._trainer = recovered.trainer
        self._source, self._publisher, self._checkpoint_writer = source, publisher, checkpoint_writer
        self._topics, self._rules, self._shedding, self._metrics = topics, rules, shedding, metrics
        self._pending = pending
        self._pending.sampling = shedding.sampling
        approved = publisher.holds and not recovered.trainer.guard.held
        self._needs_snapshot = pending.new_settings or recovered.diverged or not publisher.snapshots.usable() or approved
        self._next_report, self._reports, self._next_state = 0.0, 0, 0.0
        self._ahead = ThreadPoolExecutor(1, "ahead")
        self._coming: _Coming | None = None  # what was read, but not learned: no version and no offset says that it was read

    def run(self, should_stop: Callable[[], bool], end: End) -> None:
        """Learn until told to stop, or until ``end`` is reached; then publish and save."""
        if self._pending.begun:
            self._checkpoint_writer.hasten()
        if self._needs_snapshot:
            self._publish(whole=True)
        if self._trainer.forgotten.version > self._checkpoint_writer.saved:
            self._checkpoint_writer.hasten()
        while not should_stop() and not (end and self._coming is None and self._source.reached(end)):
            self._step()
            self._name_copies()
            if self._publisher.wait(self._pending) == 0:
                self._publish_what_is_due()
            if self._checkpoint_writer.due():
                self._save()
            if self._shedding.due(time.monotonic()):
                self._shedding.decide(self._behind(), time.monotonic())
            if time.monotonic() >= self._next_report:
                self._report()
        self._save()
        self._checkpoint_writer.finish()
        if self._name_copies(wait=True):
            self._publish()
        self._report(inside=True)

    def _behind(self) -> float:
        """Return by how many seconds the newest example learned is behind the log's end."""
        lag = self._source.lag()
        return lag.seconds if lag.records > _BATCH else 0.0  # fewer are no lag, whatever a clock says

    def _step(self) -> None:
        """Learn what was read before while a thread prepares what comes after it; where nothing waits, learn at once what comes."""
        before, sampling = self._coming, self._shedding.sampling
        batch = max(_BATCH, self._ranks.batch) if self._ranks else _BATCH
        most = int(batch * min(sampling.weight, _FEW)) if sampling else batch
        records = self._source.poll(most, 0.0 if before else self._patience())
        offsets, heartbeats = self._source.offsets(), self._source.take_heartbeats()
        self._coming = None
        how = (self._rules, sampling)
        if records and (before or len(records) == most):
            self._coming = _Coming(self._ahead.submit(prepare, self._trainer, records, *how), offsets, heartbeats)
        elif records:
            self._learn(prepare(self._trainer, records, *how), offsets, heartbeats)
        if before:
            self._learn(before.prepared.result(), before.offsets, before.heartbeats)
        if heartbeats and not records:
            self._pending.reach(offsets, heartbeats)
        if self._ranks:
            self._ranks.ping()

    def _patience(self) -> float:
        wait = self._publisher.wait(self._pending)
        return _PATIENCE if wait is None else min(wait, _PATIENCE)

    def _learn(self, prepared: Prepared, offsets: dict[int, int], heartbeats: list[Heartbeat]) -> None:
        if prepared.sampling != self._pending.sampling:  # one version, one sampling
            if self._pending.runs:
                self._publish()
            self._pending.sampling = prepared.sampling
        start = time.perf_counter()
        ranks = self._ranks.ready(self._trainer.model, len(prepared.records) - prepared.left_out) if self._ranks else 1
        result = self._trainer.learn_prepared(prepared, ranks)
        self._metrics.record_step(result, time.perf_counter() - start)
        self._pending.add(prepared.records, result, self._topics)
        self._pending.reach(offsets, heartbeats)

    def close(self) -> None:
        """End the thread."""
        self._ahead.shutdown()

    def _publish_what_is_due(self) -> None:
        if self._publisher.needs_version(self._pending):
            self._publish()
        else:
            self._publisher.pass_on(self._pending)

    def _publish(self, *, whole: bool = False) -> None:
        start = time.perf_counter()
        trainer = self._trainer
        log_loss = trainer.scores.recent().log_loss if self._scored else None
        if start >= self._next_state:
            self._next_state = start + state.EVERY
            self._pending.learner = state.state_of(trainer, self._source.lag())
        if self._ranks:
            self._ranks.check(trainer.model.digest())
        self.last = self._publisher.publish(trainer.model, self._pending, whole=whole, log_loss=log_loss, guard=trainer.guard)
        trainer.settle(self.last.version)
        if self._pending.forgotten:
            trainer.forgotten.version = self.last.version.version
            self._checkpoint_writer.hasten()
        self._pending = self._pending.next()
        self._metrics.record_version(self.last.version, self._publisher.bytes, time.perf_counter() - start)

    def _save(self) -> None:
        """Publish what was learned since the last version, then begin to save the last version."""
        if self._pending.runs:
            self._publish()
        if self.last and self.last.version.version != self._checkpoint_writer.saved:
            self._checkpoint_writer.start(Checkpoint.of(*self.last, self._trainer))

    def _name_copies(self, *, wait: bool = False) -> bool:
        """Let the next version name the copies in the archive, with ``wait`` also the one being made; return whether one is new."""
        if self._archive_writer is None:
            return False
        self._archive_writer.collect(wait=wait)
        before, self._publisher.archived = self._publisher.archived, self._archive_writer.copies
        return self._publisher.archived != before

    def _report(self, *, inside: bool = False) -> None:
        self._next_report, self._reports = time.monotonic() + _REPORT_EVERY, self._reports + 1
        self._metrics.record_lag(self._source.lag())
        self._metrics.record_model(self._trainer, inside=inside or self._reports % _INSIDE_EVERY == 1)
