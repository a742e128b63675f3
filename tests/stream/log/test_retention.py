"""No topic grows for ever: what is older than its retention goes, nothing else does, whatever the clock says."""

import math
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from stream.log.contract import Log, Message, OffsetGoneError, Retention
from stream.log.sqlite.log import SqliteLog
from stream.log.sqlite.retention import tick, trim
from tests.stream.log.logs import new_topic

HOUR, DAY, YEAR = 3_600.0, 86_400.0, 365 * 86_400.0
NOW = 1_800_000_000.0


class Clock:
    """A clock that shows what a test says."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class Aged:
    """A log whose records age as a clock of the test's says."""

    def __init__(self, path: Path) -> None:
        self.clock = Clock()
        self.log = SqliteLog(f"sqlite:///{path}")
        self.path = path

    def work(self, seconds: float, *, size: int = 0) -> None:
        """Let time go on, append a record, and let the log forget."""
        self.clock.now += seconds
        self.log._next_tick = math.inf  # it ages by the test's clock alone
        self.log.append([Message("topic", b"", bytes(size))])
        self.forget()

    def forget(self) -> None:
        with closing(sqlite3.connect(self.path, timeout=30)) as db:
            tick(db, self.clock)
            while trim(db):
                pass
            db.commit()

    @property
    def first(self) -> int:
        return self.log.bounds("topic")[0].first

    @property
    def held(self) -> int:
        first, end = self.log.bounds("topic")[0]
        return end - first


@pytest.fixture
def aged(tmp_path: Path) -> Iterator[Aged]:
    """Open a log that ages as a test says."""
    made = Aged(tmp_path / "log.db")
    yield made
    made.log.close()


def test_the_records_of_a_retention_are_kept_and_hardly_more(aged: Aged) -> None:
    aged.log.create("topic", 1, retention=7 * DAY)

    held = []
    for _ in range(500):
        aged.work(HOUR)
        held.append(aged.held)

    assert max(held[:168]) == 168
    assert all(168 <= count <= 172 for count in held[200:])


@settings(max_examples=30, deadline=None)
@given(jumps=st.lists(st.sampled_from([-YEAR, -HOUR, 0.0, HOUR, 3 * DAY, YEAR, 50 * YEAR]), max_size=5))
def test_a_jump_of_the_clock_ages_records_by_a_tenth_of_the_retention_at_most(
    jumps: list[float], tmp_path_factory: pytest.TempPathFactory
) -> None:
    aged = Aged(tmp_path_factory.mktemp("aged") / "log.db")
    aged.log.create("topic", 1, retention=10 * DAY)
    for _ in range(20):
        aged.work(HOUR)

    for jump in jumps:
        aged.work(jump)

    assert aged.first == 0  # 20 hours, and five days at most
    aged.log.close()


@pytest.mark.parametrize("ahead", [-YEAR, YEAR])
def test_records_that_a_wrong_clock_has_stamped_go_in_their_turn(aged: Aged, ahead: float) -> None:
    aged.log.create("topic", 1, retention=10 * DAY)
    aged.work(HOUR)
    aged.clock.now += ahead
    for _ in range(5):
        aged.work(HOUR)
    aged.clock.now -= ahead

    for _ in range(300):
        aged.work(HOUR)

    assert 240 <= aged.held <= 250


def test_a_log_that_nobody_used_for_a_year_still_holds_what_its_processes_had_not_read(aged: Aged) -> None:
    aged.log.create("topic", 1, retention=7 * DAY)
    for _ in range(24):
        aged.work(HOUR)

    aged.work(YEAR)

    assert aged.first == 0


def test_a_topic_keeps_no_more_bytes_than_it_may(aged: Aged) -> None:
    aged.log.create("topic", 1, retention=30 * DAY, most_bytes=1_000_000)

    for _ in range(1_000):
        aged.work(0.001, size=10_000)

    assert aged.held == 100


