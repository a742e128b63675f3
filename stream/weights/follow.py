"""The follower of the weights: snapshot → deltas → weights in service, by way of a double buffer.

If a record does not fit, the follower starts again from a snapshot, and the weights in service stay until the new copy has caught up.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Protocol

from prometheus_client import CollectorRegistry

from model.weights import Weights
from stream.log.contract import Log, LogUnavailableError, OffsetGoneError, Reader, Record, RefusedError
from stream.log.reading import read_all, sleep_unless
from stream.log.topics import DELTAS, SNAPSHOTS, Topics
from stream.log.trouble import Trouble
from stream.records.events import BadRecordError
from stream.records.heartbeat import PUBLISHED, Heartbeat, heartbeat_in, is_heartbeat
from stream.records.version import LearnerState, SnapshotRef, Version, decode_version, last_forgetting
from stream.traces import Tracing, contexts_of
from stream.weights.archive import Archive
from stream.weights.chunks import Assembler, BrokenWeightsError, WeightsHeader, assemble_snapshot, unpack
from stream.weights.double_buffer import DoubleBuffer, NewLineageError, NewMemory
from stream.weights.metrics import FollowerMetrics
from stream.weights.versions import newest_version

logger = logging.getLogger(__name__)

_BATCH = 64  # chunks in one poll
_PATIENCE = 0.25  # seconds that a poll waits for a delta; then the follower checks whether to stop
_TURN = 0.01  # seconds that it waits until caught up: where the log ends with no record, none comes to end the wait
_MANIFEST_PATIENCE = 10.0  # seconds that a poll waits for a record that is known to be there
_LOOK_EVERY = 1.0  # seconds from one look at the versions to the next
_TOLD = 100  # offsets before the newest version's: a version among them says how learning goes
_RETRY = 0.5  # seconds before starting again
_NEWEST = 60.0  # seconds that the newest weights may take to load


class Service(Protocol):
    """The service that predicts with the weights."""

    caught_up: bool  # set once the follower has reached what was the log's end when it started
    held: Version | None  # the newest version, if it is held: what is served is older
    learner: LearnerState | None  # what the learner said of itself last

    def hand_over(self, header: WeightsHeader, weights: Weights) -> None:
        """Put ``weights`` into service; when this returns, nothing reads the earlier weights any more."""
        ...


class Follower:
    """Keeps the weights of a service up to date.

    Args:
        log: The log to read weights from.
        topics: The model's topics.
        service: The service to hand weights to.
        metrics: The follower's metrics.
        heartbeats: Where to put those that arrive, all their hops behind them.
        tracing: Where spans go; None: nothing is traced.
        memory: Returns the memory of a new copy of the weights; default: this process's own.
        archive: Where weights are to begin with while the log holds no snapshot; None: nowhere.
    """

    def __init__(
        self,
        log: Log,
        topics: Topics,
        service: Service,
        metrics: FollowerMetrics,
        heartbeats: deque[Heartbeat] | None = None,
        tracing: Tracing | None = None,
        memory: NewMemory = lambda: None,
        archive: Archive | None = None,
    ) -> None:
        self._tracing, self._memory, self._archive = tracing, memory, archive
        self._log, self._topics, self._service, self._metrics = log, topics, service, metrics
        self._heartbeats = deque[Heartbeat](maxlen=1) if heartbeats is None else heartbeats
        self._traced: list[tuple[bytes, int]] = []  # contexts of deltas that are not in service yet, and when the log took these
        self._heartbeats_since = -1  # the offset among the deltas before which they arrived already, or before this server started
        self._trouble = Trouble(logger)
        self._next_look = 0.0  # at the versions, by the monotonic clock

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Follow until told to stop.

        Raises:
            LogError: the log can't be used, and waiting will not help.
        """
        try:
            self._keep_following(should_stop)
        finally:
            self._metrics.forget(self._topics.arm)

    def _keep_following(self, should_stop: Callable[[], bool]) -> None:
        while not should_stop():
            try:
                self._follow(should_stop)
            except LogUnavailableError as error:
                self._trouble.report("the log is away, the weights stay as they are", error)
            except RefusedError as error:  # a password or a right can be put in order while the weights at hand are served
                self._trouble.report("the log refuses this server, the weights stay as they are", error)
            except NewLineageError as error:
                logger.info("%s", error)
                continue
            except (BrokenWeightsError, OffsetGoneError) as error:
                self._metrics.gaps.inc()
                self._trouble.report("starting again from a snapshot", error)
            sleep_unless(should_stop, _RETRY)

    def _follow(self, should_stop: Callable[[], bool]) -> None:
        """Load the newest snapshot, if there is one yet, and apply every delta after it."""
        newest = newest_version(self._log, self._topics)
        if newest is None or newest.version.snapshot is None:
            return
        end = self._log.bounds(self._topics.weights)[DELTAS].end
        first = self._log.bounds(self._topics.versions)[0].first
        if self._heartbeats_since < 0:
            self._heartbeats_since = end
        double_buffer, start = self._start(newest.version, newest.version.snapshot, end)
        assembler = Assembler(double_buffer.most_chunks())
        with (
            closing(self._log.reader(self._topics.weights, {DELTAS: start})) as reader,
            closing(self._log.reader(self._topics.versions, {0: max(first, newest.offset - _TOLD)})) as versions,
        ):
            arriving: list[Record] = []
            while not should_stop():
                self._look_for_held(versions)
                caught_up = reader.positions()[DELTAS] >= end
                if caught_up:
                    self._hand_over(double_buffer)
                    self._end_traces()
                    self._take_note(arriving)
                    arriving.clear()
                records = reader.poll(_BATCH, _PATIENCE if caught_up else _TURN)
                arriving += [record for record in records if is_heartbeat(record)]
                self._keep_traces(records)
                self._apply(double_buffer, assembler.add(record for record in records if not is_heartbeat(record)))

    def _start(self, newest: Version, snapshot: SnapshotRef, end: int) -> tuple[DoubleBuffer, int]:
        """Load the snapshot, or archived weights where it is gone and nothing is served yet; return where among the deltas to go on.

        No delta fits archived weights: they are served until the learner is there again, which begins with a snapshot.
        A copy from before a version that forgot a value would bring that back, so it is none.
        """
        if self._archive and newest.archived and not self._service.caught_up and not holds(self._log, self._topics, snapshot):
            copies = [each for each in newest.archived if each.version >= (last_forgetting(newest) or 0)]
            double_buffer = DoubleBuffer.of(self._archive.weights(self._topics, copies), self._memory)
            number, gone = double_buffer.header.version, snapshot.version
            logger.warning("the snapshot of version %s is no longer in the log: serving the archived version %s", gone, number)
            return double_buffer, end
        return self._load(snapshot), snapshot.deltas

    def _load(self, ref: SnapshotRef) -> DoubleBuffer:
        if (end := self._log.bounds(self._topics.weights)[SNAPSHOTS].end) <= ref.last:
            raise BrokenWeightsError(f"the snapshot of version {ref.version} ends at offset {ref.last}, and the log at {end}")
        with closing(self._log.reader(self._topics.weights, {SNAPSHOTS: ref.last})) as reader:
            key = next((record.key for record in reader.poll(1, _MANIFEST_PATIENCE)), None)
        every = read_all(self._log, self._topics.weights, {SNAPSHOTS: ref.first}, {SNAPSHOTS: ref.last + 1}, batch=_BATCH)
        records = [record for record in every if record.key == key]  # wherever it is said to begin, no more than the snapshot is held
        double_buffer = DoubleBuffer.of_snapshot(assemble_snapshot(records), self._memory)
        self._metrics.starts.inc()
        return double_buffer

    def _apply(self, double_buffer: DoubleBuffer, deltas: list[bytes]) -> None:
        if deltas:
            with self._metrics.apply_seconds.time():
                double_buffer.apply(unpack(delta) for delta in deltas)
            self._metrics.deltas.inc(len(deltas))

    def _hand_over(self, double_buffer: DoubleBuffer) -> None:
        if double_buffer.hand_over(self._service.hand_over):
            self._metrics.freshness_seconds.observe(max(0.0, time.time() - double_buffer.header.published_at / 1000))
            self._service.caught_up = True
            self._trouble.over()

    def _take_note(self, arriving: list[Record]) -> None:
        """Time the last hop of heartbeats, now that the weights in service know all before them; each once, however often it is read."""
        for record in arriving:
            self._metrics.expect_heartbeats(self._topics.arm)
            if record.offset < self._heartbeats_since:
                continue
            self._heartbeats_since = record.offset + 1
            if heartbeat := heartbeat_in(record, PUBLISHED):
                arrived = heartbeat.after_hop(time.time())
                self._heartbeats.append(arrived)
                self._metrics.record_heartbeat(self._topics.arm, arrived)

    def _keep_traces(self, records: list[Record]) -> None:
        """Keep the traces that come with deltas, until these are in service; what came before this server others have served."""
        if self._tracing:
            new = [record for record in records if record.offset >= self._heartbeats_since]
            self._traced += [(context, record.timestamp) for record in new for context in contexts_of(record)]

    def _end_traces(self) -> None:
        """End the traces that came with deltas, now that these are in service."""
        if self._tracing:
            for traced in self._traced:
                self._tracing.hop("serve", *traced, arm=self._topics.arm)
            self._traced.clear()

    def _look_for_held(self, versions: Reader) -> None:
        """Tell the service, once a second, whether the newest version is held and what the learner says of itself: no delta says so."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + _LOOK_EVERY
        while records := versions.poll(_BATCH, 0.0):
            for record in records:
                with suppress(BadRecordError):
                    version = decode_version(record.value)
                    self._service.held = version if version.held else None
                    self._service.learner = version.learner or self._service.learner


class _Newest:
    """Takes the newest weights that a follower hands over."""

    def __init__(self) -> None:
        self.caught_up = False
        self.held: Version | None = None
        self.learner: LearnerState | None = None
        self.taken: tuple[WeightsHeader, Weights] | None = None

    def hand_over(self, header: WeightsHeader, weights: Weights) -> None:
        """Keep them."""
        self.taken = header, weights


def holds(log: Log, topics: Topics, snapshot: SnapshotRef) -> bool:
    """Return whether the log still holds a snapshot, and all deltas after it."""
    bounds = log.bounds(topics.weights)
    whole = bounds[SNAPSHOTS].first <= snapshot.first and snapshot.last < bounds[SNAPSHOTS].end
    return whole and bounds[DELTAS].first <= snapshot.deltas


def newest_weights(log: Log, topics: Topics, patience: float = _NEWEST) -> tuple[WeightsHeader, Weights]:
    """Return the weights that a server would serve now: follow to the end, as it does.

    Raises:
        BrokenWeightsError: there are none, or they could not be loaded within ``patience`` seconds.
        LogError: the log can't be used.
    """
    newest, end = _Newest(), time.monotonic() + patience
    Follower(log, topics, newest, FollowerMetrics(CollectorRegistry())).run(lambda: newest.caught_up or time.monotonic() > end)
    if newest.taken is None or not newest.caught_up:
        raise BrokenWeightsError("the newest weights could not be loaded")
    return newest.taken
