"""The part of a log that one task joins: Flink reads its records and writes what it decides, and the log itself is only asked for bounds.

A task begins in one of two ways. Where Flink has kept something of its partitions, that is what is read again. Where it has not, the job
goes on from where ``sml join`` stopped: what that would read again is read from the log, and kept from then on.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import msgspec

from stream.inputs.decode import input_topics
from stream.join.matching.input_state import ResumePoint
from stream.join.progress import progress
from stream.join.share import is_flinks
from stream.log.contract import Bounds, Log, Message, Partitioner, Progress, Reader, Record, TopicPartition
from stream.log.topics import JoinerError, Topics

QUIET = 1.0  # seconds without a record after which a partition may have been read to its end
MARKERS = 100  # offsets that may all be markers: where more are left, there are records
_PATIENCE = 1.0  # seconds that looking for a record may take


class Kept(NamedTuple):
    """What Flink has kept of a partition: how far its two inputs have come, and the records that may still matter."""

    progress: tuple[Progress, Progress]
    records: list[Record]


def rewind_of(progress: Progress) -> int:
    """Return the offset before which no record is needed any more."""
    return _point(progress).rewind


def unmarked(entry: Progress) -> Progress:
    """Return the progress of ``sml join`` that a job took over, without the mark that says so."""
    if not entry.metadata or not is_flinks(entry):
        return entry
    return progress(entry.offset, msgspec.structs.replace(_point(entry), share=""))


def _point(entry: Progress) -> ResumePoint:
    return msgspec.json.decode(entry.metadata, type=ResumePoint)


class TaskLog:
    """A log as a task sees it: it holds records of the partitions ``assigned`` only; the others are empty.

    Args:
        log: The log itself.
        topics: The topics that are joined.
        assigned: The partitions, each with what Flink has kept of it; None: nothing yet.
        clock: Seconds.
    """

    def __init__(self, log: Log, topics: Topics, assigned: Mapping[int, Kept | None], clock: Callable[[], float] = time.monotonic) -> None:
        self.partitioner: Partitioner = log.partitioner
        self.assigned = assigned
        self.inputs = input_topics(topics)
        self.come: dict[str, deque[Record]] = {topic: deque() for topic in self.inputs}  # and not polled yet
        self.started = False  # whether records come from Flink; before, what is kept is read again
        self.written: list[Message] = []
        self.made: dict[TopicPartition, Progress] = {}
        self.again: dict[tuple[str, int, int], Record] = {}  # read from the log itself, to be kept
        self._log, self._clock = log, clock
        self._positions: dict[TopicPartition, int] = {}
        self._came_at: dict[TopicPartition, float] = {}
        self._looked: dict[TopicPartition, tuple[int, int, bool]] = {}  # position, end, and whether no record is between them

    def take(self, record: Record) -> None:
        """Take a record that Flink has read."""
        self.come[record.topic].append(record)
        self._came_at[record.topic, record.partition] = self._clock()

    def progress(self, owner: str, topic: str) -> dict[int, Progress]:
        """Return how far the join of each partition had come: as Flink has kept it, or as ``sml join`` left it.

        Raises:
            JoinerError: what Flink has kept is older than what was committed since.
        """
        if topic not in self.inputs:
            return {}
        found = self._log.progress(owner, topic)
        known = {p: unmarked(entry) for p, entry in found.items() if p in self.assigned}
        for p, kept in self.assigned.items():
            if kept is None:
                continue
            known[p] = entry = kept.progress[self.inputs.index(topic)]
            if p in found and found[p].offset > entry.offset:
                raise JoinerError(
                    f"{topic} partition {p}: Flink's checkpoint has come to offset {entry.offset}, expected at least {found[p].offset}, "
                    "up to which it was joined since: start from the newest checkpoint, or begin anew: `sml join --from-now`"
                )
        return known

    def bounds(self, topic: str) -> dict[int, Bounds]:
        """Return the offsets that each partition holds; an assigned one ends where no record is left to be read."""
        found = self._log.bounds(topic)
        return {p: self._bounds(topic, p, of) if p in self.assigned else Bounds(0, 0) for p, of in found.items()}

    def reader(self, topic: str, start: Mapping[int, int]) -> Reader:
        """Open a reader: of what is kept, before the task has started; of what comes, afterwards."""
        return _TaskReader(self, topic, {p: offset for p, offset in start.items() if p in self.assigned}, dict(start))

    def writer(self, owner: str) -> "TaskWriter":
        """Return what collects for Flink; the job itself fences another one."""
        del owner
        return TaskWriter(self)

    def append(self, heartbeats: Sequence[Message]) -> list[int]:
        """Collect heartbeats for Flink to write; each is sent by the task that its partition is assigned to."""
        self.written += (each for each in heartbeats if each.partition in self.assigned)
        return []

    def kept(self, topic: str, start: Mapping[int, int]) -> Reader | list[Record]:
        """Return what is read again from ``start``: a reader of the log, or what Flink has kept."""
        if None in self.assigned.values():
            return self._log.reader(topic, start)
        records = (record for kept in self.assigned.values() if kept for record in kept.records)
        return [record for record in records if record.topic == topic and record.offset >= start.get(record.partition, record.offset + 1)]

    def move(self, topic: str, positions: Mapping[int, int]) -> None:
        """Remember how far the records that come are read."""
        self._positions.update({(topic, p): offset for p, offset in positions.items()})

    def __getattr__(self, name: str) -> Any:
        """Return what only the log itself knows."""
        return getattr(self._log, name)

    def _bounds(self, topic: str, p: int, found: Bounds) -> Bounds:
        kept = self.assigned[p]
        if kept is not None and not self.started and topic in self.inputs:
            progress = kept.progress[self.inputs.index(topic)]
            return Bounds(min(rewind_of(progress), progress.offset), progress.offset)
        return found if not self.started or topic not in self.inputs else found._replace(end=self._end(topic, p, found.end))

    def _end(self, topic: str, p: int, end: int) -> int:
        """Return where a partition ends: its position, if only markers of transactions follow."""
        position = self._positions.get((topic, p), end)
        quiet = self._clock() - self._came_at.get((topic, p), 0.0) > QUIET
        if not 0 < end - position <= MARKERS or not quiet or any(record.partition == p for record in self.come[topic]):
            return end
        looked = self._looked.get((topic, p))
        if looked is None or looked[:2] != (position, end):
            with closing(self._log.reader(topic, {p: position})) as reader:
                is_empty = not reader.poll(1, _PATIENCE) and reader.positions()[p] >= end
            self._looked[topic, p] = looked = position, end, is_empty
        return position if looked[2] else end


class _TaskReader:
    """Reads what is kept, or what comes; partitions that are not assigned never move."""

    def __init__(self, log: TaskLog, topic: str, start: Mapping[int, int], positions: dict[int, int]) -> None:
        self._log, self._topic, self._start, self._at = log, topic, start, positions
        self._again: Reader | None = None

    def poll(self, max_records: int, timeout: float) -> list[Record]:
        records = self._come(max_records) if self._log.started else self._kept(max_records, timeout)
        self._at.update({record.partition: record.offset + 1 for record in records})
        return records

    def positions(self) -> dict[int, int]:
        return self._at if self._again is None else self._at | self._again.positions()

    def close(self) -> None:
        if self._again is not None:
            self._again.close()

    def _come(self, most: int) -> list[Record]:
        """Take what has come, the records of a partition together."""
        queue = self._log.come[self._topic]
        records = sorted((queue.popleft() for _ in range(min(most, len(queue)))), key=lambda record: record.partition)
        self._log.move(self._topic, self._at | {record.partition: record.offset + 1 for record in records})
        return records

    def _kept(self, most: int, timeout: float) -> list[Record]:
        if self._again is None:
            found = self._log.kept(self._topic, self._start)
            if isinstance(found, list):
                # All at once, and the offsets behind the last of them hold no record.
                bounds = self._log.bounds(self._topic)
                self._at.update({p: bounds[p].end for p in self._start})
                return found
            self._again = found
        records = self._again.poll(most, timeout)
        self._log.again |= {(record.topic, record.partition, record.offset): record for record in records}
        return records


class TaskWriter:
    """Collects what a task writes, for Flink to write it in a transaction of its own."""

    def __init__(self, log: TaskLog) -> None:
        self._log = log

    def commit(self, messages: Sequence[Message], progress: Mapping[TopicPartition, Progress]) -> list[int]:
        """Collect the messages and the progress."""
        self._log.written += messages
        self._log.made.update({each: made for each, made in progress.items() if each[1] in self._log.assigned})
        return []

    def close(self) -> None:
        """Do nothing."""
