"""A log of recorded streams, and what Flink does with a task, without Flink: keep, kill, rescale."""

import io
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from prometheus_client import CollectorRegistry

from stream.flink.frames import frame_of_record, read_frames, write_frame
from stream.flink.task import Task
from stream.inputs.decode import input_topics
from stream.join.metrics import JoinerMetrics
from stream.log.contract import Bounds, Log, Message, Partitioner, Progress, Reader, Record, TopicPartition, Writer
from stream.log.message import partition_of
from stream.log.topics import Topics
from stream.settings import JoinSettings
from tests.helpers.flink_traffic import Event

PARTITIONS = 4
TOPICS = Topics("t")
INPUTS = input_topics(TOPICS)


class RecordedLog:
    """The records of both inputs, each partition up to an end that can be moved; what is written is collected."""

    partitioner: Partitioner = "murmur2"

    def __init__(self, events: Iterator[Event]) -> None:
        self.records: dict[TopicPartition, list[Record]] = {(topic, p): [] for topic in INPUTS for p in range(PARTITIONS)}
        for event in events:
            partition = (partition_of(event.id.encode(), PARTITIONS, "murmur2") + event.misplaced) % PARTITIONS
            into = self.records[INPUTS[event.is_click], partition]
            record = Record(INPUTS[event.is_click], partition, len(into), event.appended, event.id.encode(), event.value, event.headers)
            into.append(record)
        self.share = 1.0  # of each partition that is written by now
        self.written: list[Message] = []
        self.committed: dict[TopicPartition, Progress] = {}

    def bounds(self, topic: str) -> dict[int, Bounds]:
        return {p: Bounds(0, int(self.share * len(self.records.get((topic, p), [])))) for p in range(PARTITIONS)}

    def progress(self, owner: str, topic: str) -> dict[int, Progress]:  # noqa: ARG002
        return {p: progress for (of, p), progress in self.committed.items() if of == topic}

    def reader(self, topic: str, start: Mapping[int, int]) -> Reader:
        return cast("Reader", _Recorded(self, topic, dict(start)))

    def writer(self, owner: str) -> Writer:  # noqa: ARG002
        return cast("Writer", self)

    def commit(self, messages: Sequence[Message], progress: Mapping[TopicPartition, Progress]) -> list[int]:
        self.written += messages
        self.committed.update(progress)
        return []

    def close(self) -> None: ...


class _Recorded:
    def __init__(self, log: RecordedLog, topic: str, positions: dict[int, int]) -> None:
        self.log, self.topic, self.at = log, topic, positions

    def poll(self, most: int, timeout: float) -> list[Record]:  # noqa: ARG002
        for p, bounds in self.log.bounds(self.topic).items():
            if p in self.at and self.at[p] < bounds.end:
                found = self.log.records[self.topic, p][self.at[p] : min(bounds.end, self.at[p] + most)]
                self.at[p] += len(found)
                return found
        return []

    def positions(self) -> dict[int, int]:
        return dict(self.at)

    def close(self) -> None: ...


class Engine:
    """Joins a recorded log by tasks, each of which has some partitions, as ``JoinOperator`` does."""

    def __init__(self, log: RecordedLog, settings: JoinSettings, start: Mapping[TopicPartition, int] | None = None) -> None:
        self.log, self.settings = log, settings
        self.read = dict.fromkeys(log.records, 0) | dict(start or {})
        self.progress: dict[int, bytes] = {}
        self.kept: dict[tuple[int, int, int], bytes] = {}  # partition, input, offset → record
        self.written: list[bytes] = []

    def run(self, tasks: int, chance: random.Random, *, killed: bool = False, most: int = 10**9) -> None:
        """Join ``most`` records at least with so many tasks, in any order; if they are ``killed``, as if that had not been."""
        before = self.read.copy(), self.progress.copy(), self.kept.copy(), self.written.copy()
        running = [_Running(self, [p for p in range(PARTITIONS) if p * tasks // PARTITIONS == each]) for each in range(tasks)]
        while most > 0 and (behind := [each for each, at in self.read.items() if at < self.log.bounds(each[0])[each[1]].end]):
            topic, p = chance.choice(behind)
            at = self.read[topic, p]
            end = self.log.bounds(topic)[p].end
            for record in self.log.records[topic, p][at : min(end, at + chance.randrange(1, 200))]:
                running[p * tasks // PARTITIONS].send(record)
                self.read[topic, p] += 1
                most -= 1
            running[p * tasks // PARTITIONS].flush()
        if killed:
            self.read, self.progress, self.kept, self.written = before

    def outcome(self) -> Counter[bytes]:
        return Counter(self.written)


class _Running:
    """A task, spoken to by frames."""

    def __init__(self, engine: Engine, partitions: list[int]) -> None:
        self.engine, self.out, self.batch = engine, io.BytesIO(), list[bytes]()
        metrics = JoinerMetrics(CollectorRegistry())
        self.task = Task(cast("Log", engine.log), TOPICS, engine.settings, self.out, lambda: None, metrics, with_heartbeats=False)
        for p in partitions:
            self._do(b"A", p.to_bytes(4) + engine.progress.get(p, b""))
            for (_, _, _), record in sorted(each for each in engine.kept.items() if each[0][0] == p):
                self._do(b"R", record)
        self._answered(b"S")

    def send(self, record: Record) -> None:
        self.batch.append(frame_of_record(record, INPUTS))
        self._do(b"R", self.batch[-1])

    def flush(self) -> None:
        self._answered(b"F")

    def _do(self, letter: bytes, frame: bytes = b"") -> None:
        pipe = io.BytesIO()
        write_frame(pipe, letter, frame)
        pipe.seek(0)
        self.task.run(pipe)

    def _answered(self, letter: bytes) -> None:
        self._do(letter)
        self.out.seek(0)
        frames = list(read_frames(self.out))
        self.out.seek(0)
        self.out.truncate()
        assert frames[-1] == (b"D", b"")
        self.engine.written += [frame for kind, frame in frames if kind == b"M"]
        for record in [frame for kind, frame in frames if kind == b"K"] + self.batch:
            self.engine.kept[_place(record)] = record
        self.batch.clear()
        for made in (frame for kind, frame in frames if kind == b"P"):
            p, rewind = int.from_bytes(made[:4]), (int.from_bytes(made[4:12]), int.from_bytes(made[12:20]))
            self.engine.progress[p] = made[20:]
            self.engine.kept = {each: record for each, record in self.engine.kept.items() if each[0] != p or each[2] >= rewind[each[1]]}


def _place(record: bytes) -> tuple[int, int, int]:
    return int.from_bytes(record[1:5]), record[0], int.from_bytes(record[5:13])
