"""The learning loop: record → example → step → published version → saved state.

Delivery: every record changes the published weights exactly once, or is set aside exactly once. Three facts guarantee it:

1. a version names the runs of records that it learned, in order, and is published in one transaction;
2. a checkpoint is written only after its version is committed, and after a restart the versions after it are learned again;
3. one learner owns a model, and a newer learner fences an older one.
"""

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import cache
from pathlib import Path
from typing import NamedTuple, Protocol

from model.online import OnlineModel
from model.quality import Quality
from model.rounds import Ranks
from model.settings import Spec
from stream.dead_letters import set_aside
from stream.event_time import TimeRule
from stream.heartbeat import Heartbeat
from stream.learn import state
from stream.learn.archive_writer import ArchiveWriter
from stream.learn.begin import Beginning, Source, begin
from stream.learn.checkpoint import Checkpoint, Checkpoints
from stream.learn.checkpoint_writer import CheckpointWriter
from stream.learn.example_source import ExampleSource
from stream.learn.imported import begun_with, imported
from stream.learn.metrics import LearnerMetrics
from stream.learn.publish import PendingVersion, Publisher, trained_through
from stream.learn.recovery import Recovered, Recovery
from stream.learn.rules import Rules
from stream.learn.shared import SharedReading, prepare
from stream.learn.shedding import Shedding
from stream.learn.trainer import Prepared
from stream.log.contract import Bounds, FencedError, Log, LogUnavailableError, Writer
from stream.log.reading import sleep_unless
from stream.log.topics import WEIGHTS_RETENTION, Topics, check_learners
from stream.settings import LearnSettings
from stream.traces import Tracing
from stream.version import Version
from stream.weights.archive import Archive
from stream.weights.versions import Published, read_versions

logger = logging.getLogger(__name__)

_BATCH = 512  # most examples in one poll; what is learned does not depend on it
_FEW = 8.0  # as many times more where few of them are learned, so that what a poll costs is shared by as many
_PATIENCE = 0.25  # seconds that a poll waits for an example; then the learner checks whether to stop
_RECONNECT = 1.0  # seconds from one try to reach the log to the next
_ROLLBACK = 5.0  # seconds that a rollback may take from owning the model to publishing its version
_ROLLBACK_POLL = 0.05  # seconds from one look for that version to the next
_REPORT_EVERY = 1.0  # seconds between updates of the metrics that are slow to compute
_INSIDE_EVERY = 5  # such updates from one of what goes on inside the network, which is slower still, to the next


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


_End = Mapping[int, Bounds] | None  # partition → where to stop; None: go on


