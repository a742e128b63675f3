"""The learning loop: record → example → step → published version → saved state.

Delivery: every record changes the published weights exactly once, or is set aside exactly once. Three facts guarantee it:

1. a version names the runs of records that it learned, in order, and is published in one transaction;
2. a checkpoint is written only after its version is committed, and after a restart the versions after it are learned again;
3. one learner owns a model, and a newer learner fences an older one.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from functools import cache

from model.evaluation.quality import Quality
from model.settings import Spec
from stream.dead_letters import set_aside
from stream.inputs.event_time import TimeRule
from stream.learn.examples.shared import SharedReading
from stream.learn.examples.shedding import Shedding
from stream.learn.examples.source import ExampleSource
from stream.learn.metrics import LearnerMetrics
from stream.learn.order import was_ordered
from stream.learn.pending import PendingVersion
from stream.learn.publish import Publisher
from stream.learn.restore.begin import Beginning, Source, begin
from stream.learn.restore.imported import begun_with, imported
from stream.learn.restore.recovery import Recovered, Recovery
from stream.learn.rules import Rules
from stream.learn.saving.archive_writer import ArchiveWriter
from stream.learn.saving.checkpoint import Checkpoints
from stream.learn.saving.checkpoint_writer import CheckpointWriter
from stream.learn.session import End, LearningRanks, Session
from stream.log.contract import FencedError, Log, LogUnavailableError, Writer
from stream.log.reading import sleep_unless
from stream.log.topics import WEIGHTS_RETENTION, Topics, check_learners
from stream.log.trouble import AWAY, BACK, Trouble
from stream.records.version import trained_through
from stream.settings import LearnSettings
from stream.traces import Tracing
from stream.weights.archive import Archive
from stream.weights.versions import Published

logger = logging.getLogger(__name__)

_RECONNECT = 1.0  # seconds from one try to reach the log to the next


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
        self._ranks, self._archive, self._trouble = ranks, archive, Trouble(logger)
        self._begin_from, self._shared, self._tracing = begin_from, shared, tracing
        self.last: Published | None = None
        self._weights_retention, self._scored = weights_retention, scored
        self._log, self._topics, self._spec, self._settings, self._metrics = log, topics, spec, settings, metrics
        self._rules, self._accept_gap = Rules(times, settings.max_weight), accept_gap
        metrics.kept_negatives.labels("settings").set(settings.keep_negatives)
        self._quality = Quality(spec, settings.slices)
        self._checkpoints = Checkpoints.of(settings)

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
                logger.warning("another process has taken the model: nothing more is published, unless it was for a rollback or an order")
                if not (what := was_ordered(self._log, self._topics, self.last, should_stop)):
                    raise
                logger.warning("the model was %s: going on from there", what)
            else:
                return

    def _own_model(self, should_stop: Callable[[], bool], end: Callable[[], End]) -> None:
        """Take the model, and learn until told to stop or ``end`` is reached; wait for the log whenever it is away."""
        with ExitStack() as stack:
            writer: Writer | None = None
            while not should_stop():
                try:
                    # Taken once: a learner that reaches the log again must not fence the one that has taken its place.
                    writer = writer or stack.enter_context(closing(self._log.writer(self._topics.learner)))
                    self._run_session(writer, should_stop, end())
                except LogUnavailableError as error:
                    self._trouble.report(AWAY, error)
                    self._metrics.reconnects.inc()
                    sleep_unless(should_stop, _RECONNECT)
                else:
                    return

    def _run_session(self, writer: Writer, should_stop: Callable[[], bool], end: End) -> None:
        """Recover the last version, and learn until told to stop, until ``end`` is reached or until the log is away."""
        check_learners(self._log, self._topics)
        self._checkpoints.tidy()
        recovered, beginning = self._recover()
        self.last = recovered.last
        if self._ranks:
            recovered.trainer.ranks = self._ranks
        recovered.trainer.quality = self._quality
        with ExitStack() as stack:
            session = self._session(recovered, beginning, writer, stack)
            self._trouble.over(BACK)
            try:
                session.run(should_stop, end)
            finally:
                self.last = session.last

    def _session(self, recovered: Recovered, beginning: Beginning | None, writer: Writer, stack: ExitStack) -> Session:
        """Return the session that goes on from what was recovered; the stack closes it, and what it reads and writes with."""
        last, metrics = (recovered.last.version if recovered.last else None), self._metrics
        source = stack.enter_context(closing(self._source(recovered, beginning)))
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
        session = Session(
            recovered,
            self._pending(recovered, source.offsets(), beginning),
            source,
            publisher,
            checkpoint_writer,
            archive_writer,
            self._topics,
            self._rules,
            Shedding(self._settings, last.sampling if last else None),
            metrics,
            self._ranks,
            scored=self._scored,
        )
        return stack.enter_context(closing(session))

    def _source(self, recovered: Recovered, beginning: Beginning | None) -> ExampleSource:
        """Return the examples after those that the model has learned."""
        last = recovered.last.version if recovered.last else None
        learned = beginning.of if beginning else None if recovered.anew else last
        committed = {p: entry.offset for p, entry in self._log.progress(self._topics.learner, self._topics.examples).items()}
        return ExampleSource(
            self._log,
            self._topics.examples,
            learned.offsets if learned else {},
            committed,
            last.reread if last else {},
            accept_gap=self._accept_gap,
            shared=self._shared,
        )

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
