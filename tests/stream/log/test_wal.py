"""The write-ahead log of an SQLite file is bounded, although somebody reads for as long as they like."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from stream.log.contract import LogUnavailableError, Message, Retention
from stream.log.metrics import measure
from stream.log.sqlite import file as sqlite_file
from stream.log.sqlite.log import SqliteLog
from stream.log.topics import Topics, create

MEGABYTE = [Message("topic", b"", bytes(500_000))] * 2


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqliteLog]:
    """Open a log whose limits are a hundredth of the usual ones."""
    monkeypatch.setattr(sqlite_file, "MOST_WAL", 10_000_000)
    monkeypatch.setattr(sqlite_file, "_USUAL_WAL", 2_000_000)
    with SqliteLog(f"sqlite:///{tmp_path / 'log.db'}") as opened:
        opened.create("topic", 1)
        yield opened


@contextmanager
def long_reader(path: Path) -> Iterator[None]:
    """Hold a read transaction open, as a program does that walks through a table."""
    with closing(sqlite3.connect(path / "log.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM records").fetchone()
        yield


def test_a_reader_that_never_ends_stops_writing_with_a_sentence_and_not_with_a_full_disk(log: SqliteLog, tmp_path: Path) -> None:
    said = r"write-ahead log takes \d\d,.* bytes, expected at most 10,000,000\. A program"

    def fill() -> None:
        for _ in range(100):
            log.append(MEGABYTE)

    with long_reader(tmp_path):
        with pytest.raises(LogUnavailableError, match=said):
            fill()
        assert log.file_sizes()["write-ahead"] < 13_000_000
        with pytest.raises(LogUnavailableError):
            log.append(MEGABYTE)

    log.append(MEGABYTE)  # at once, when it has ended
    assert log.file_sizes()["write-ahead"] < 3_000_000


def test_the_write_ahead_log_of_a_busy_log_that_is_followed_stays_small(log: SqliteLog) -> None:
    log.retain("topic", Retention(0.3))
    largest = 0
    with closing(log.reader("topic", {0: 0})) as reader:
        for _ in range(100):
            log.append(MEGABYTE)
            reader.poll(10, 0)
            largest = max(largest, log.file_sizes()["write-ahead"])

    assert largest < 10_000_000  # a hundred went through it


def test_the_sizes_of_the_log_are_metrics(tmp_path: Path) -> None:
    registry, topics = CollectorRegistry(), Topics("m")
    with SqliteLog(f"sqlite:///{tmp_path / 'log.db'}") as log:
        create(log, topics, 2)
        measure(log, topics, registry)
        log.append([Message(topics.clicks, b"%d" % n, bytes(1_000)) for n in range(50)])

        assert registry.get_sample_value("sml_log_held_records", {"topic": topics.clicks}) == 50
        assert registry.get_sample_value("sml_log_deleted_records", {"topic": topics.clicks}) == 0
        assert registry.get_sample_value("sml_log_file_bytes", {"file": "write-ahead"}) == log.file_sizes()["write-ahead"] > 50_000
