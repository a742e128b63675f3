"""A replay writes nothing that would be set aside: no time after now unless it says that it is made up, no click before its impression."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from stream.files.in_order import in_order
from stream.files.layout import Logged
from stream.files.opened import FileError
from stream.inputs.event_time import FUTURE, TimeRule
from stream.join.joiner import Joiner
from stream.join.metrics import JoinerMetrics
from stream.log.contract import Message, Record
from stream.log.sqlite.log import SqliteLog
from stream.log.topics import Topics, create
from stream.records.events import Watermark, decode_click, decode_example, decode_impression
from stream.replay import BATCH, Events, FutureRowError, Replay
from stream.settings import JoinSettings
from tests.stream.join.test_joiner import read

TOPICS = Topics("t")
NOW = 1_790_000_000_000  # ms
SKEW = 60_000  # ms
SETTINGS = JoinSettings(click_window=600.0, lateness=60.0, clock_skew=60.0)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    with SqliteLog(f"sqlite:///{tmp_path}/log.db") as log:
        create(log, TOPICS, 1)
        yield log


def row(number: int, time: int, label: int = 0, *, clicked_at: int | None = None) -> Logged:
    return Logged(number, time, label, {}, clicked_at)


def replay(log: SqliteLog, rows: list[Logged], *, events: Events = "impressions", future: bool = False) -> Replay:
    run = Replay(log, TOPICS, SETTINGS, events, None, future=future, clock=lambda: NOW / 1000)
    for _ in run.run(rows, lambda _: False):
        pass
    return run


def records(log: SqliteLog) -> list[Record]:
    return [record for topic in (TOPICS.impressions, TOPICS.clicks, TOPICS.examples) for record in read(log, topic)]


@pytest.mark.parametrize("events", ["impressions", "examples"])
@pytest.mark.parametrize("wrong", [row(7, NOW + SKEW + 1), row(7, NOW, 1, clicked_at=NOW + SKEW + 1)])
def test_a_time_after_now_is_refused_and_nothing_of_its_batch_is_written(log: SqliteLog, wrong: Logged, events: Events) -> None:
    with pytest.raises(FutureRowError) as error:
        replay(log, [row(1, NOW - 5), wrong], events=events)

    assert isinstance(error.value, FileError)
    assert "row 7" in str(error.value)
    assert "got 1790000060001 (2026-09-21T14:14:20.001Z)" in str(error.value)
    assert "at most 1m after now, 1790000000000 (2026-09-21T14:13:20.000Z)" in str(error.value)
    assert "`sml replay --future`" in str(error.value)
    assert records(log) == []


def test_a_batch_before_a_time_after_now_is_written(log: SqliteLog) -> None:
    rows = [row(number, NOW) for number in range(BATCH)]

    with pytest.raises(FutureRowError):
        replay(log, [*rows, row(BATCH, NOW + SKEW + 1)])

    assert len(records(log)) == BATCH


@pytest.mark.parametrize("events", ["impressions", "examples"])
def test_every_record_of_made_up_times_says_so_and_no_other_does(log: SqliteLog, events: Events) -> None:
    replay(log, [row(1, NOW)], events=events)
    plain = records(log)
    replay(log, [row(2, NOW + 10**9, 1), row(3, NOW + 2 * 10**9, 1)], events=events, future=True)
    made_up = [record for record in records(log) if record not in plain]

    assert {record.headers for record in plain} == {()}
    assert {record.headers for record in made_up} == {((FUTURE, b"1"),)}
    assert len(made_up) == (6 if events == "impressions" else 2)  # two watermarks among them


def test_no_record_is_later_than_the_rule_of_the_joiner_allows(log: SqliteLog) -> None:
    run = replay(log, [row(1, NOW - 1_000_000, 1), row(2, NOW - 1_000, 1, clicked_at=NOW + 1)])
    rule = TimeRule.of(SETTINGS)

    for record in records(log):
        event = (decode_impression if record.topic == TOPICS.impressions else decode_click)(record.value)
        rule.check(event.watermark if isinstance(event, Watermark) else event.time, NOW)
    assert run.undecided_from == NOW - 660_000


def test_an_old_file_is_decided_to_its_last_row(log: SqliteLog) -> None:
    run = replay(log, [row(1, NOW - 10**9)])

    assert run.undecided_from is None
    assert decode_impression(read(log, TOPICS.impressions)[-1].value) == Watermark(NOW - 10**9 + 660_000)


class Appends(SqliteLog):
    """A log that remembers what was appended together."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.appended: list[set[str]] = []

    def append(self, messages: Sequence[Message]) -> list[int]:
        """Append."""
        self.appended.append({message.topic for message in messages})
        return super().append(messages)


def test_the_impressions_of_a_batch_are_in_the_log_before_its_clicks(tmp_path: Path) -> None:
    with Appends(f"sqlite:///{tmp_path}/log.db") as log:
        create(log, TOPICS, 1)
        replay(log, [row(number, NOW - 10**9 + number, 1) for number in range(2 * BATCH)])
        batches = log.appended[:-1]
        shown = {record.key: record.timestamp for record in read(log, TOPICS.impressions) if record.key}
        clicked = {record.key: record.timestamp for record in read(log, TOPICS.clicks) if record.key}

    assert batches == [{TOPICS.impressions}, {TOPICS.clicks}] * 2
    assert all(at >= shown[key] for key, at in clicked.items())
    assert len(clicked) == 2 * BATCH


def test_rows_in_any_order_are_joined_as_those_in_the_order_of_time(log: SqliteLog) -> None:
    times = [0, 900_000, 240_000, 239_999, 900_001, 0]
    rows = [row(number, NOW - 10**9 + time, number % 2) for number, time in enumerate(times)]

    replay(log, list(in_order(rows)))
    join(log, SETTINGS)

    assert log.bounds(TOPICS.dead_letters)[0].end == 0
    examples = [decode_example(record.value) for record in read(log, TOPICS.examples)]
    assert [(each.impression_id, each.label) for each in examples] == [("0", 0), ("5", 1), ("3", 1), ("2", 0), ("1", 1), ("4", 0)]


def test_made_up_times_are_joined_where_they_are_accepted_and_set_aside_where_not(tmp_path: Path) -> None:
    joined = {}
    for accept in (True, False):
        with SqliteLog(f"sqlite:///{tmp_path}/{accept}.db") as log:
            create(log, TOPICS, 1)
            replay(log, [row(1, NOW + 10**12, 1), row(2, NOW + 2 * 10**12)], future=True)
            join(log, SETTINGS.model_copy(update={"accept_future": accept}))
            joined[accept] = log.bounds(TOPICS.examples)[0].end, log.bounds(TOPICS.dead_letters)[0].end

    assert joined == {True: (2, 0), False: (0, 5)}


def join(log: SqliteLog, settings: JoinSettings) -> None:
    Joiner(log, TOPICS, settings, JoinerMetrics(CollectorRegistry())).run(lambda: False, until_caught_up=True)
