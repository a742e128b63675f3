"""A task of Flink's decides as ``sml join`` does, whatever is killed, moved or handed over; and what it tells Flink to keep is bounded."""

import io
import random
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from stream.flink.frames import frame_of_message, frame_of_record, read_frames, record_in, write_frame
from stream.flink.task import Task
from stream.flink.task_log import QUIET, Kept, TaskLog
from stream.join.joiner import Joiner
from stream.join.metrics import JoinerMetrics
from stream.log.contract import Bounds, FencedError, Log, Progress, Reader, Record
from stream.log.topics import JoinerError
from stream.records.heartbeat import Heartbeat, message
from stream.settings import JoinSettings
from tests.helpers.flink_traffic import JOIN, events
from tests.stream.flink.engine import INPUTS, PARTITIONS, TOPICS, Engine, RecordedLog

START = 1_790_000_000_000
POLICIES: dict[str, dict[str, Any]] = {
    "window": {},
    "window, late clicks learned": {"late_clicks": "learn"},
    "fnw": {"label_policy": "fnw"},
    "fnc": {"label_policy": "fnc"},
}


def joined(log: RecordedLog, settings: JoinSettings) -> list[bytes]:
    Joiner(cast("Log", log), TOPICS, settings, JoinerMetrics(CollectorRegistry())).run(lambda: False, until_caught_up=True)
    written, log.written = log.written, []
    return [frame_of_message(each) for each in written]


def examples(written: list[bytes], partition: int) -> list[bytes]:
    """Return the examples of a partition, in the order in which they were written."""
    begin = len(TOPICS.examples).to_bytes(4) + TOPICS.examples.encode() + partition.to_bytes(4)
    return [frame for frame in written if frame.startswith(begin)]


@pytest.mark.parametrize("policy", POLICIES)
def test_tasks_that_are_killed_and_rescaled_decide_as_one_joiner_does(policy: str) -> None:
    settings = JoinSettings.model_validate(JOIN | POLICIES[policy])
    expected = joined(RecordedLog(events(3_000, START)), settings)
    engine, chance = Engine(RecordedLog(events(3_000, START)), settings), random.Random(3)

    for tasks, killed in ((1, False), (4, True), (4, False), (2, True), (2, False), (3, False)):
        engine.run(tasks, chance, killed=killed, most=600)
    largest = len(engine.kept)
    engine.run(1, chance)

    assert sorted(engine.written) == sorted(expected)
    assert all(examples(engine.written, p) == examples(expected, p) for p in range(PARTITIONS))
    assert len(expected) > 1_000
    assert 0 < largest < 3_000


def test_flink_goes_on_where_a_joiner_stopped_and_what_waited_there_is_decided_once() -> None:
    settings = JoinSettings.model_validate(JOIN)
    expected = sorted(joined(RecordedLog(events(3_000, START)), settings))
    log = RecordedLog(events(3_000, START))
    log.share = 0.5
    first = joined(log, settings)
    log.share = 1.0
    engine = Engine(log, settings, {each: progress.offset for each, progress in log.committed.items()})

    engine.run(2, random.Random(5), most=200)
    log.committed.clear()
    engine.run(4, random.Random(5))

    assert sorted(first + engine.written) == expected
    assert len(first) > 300
    assert len(engine.written) > 300


def test_a_record_comes_out_of_its_frame_as_it_went_in() -> None:
    for record in (
        Record(INPUTS[1], 3, 2**40, 17, None, None, (("a", b""), ("ü", b"\xff"))),
        Record(INPUTS[0], 0, 0, -1, b"", b"value"),
    ):
        assert record_in(frame_of_record(record, INPUTS), INPUTS) == record


class Marked(RecordedLog):
    """A log whose partitions end with the marker of a transaction, which its readers pass."""

    def bounds(self, topic: str) -> dict[int, Bounds]:
        return {p: Bounds(first, end + 1) for p, (first, end) in super().bounds(topic).items()}

    def reader(self, topic: str, start: Mapping[int, int]) -> Reader:
        reader = super().reader(topic, start)
        positions = reader.positions
        reader.positions = lambda: {p: at + (at == len(self.records[topic, p])) for p, at in positions().items()}  # type: ignore[method-assign]
        return reader


def test_a_partition_after_whose_last_record_only_markers_come_is_at_its_end_once_it_is_quiet() -> None:
    topic, log, now = INPUTS[0], Marked(events(50, START)), [0.0]
    records = log.records[topic, 0]
    task = TaskLog(cast("Log", log), TOPICS, {0: None, 1: None}, lambda: now[0])
    task.started = True
    reader = task.reader(topic, dict.fromkeys(range(PARTITIONS), 0))

    def end_after(new: Sequence[Record]) -> int:
        for record in new:
            task.take(record)
        reader.poll(1_000, 0)
        at_once = task.bounds(topic)[0].end
        now[0] += QUIET + 0.1
        assert at_once == len(records) + 1
        return task.bounds(topic)[0].end

    assert end_after(records[:-1]) == len(records) + 1  # for one is left
    assert end_after(records[-1:]) == len(records)
    assert task.bounds(topic)[2].end == 0  # another task's


def test_a_heartbeat_is_sent_by_the_task_that_has_its_partition() -> None:
    task = TaskLog(cast("Log", RecordedLog(events(1, START))), TOPICS, {1: None})
    beats = [message(Heartbeat([START]), TOPICS.impressions, p, b"key") for p in range(PARTITIONS)]

    task.append(beats)

    assert task.written == [beats[1]]


def test_a_checkpoint_that_is_older_than_what_was_joined_since_is_refused() -> None:
    log = RecordedLog(events(50, START))
    points = [Progress(7, '{"rewind":0}'), Progress(9, '{"rewind":0}')]
    task = TaskLog(cast("Log", log), TOPICS, {0: Kept((points[0], points[1]), [])})

    log.committed = {(INPUTS[0], 0): Progress(7), (INPUTS[1], 0): Progress(10)}

    assert task.progress("any", INPUTS[0]) == {0: points[0]}
    with pytest.raises(JoinerError, match="partition 0: Flink's checkpoint has come to offset 9, expected at least 10"):
        task.progress("any", INPUTS[1])


def test_a_task_whose_job_is_anothers_says_so_and_answers_nothing() -> None:
    def check() -> None:
        raise FencedError("another process owns 't'")

    for letter in (b"S", b"C"):
        pipe, out = io.BytesIO(), io.BytesIO()
        write_frame(pipe, letter)
        pipe.seek(0)
        log, metrics = cast("Log", RecordedLog(events(1, START))), JoinerMetrics(CollectorRegistry())
        Task(log, TOPICS, JoinSettings(), out, check, metrics, with_heartbeats=False).run(pipe)
        out.seek(0)

        assert list(read_frames(out)) == [(b"E", b"another process owns 't'")]
