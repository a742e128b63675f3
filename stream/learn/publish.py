"""Publication: what was learned since the last version becomes the next version, which servers follow.

A version is one transaction: its delta, its record in ``versions`` (what was learned, in which order), the progress in
``examples``, and the dead letters. Nobody sees a part of it. A version that the guard holds has no delta: servers stay on the last
good one, and the next good one is a full snapshot.

A heartbeat follows the version that knows all before it, and goes alone where there is nothing else to publish. While versions are held,
the weights in service don't know all before it, so it is let go.
"""

import logging
import time

from xxhash import xxh3_64_hexdigest

from model.array_file import Arrays
from model.fingerprint import fingerprint
from model.guard.guard import Guard
from model.online import OnlineModel
from model.settings import Spec
from stream.learn.pending import PendingVersion
from stream.learn.saving.snapshot_writer import SnapshotWriter
from stream.log.contract import Log, Message, Progress, TopicPartition, Writer
from stream.log.topics import DELTAS, SNAPSHOTS, WEIGHTS_RETENTION, Topics
from stream.records.events import encode
from stream.records.heartbeat import message
from stream.records.version import SnapshotRef, Version, last_forgetting
from stream.settings import LearnSettings
from stream.traces import TRACEPARENT, Tracing
from stream.weights.chunks import WeightsHeader, cut, pack
from stream.weights.versions import Published

logger = logging.getLogger(__name__)

BUDGET = 10_000_000  # bytes of deltas a second: above it, versions are less frequent


