"""A task of a Flink job: joins some partitions with the very code of ``sml join``, between two pipes.

Frames in: A assigns a partition, with what Flink has kept of it; R is a record; S starts; F asks for all that is decided by now, C the same
before a checkpoint. Each of these three is answered: K a record to keep, M a message to write, P how far a partition has come, then D.
After D nothing is left over, so what Flink's checkpoint holds at that moment is all that is known: a task can be killed at any time.
"""

import time
from collections.abc import Callable
from typing import BinaryIO, cast

import msgspec

from stream.flink.frames import frame_of_message, frame_of_record, read_frames, record_in, write_frame
from stream.flink.task_log import Kept, TaskLog, TaskWriter, rewind_of
from stream.inputs.decode import input_topics
from stream.join.joiner import Joiner
from stream.join.metrics import JoinerMetrics
from stream.join.session import JoinSession
from stream.log.contract import Log, LogError, LogUnavailableError, OffsetGoneError, Progress
from stream.log.topics import Topics
from stream.settings import JoinSettings

_Kept = tuple[tuple[int, str], tuple[int, str]]  # of each input: the next offset, and what a restart must know beside it


class Task:
    """Joins the partitions that it is assigned.

    Args:
        log: The log.
        topics: The topics to join.
        settings: How to join.
        out: Where answers go.
        check_owner: Raises an error once the job is another's, see :class:`stream.flink.ownership.Ownership`.
        metrics: What is counted; what a task has counted since the last checkpoint is counted again if it is killed.
        with_heartbeats: Whether to send some.
    """

    def __init__(
        self,
        log: Log,
        topics: Topics,
        settings: JoinSettings,
        out: BinaryIO,
        check_owner: Callable[[], None],
        metrics: JoinerMetrics,
        *,
        with_heartbeats: bool,
    ) -> None:
        self._log, self._topics, self._settings, self._out = log, topics, settings, out
        self._check_owner, self._metrics, self._with_heartbeats = check_owner, metrics, with_heartbeats
        self._inputs = input_topics(topics)
        self._assigned: dict[int, Kept | None] = {}
        self._task_log = TaskLog(log, topics, {})
        self._session: JoinSession | None = None

    def run(self, pipe: BinaryIO) -> None:
        """Do what the frames say, until their end. An error is the answer, and the end."""
        try:
            for letter, frame in read_frames(pipe):
                self._do(letter, frame)
        except (LogUnavailableError, OffsetGoneError) as error:
            self._fail(b"T", error)
        except LogError as error:
            self._fail(b"E", error)

    def _do(self, letter: bytes, frame: bytes) -> None:
        if letter == b"R":
            self._take(frame)
        elif letter == b"A":
            self._assign(int.from_bytes(frame[:4]), frame[4:])
        else:
            if letter in {b"S", b"C"}:
                self._check_owner()
            if letter == b"S":
                self._start()
            self._answer()

    def _assign(self, partition: int, kept: bytes) -> None:
        if not kept:
            self._assigned[partition] = None
            return
        impressions, clicks = msgspec.json.decode(kept, type=_Kept)
        self._assigned[partition] = Kept((Progress(*impressions), Progress(*clicks)), [])

    def _take(self, frame: bytes) -> None:
        record = record_in(frame, self._inputs)
        if self._session is None:
            kept = self._assigned[record.partition]
            if kept is not None:
                kept.records.append(record)
        else:
            self._task_log.take(record)

    def _start(self) -> None:
        self._task_log = TaskLog(self._log, self._topics, self._assigned)
        joiner = Joiner(cast("Log", self._task_log), self._topics, self._settings, self._metrics, time.monotonic)
        self._session = JoinSession(joiner, TaskWriter(self._task_log), with_heartbeats=self._with_heartbeats)
        self._task_log.started = True

    def _answer(self) -> None:
        """Join what has come, and say what follows from it."""
        session, log = self._session, self._task_log
        if session is None:
            raise LogError("a task was asked before it was started")
        while any(log.come.values()):
            session.step(with_idle=False)
        session.step()
        session.write([], final=True)
        for record in self._kept_from_the_log():
            write_frame(self._out, b"K", record)
        for message in log.written:
            write_frame(self._out, b"M", frame_of_message(message))
        for partition in {p for _, p in log.made}:
            impressions, clicks = (log.made[topic, partition] for topic in self._inputs)
            head = b"".join(number.to_bytes(size) for number, size in ((partition, 4), (rewind_of(impressions), 8), (rewind_of(clicks), 8)))
            write_frame(self._out, b"P", head, msgspec.json.encode((impressions, clicks)))
        log.written.clear()
        log.made.clear()
        write_frame(self._out, b"D")
        self._out.flush()

    def _kept_from_the_log(self) -> list[bytes]:
        """Return the records, read again at the start, that were joined before it: Flink has not read them, and will not."""
        again, self._task_log.again = self._task_log.again, {}
        made = self._task_log.made
        return [frame_of_record(record, self._inputs) for (topic, p, offset), record in again.items() if offset < made[topic, p].offset]

    def _fail(self, letter: bytes, error: Exception) -> None:
        write_frame(self._out, letter, str(error).encode())
        self._out.flush()