def test_the_bytes_that_an_earlier_program_had_written_count_when_a_limit_is_set(aged: Aged) -> None:
    aged.log.create("topic", 1)
    for _ in range(50):
        aged.work(1, size=10_000)
    with closing(sqlite3.connect(aged.path)) as db:
        db.execute("UPDATE partitions SET held = 0")
        db.commit()

    aged.log.retain("topic", Retention(None, 200_000))
    aged.forget()

    assert aged.held == 20


def test_offsets_go_on_and_who_asks_for_what_is_gone_is_told_what_there_is(aged: Aged) -> None:
    aged.log.create("topic", 1, retention=10 * HOUR)
    for _ in range(50):
        aged.work(HOUR)
    first, end = aged.log.bounds("topic")[0]

    assert aged.log.append([Message("topic", b"", b"")]) == [end] == [50]
    with (
        closing(aged.log.reader("topic", {0: 3})) as reader,
        pytest.raises(OffsetGoneError, match=f"offset 3 .* from {first} up to {end + 1}"),
    ):
        reader.poll(1, 0)


def test_the_file_reuses_what_was_deleted_while_ten_times_as_much_goes_through_it(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with SqliteLog(f"sqlite:///{path}") as log:
        log.create("topic", 1, retention=0.5)
        start = time.monotonic()
        while time.monotonic() - start < 6:
            log.append([Message("topic", b"", bytes(1_400))] * 20)
        _, end = log.bounds("topic")[0]

    assert path.stat().st_size < 0.5 * 1_400 * end


def test_a_log_of_an_earlier_program_opens_and_is_bounded_once_it_is_told(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute(
            "CREATE TABLE partitions (number INTEGER PRIMARY KEY, topic TEXT, partition INTEGER, first INTEGER, next INTEGER, retention REAL,"
            " UNIQUE (topic, partition))"
        )
        db.execute("CREATE TABLE records (place INTEGER PRIMARY KEY, timestamp INTEGER, key BLOB, value BLOB, headers BLOB)")
        db.execute("INSERT INTO partitions VALUES (1, 'topic', 0, 0, 2, NULL)")
        db.executemany("INSERT INTO records VALUES (?, 5, NULL, x'01', NULL)", [(1 << 40,), (1 << 40 | 1,)])
        db.commit()

    with SqliteLog(f"sqlite:///{path}") as log:
        assert log.retention("topic") == Retention(None, None)
        assert log.append([Message("topic", b"", b"")]) == [2]
        log.retain("topic", Retention(0.2))
        deadline = time.monotonic() + 10
        while log.bounds("topic")[0].first < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
            log.append([Message("topic", b"", b"")])

        assert log.bounds("topic")[0].first >= 3


def test_how_long_a_topic_is_kept_can_be_asked_and_changed(log: Log) -> None:
    topic = new_topic(log, 2, retention=3_600.0)
    for_ever = new_topic(log, 1)

    assert log.retention(topic) == Retention(3_600.0)
    assert log.retention(for_ever) == Retention()
    log.retain(topic, Retention(86_400.0, 5_000_000))
    log.retain(for_ever, Retention(7_200.0))

    assert log.retention(topic) == Retention(86_400.0, 5_000_000)
    assert log.retention(for_ever) == Retention(7_200.0)
    log.retain(topic, Retention())
    assert log.retention(topic) == Retention()


def test_what_nobody_needs_goes_at_once_and_the_rest_stays(tmp_path: Path) -> None:
    with SqliteLog(f"sqlite:///{tmp_path}/log.db") as log:
        log.create("topic", 3, retention=DAY)
        log.append([Message("topic", b"", bytes(10), partition=n % 3) for n in range(15)])

        log.release("topic", {0: 2, 1: 99})
        log.append([Message("topic", b"", b"", partition=0)])  # its write comes after the release

        assert log.bounds("topic") == {0: (2, 6), 1: (5, 5), 2: (0, 5)}
        log.release("topic", {0: 1})
        log.append([Message("topic", b"", b"", partition=1)])
        assert log.bounds("topic") == {0: (2, 6), 1: (5, 6), 2: (0, 5)}
