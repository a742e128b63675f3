"""The joining loop: impressions and clicks -> examples, partition by partition.

Delivery: every impression is settled once, and in the same way whatever is killed. That rests on three facts:

1. what is decided is a pure function of the log (:mod:`stream.join.matching.window`);
2. examples, dead letters and how far the joiner has read are one transaction;
3. a restart reads again what still matters according to that transaction, writes nothing meanwhile, and goes on from there
   (:mod:`stream.join.recovery`).
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial

from stream.formats.decoding import decoding
from stream.inputs.decode import input_topics
from stream.inputs.settings import InputSettings
from stream.join.metrics import JoinerMetrics
from stream.join.recovery import progress_from_now, progress_of
from stream.join.rekey import Rekeyer, originals, progress_at_end, rekeyer_of
from stream.join.session import JoinSession
from stream.join.share import Share, fence_others, is_flinks, job_of, joiner_of, take_share
from stream.log.contract import Log, LogUnavailableError, OffsetGoneError, Progress, TopicPartition, Writer
from stream.log.topics import JoinerError, Topics
from stream.log.trouble import AWAY, BACK, Trouble
from stream.settings import JoinSettings
from stream.traces import Tracing

logger = logging.getLogger(__name__)

RETRY = 1.0  # seconds between tries while the log is away


class Joiner:
    """The one joiner of a model, or of a share of its partitions: a newer one fences an older one."""

    def __init__(
        self,
        log: Log,
        topics: Topics,
        settings: JoinSettings,
        metrics: JoinerMetrics,
        clock: Callable[[], float] = time.monotonic,
        *,
        inputs: InputSettings = InputSettings(),  # noqa: B008 - it is immutable
        accept_gap: bool = False,
        tracing: Tracing | None = None,
        share: Share | None = None,
    ) -> None:
        """Prepare to join ``topics`` of ``log``; nothing is read or owned before :meth:`run`.

        ``share``: which partitions are joined here, while others join the rest; None: all.
        ``inputs``: a site's own topics, which are joined beside them if they are re-keyed.
        ``accept_gap``: go on where records that were needed were deleted. ``tracing``: where spans go; None: nothing is traced.
        """
        self.tracing, self._trouble = tracing, Trouble(logger)
        self.log, self.inputs, self.topics = decoding(log, settings), inputs, topics._replace(by_id=settings.rekey)
        self.settings, self.metrics, self.clock, self.accept_gap = settings, metrics, clock, accept_gap
        self.share = share
        if share and settings.rekey:
            raise JoinerError(f"got partitions {share}, but with [join] rekey one joiner copies all of them, in one order: expected all")

    def run(self, should_stop: Callable[[], bool], *, until_caught_up: bool = False) -> None:
        """Join until asked to stop, or until all is read that the log held at the start. While the log is away, keep trying.

        Raises:
            FencedError: another joiner has taken over.
            JoinerError: the topics don't fit each other, or the log does not fit the progress, or has lost what comes after it.
        """
        with ExitStack() as stack:
            writers: list[Writer] = []
            while not should_stop():
                try:
                    writers = writers or [stack.enter_context(closing(writer)) for writer in self._writers()]
                    self._run(*writers, should_stop=should_stop, until_caught_up=until_caught_up)
                except LogUnavailableError as error:
                    self._trouble.report(AWAY, error)
                    time.sleep(RETRY)
                except OffsetGoneError as error:
                    logger.warning("Looking at what the log still holds: %s", error)
                else:
                    return

    def leave_behind(self) -> int:
        """Start afresh at the ends of both inputs; return how many records are skipped, never to be read.

        Raises:
            FencedError: another joiner has taken over.
            JoinerError: the topics don't fit each other.
        """
        ends = partial(progress_from_now, self.log, self.topics, self.settings, self.share)
        skipped = self._skip_to(joiner_of(self.topics), input_topics(self.topics), ends)
        if self.settings.rekey:
            names = originals(self.topics._replace(by_id=False), self.inputs)
            skipped += self._skip_to(rekeyer_of(self.topics), names, partial(progress_at_end, self.log, names))
        return skipped

    def _skip_to(self, owner: str, names: Sequence[str], find_ends: Callable[[], dict[TopicPartition, Progress]]) -> int:
        begin = {(topic, p): bounds.first for topic in names for p, bounds in self.log.bounds(topic).items()}
        known = {(topic, p): entry for topic in names for p, entry in self.log.progress(owner, topic).items()}
        begin |= {partition: entry.offset for partition, entry in known.items()}
        share = self.share
        with closing(take_share(self.log, self.topics, share, find_ends) if share else self.log.writer(owner)) as writer:
            if share is None:
                fence_others(self.log, self.topics, None)
            if any(map(is_flinks, known.values())):
                self.log.writer(job_of(self.topics)).close()
            ends = find_ends()  # once nobody else joins what comes before them
            writer.commit([], ends)
        return sum(entry.offset - begin[partition] for partition, entry in ends.items())

    def _writers(self) -> Iterator[Writer]:
        """Take the names that are needed, one after the other."""
        if self.share:
            stored = partial(progress_of, self.log, self.topics, self.settings, self.share, accept_gap=self.accept_gap)
            yield take_share(self.log, self.topics, self.share, stored)
            return
        yield self.log.writer(joiner_of(self.topics))
        fence_others(self.log, self.topics, None)
        if self.settings.rekey:
            yield self.log.writer(rekeyer_of(self.topics))

    def _run(self, writer: Writer, copier: Writer | None = None, *, should_stop: Callable[[], bool], until_caught_up: bool) -> None:
        with ExitStack() as stack:
            rekeyer = copier and stack.enter_context(closing(self._rekeyer(copier)))
            if rekeyer and until_caught_up:
                rekeyer.catch_up(should_stop)
            session = stack.enter_context(closing(JoinSession(self, writer, with_heartbeats=not until_caught_up)))
            ends = session.ends()
            while not should_stop() and not (until_caught_up and session.has_reached(ends)):
                # While there are more records to copy, a partition of the copies without new records is not idle.
                session.step(with_idle=not (rekeyer and rekeyer.step()))
                self._trouble.over(BACK)
            session.write([], final=True)

    def _rekeyer(self, copier: Writer) -> Rekeyer:
        return Rekeyer(self.log, self.topics, self.settings, self.metrics, copier, self.inputs, accept_gap=self.accept_gap)