class Learner:
    """Learns a model's examples and publishes its weights, for as long as it owns the model.

    Args:
        log: The log to read examples from and publish weights to.
        topics: The model's topics.
        spec: The model's settings.
        settings: The loop's settings.
        metrics: The learner's metrics.
        times: The rule that accepts event times.
        accept_gap: Go on where examples were deleted before they were learned.
        weights_retention: For how many seconds the log keeps deltas and snapshots.
        scored: Let each version say the model's recent log loss.
        begin_from: The arm whose newest weights to begin with, where nothing was published yet.
        shared: Read with the learners of other arms.
        tracing: Where spans go; None: nothing is traced.
        ranks: Who learns with this learner; None: nobody.
        archive: Where checkpoints are copied to, and read from where there are none; None: nowhere.

    Attributes:
        last: The last version published.
    """

    def __init__(
        self,
        log: Log,
        topics: Topics,
        spec: Spec,
        settings: LearnSettings,
        metrics: LearnerMetrics,
        *,
        times: TimeRule,
        accept_gap: bool = False,
        weights_retention: float = WEIGHTS_RETENTION,
        scored: bool = False,
        begin_from: Source | None = None,
        shared: SharedReading | None = None,
        tracing: Tracing | None = None,
        ranks: LearningRanks | None = None,
        archive: Archive | None = None,
    ) -> None:
        self._ranks, self._archive = ranks, archive
        self._begin_from, self._shared, self._tracing = begin_from, shared, tracing
        self.last: Published | None = None
        self._weights_retention, self._scored = weights_retention, scored
        self._log, self._topics, self._spec, self._settings, self._metrics = log, topics, spec, settings, metrics
        self._rules, self._accept_gap = Rules(times, settings.max_weight), accept_gap
        metrics.kept_negatives.labels("settings").set(settings.keep_negatives)
        self._quality = Quality(spec, settings.slices)
        self._checkpoints = Checkpoints(Path(settings.directory), settings.keep)

    def run(self, should_stop: Callable[[], bool], *, until_caught_up: bool = False) -> None:
        """Learn until told to stop, then publish and save; wait for the log whenever it is away.

        Args:
            should_stop: Called between two polls; returns whether to stop.
            until_caught_up: Stop once all that the log holds now is learned.

        Raises:
            FencedError: another learner owns the model; nothing more was published.
            LearnError: it can't go on by itself.
            UnknownTopicError: the topics have not been created.
            PartitionsError: a topic has too few partitions.
            OSError: the last checkpoint could not be written.
        """
        end = cache(lambda: self._log.bounds(self._topics.examples) if until_caught_up else None)  # read once, after taking the model
        while True:
            try:
                self._own_model(should_stop, end)
            except FencedError:
                if not (what := self._was_ordered(should_stop)):
                    raise
                logger.warning("the model was %s: going on from there", what)
            else:
                return

    def _own_model(self, should_stop: Callable[[], bool], end: Callable[[], _End]) -> None:
        """Take the model, and learn until told to stop or ``end`` is reached; wait for the log whenever it is away."""
        with ExitStack() as stack:
            writer: Writer | None = None
            while not should_stop():
                try:
                    # Taken once: a learner that reaches the log again must not fence the one that has taken its place.
                    writer = writer or stack.enter_context(closing(self._log.writer(self._topics.learner)))
                    self._run_session(writer, should_stop, end())
                except LogUnavailableError as error:
                    logger.warning("the log is away, trying again every %s s: %s", _RECONNECT, error)
                    self._metrics.reconnects.inc()
                    sleep_unless(should_stop, _RECONNECT)
                else:
                    return

    def _was_ordered(self, should_stop: Callable[[], bool]) -> str | None:
        """Return what a person has done to the model, who took it for that; None if another learner has taken it.

        The protocol: it takes the model, publishes exactly one version and lets go of the model. If another version follows,
        another learner has taken the model since; if none comes in ``_ROLLBACK`` seconds, it was no such thing.
        """
        logger.warning("another process has taken the model: nothing more is published, unless it was for a rollback or an order")
        start = self.last.offset + 1 if self.last else self._log.bounds(self._topics.versions)[0].first
        deadline = time.monotonic() + _ROLLBACK
        while True:
            published = list(read_versions(self._log, self._topics, start))
            if published or time.monotonic() > deadline or should_stop():
                return _ordered(published[0].version) if len(published) == 1 else None
            sleep_unless(should_stop, _ROLLBACK_POLL)

    def _run_session(self, writer: Writer, should_stop: Callable[[], bool], end: _End) -> None:
        """Recover the last version, and learn until told to stop, until ``end`` is reached or until the log is away."""
        check_learners(self._log, self._topics)
        self._checkpoints.tidy()
        recovered, beginning = self._recover()
        self.last = recovered.last
        if self._ranks:
            recovered.trainer.ranks = self._ranks
        recovered.trainer.quality = self._quality
        last, metrics = (self.last.version if self.last else None), self._metrics
        learned = beginning.of if beginning else None if recovered.anew else last
        offsets = learned.offsets if learned else {}
        committed = {p: entry.offset for p, entry in self._log.progress(self._topics.learner, self._topics.examples).items()}
        reread = last.reread if last else {}
        source = ExampleSource(
            self._log, self._topics.examples, offsets, committed, reread, accept_gap=self._accept_gap, shared=self._shared
        )
        with ExitStack() as stack:
            stack.enter_context(closing(source))
            publisher = stack.enter_context(
                closing(Publisher(self._log, writer, self._topics, self._settings, last, self._weights_retention, self._tracing))
            )
            if recovered.anew or recovered.begun:  # what was archived leads nowhere any more
                publisher.archived = []
            archive_writer = None
            if self._archive:
                archive_writer = stack.enter_context(closing(ArchiveWriter(self._archive, self._topics, publisher.archived, metrics)))
            checkpoint_writer = stack.enter_context(
                closing(CheckpointWriter(self._checkpoints, self._settings.checkpoint_every, recovered.saved, metrics, archive_writer))
            )
            pending = self._pending(recovered, source.offsets(), beginning)
            shedding = Shedding(self._settings, last.sampling if last else None)
            writers, ranks = (publisher, checkpoint_writer, archive_writer), self._ranks
            session = _Session(
                recovered, pending, source, *writers, self._topics, self._rules, shedding, metrics, ranks, scored=self._scored
            )
            stack.enter_context(closing(session))
            try:
                session.run(should_stop, end)
            finally:
                self.last = session.last

    def _recover(self) -> tuple[Recovered, Beginning | None]:
        """Recover the last version; where there is none, begin with what was imported or another arm's, if there is any."""
        recovery = Recovery(self._log, self._topics, self._spec, self._checkpoints, accept_gap=self._accept_gap, archive=self._archive)
        recovered = recovery.recover()
        if recovered.last:
            return recovered, None
        if state := imported(self._checkpoints, self._spec):
            logger.info("beginning with imported weights, whose digest is %s", state.version.digest)
            beginning: Beginning | None = Beginning(state.restore(), begun_with(state.version.digest), state.version)
        else:
            beginning = begin(self._log, self._begin_from, self._spec, self._checkpoints) if self._begin_from else None
        return recovered._replace(trainer=beginning.trainer) if beginning else recovered, beginning

    def _pending(self, recovered: Recovered, offsets: Mapping[int, int], beginning: Beginning | None) -> PendingVersion:
        """Return the version after the last one, before anything is read for it."""
        if beginning:
            return PendingVersion(offsets, trained_through(beginning.of), new_settings=True, begun=beginning.begun)
        if recovered.last is None or recovered.anew:
            return PendingVersion(offsets, None, new_settings=True)
        last = recovered.last.version
        letters = set_aside(self._log, self._topics, offsets, last.reread) if last.reread else ()
        return PendingVersion(
            offsets,
            trained_through(last),
            reread=last.reread,
            dead_lettered=letters,
            new_settings=recovered.migrated,
            begun=recovered.begun,
        )


def _ordered(version: Version) -> str | None:
    """Return what a person has done by this version."""
    if version.rollback:
        return "rolled back"
    return {"approve": "approved", "hold": "held", None: None}[version.order]


class _Coming(NamedTuple):
    """Records that were read and are being prepared."""

    prepared: Future[Prepared]
    offsets: dict[int, int]  # partition → next example after them
    heartbeats: list[Heartbeat]  # among them


class _Session:
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

    def run(self, should_stop: Callable[[], bool], end: _End) -> None:
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