class Publisher:
    """Publishes one version after another.

    Args:
        log: The log, for snapshots.
        writer: The writer that owns the model, for versions.
        topics: The model's topics.
        settings: The loop's settings, which say how often to publish.
        last: The last version published.
        weights_retention: For how many seconds the log keeps deltas and snapshots.
        tracing: Where spans go; None: nothing is traced.
    """

    def __init__(
        self,
        log: Log,
        writer: Writer,
        topics: Topics,
        settings: LearnSettings,
        last: Version | None,
        weights_retention: float = WEIGHTS_RETENTION,
        tracing: Tracing | None = None,
    ) -> None:
        self._tracing = tracing
        self._log, self._writer, self._topics, self._every = log, writer, topics, settings.publish_every
        self._number, self._examples = (last.version, last.examples) if last else (-1, 0)
        self.holds = bool(last and last.held)  # the last version was held
        self._forgot = last_forgetting(last) if last else None  # the last version that forgot a value
        self._named = last.snapshot if last else None  # the snapshot that the last version names
        self.archived = last.archived if last else []  # the copies in the archive that the next version names
        self._archived_named = self.archived
        self._end = log.bounds(topics.weights)[DELTAS].end  # the offset of the next delta
        self._next = 0.0  # when the next version may begin to be published, by the monotonic clock
        self._next_alone = 0.0  # the same of heartbeats that go alone
        self.snapshots = SnapshotWriter(log, topics, settings.snapshot_every, self._named, weights_retention / 4)
        self.bytes = 0  # of the last delta

    def wait(self, pending: PendingVersion) -> float | None:
        """Return the seconds until a version is due, None if there is nothing to publish."""
        self.snapshots.collect()
        if pending.full():
            return 0.0
        if self.needs_version(pending):
            return max(0.0, self._next - time.monotonic())
        return max(0.0, self._next_alone - time.monotonic()) if pending.heartbeats else None

    def needs_version(self, pending: PendingVersion) -> bool:
        """Return whether there is a version to publish, and not heartbeats alone."""
        unnamed = self.snapshots.newest != self._named or self.archived != self._archived_named
        return bool(pending.runs) or unnamed or self.snapshots.due(None if self.holds else self._examples)

    def pass_on(self, pending: PendingVersion) -> None:
        """Pass on the heartbeats of ``pending`` alone, after which it is as before.

        Raises:
            FencedError: another learner owns the model; nothing was published.
            LogUnavailableError: the outcome is not known; recover before going on.
        """
        self._next_alone = time.monotonic() + self._every
        if not self.holds:
            self._writer.commit(self._heartbeats(pending), self._progress(pending))
        pending.heartbeats.clear()

    def publish(
        self,
        model: OnlineModel,
        pending: PendingVersion,
        *,
        whole: bool = False,
        log_loss: float | None = None,
        guard: Guard | None = None,
    ) -> Published:
        """Publish the weights of ``model`` as the next version, or hold them.

        Args:
            model: The model; its rows count as published only once the log has them.
            pending: What was read since the last version.
            whole: Publish a full snapshot, not a change of the last version.
            log_loss: The model's recent log loss, where the version is to say it.
            guard: Who says whether to hold them; None: nobody holds them.

        Raises:
            FencedError: another learner owns the model; nothing was published.
            LogUnavailableError: the outcome is not known; recover before going on.
        """
        begun, whole = time.monotonic(), whole or self.holds
        arrays, held = self._judged(model, pending, guard, whole=whole)
        header = WeightsHeader(
            version=self._number + 1,
            base=None if whole else self._number,
            digest=model.digest(),
            examples=model.examples,
            trained_through=pending.trained_through,
            published_at=int(time.time() * 1000),
        )
        if pending.rollback:
            self.archived = [each for each in self.archived if each.version <= pending.rollback.to]
        released = self.holds and not held
        if whole and not held:
            self.snapshots.write(header, model.spec, arrays, self._end)
        delta = b"" if held else pack(header, {} if whole else arrays)
        published = self._commit(self._version(header, model.spec, pending, log_loss, held), delta, pending)
        ended = time.monotonic()
        pause = min(self._every, ended - begun)  # to learn, however long publishing takes
        self._next = max(begun + max(self._every, len(delta) / BUDGET), ended + pause)
        if released:  # however often versions are held and good again, snapshots stay within the budget
            self._next += sum(array.nbytes for array in arrays.values()) / BUDGET
        model.mark_published()
        self._snapshot_if_due(model, header)
        return published

    def _judged(self, model: OnlineModel, pending: PendingVersion, guard: Guard | None, *, whole: bool) -> tuple[Arrays, dict[str, str]]:
        """Return what is to be published, and why it is held instead; all weights are copied only if the changes are good."""
        arrays, held = model.changes(), dict[str, str]()
        if guard:
            held = guard.judge(model, arrays, pending.trained_through)
        if whole and not held:
            arrays = model.weights.arrays()
            held = guard.judge(model, arrays, pending.trained_through) if guard else {}
        return arrays, held

    def _version(self, header: WeightsHeader, spec: Spec, pending: PendingVersion, log_loss: float | None, held: dict[str, str]) -> Version:
        """Return the record of the next version."""
        return Version(
            version=header.version,
            digest=header.digest,
            examples=header.examples,
            trained_through=header.trained_through,
            offsets=pending.offsets,
            runs=pending.runs,
            excluded=pending.excluded,
            settings=settings_digest(spec),
            fingerprint=fingerprint(),
            published_at=header.published_at,
            snapshot=self.snapshots.newest,
            archived=self.archived,
            rollback=pending.rollback,
            begun=pending.begun,
            forgotten=pending.forgotten,
            forgot_before=self._forgot,
            spec=spec.model_dump(mode="json") if pending.new_settings else None,
            reread=pending.reread(),
            log_loss=log_loss,
            held=held,
            learner=pending.learner,
            sampling=pending.sampling,
            left_out=pending.left_out,
            rounds=pending.rounds if any(each.ranks > 1 for each in pending.rounds) else [],
        )

    def _snapshot_if_due(self, model: OnlineModel, header: WeightsHeader) -> None:
        if self.holds and self.snapshots.due(None):
            self.snapshots.repeat()
        elif not self.holds and self.snapshots.due(model.examples):
            self.snapshots.start(header, model.spec, model.weights.arrays(), self._end)

    def close(self) -> None:
        """Wait for the snapshot being written."""
        self.snapshots.close()

    def _commit(self, version: Version, delta: bytes, pending: PendingVersion) -> Published:
        chunks = cut(self._topics.weights, DELTAS, delta)  # none of a version that is held
        if chunks and pending.traced and self._tracing:
            hops = tuple((TRACEPARENT, self._tracing.hop("learn", *each, version=version.version)) for each in pending.traced)
            chunks[-1] = chunks[-1]._replace(headers=chunks[-1].headers + hops)
        record = Message(self._topics.versions, None, encode(version), partition=0)
        heartbeats = [] if version.held else self._heartbeats(pending)
        offsets = self._writer.commit([*chunks, record, *pending.dead_letters, *heartbeats], self._progress(pending))
        self._number, self._examples, self._forgot = version.version, version.examples, last_forgetting(version)
        self._tell(version)
        self.holds = bool(version.held)
        self.snapshots.count(len(delta))
        self._name(version.snapshot)
        self._archived_named = version.archived
        if chunks:
            self._end = offsets[len(chunks) - 1] + 1
        self.bytes = len(delta)
        return Published(version, offsets[len(chunks)])

    def _heartbeats(self, pending: PendingVersion) -> list[Message]:
        return [message(heartbeat.after_hop(time.time()), self._topics.weights, DELTAS) for heartbeat in pending.heartbeats]

    def _progress(self, pending: PendingVersion) -> dict[TopicPartition, Progress]:
        return {(self._topics.examples, partition): Progress(offset) for partition, offset in pending.offsets.items()}

    def _tell(self, version: Version) -> None:
        """Log that versions begin to be held, or are good again."""
        if version.held and not self.holds:
            why = "; ".join(f"{check}: {found}" for check, found in version.held.items())
            logger.warning("version %s is held, servers stay on the one before: %s", version.version, why)
        elif self.holds and not version.held:
            logger.warning("version %s is good, and published as a whole", version.version)

    def _name(self, snapshot: SnapshotRef | None) -> None:
        """Take note of the snapshot that the last version names: whoever starts reads it, and nobody what is before the one it replaces."""
        before, self._named = self._named, snapshot
        if before and before != snapshot:
            self._log.release(self._topics.weights, {DELTAS: before.deltas, SNAPSHOTS: before.first})


def settings_digest(spec: Spec) -> str:
    """Return the digest of a model's settings; a setting that is added later, with a default, does not change it."""
    return xxh3_64_hexdigest(spec.model_dump_json(exclude_defaults=True).encode())
