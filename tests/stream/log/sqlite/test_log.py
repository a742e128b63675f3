"""What only the SQLite log has: one file that many processes share, and writes that share a transaction."""

import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stream.log.contract import LogError, LogUnavailableError, Message, Progress
from stream.log.sqlite.log import SqliteLog

PAGE = 4096


def commits(path: Path) -> int:
    """Count the transactions in the write-ahead log: a frame's second word is 0, except in a commit's last frame."""
    content = path.with_name(path.name + "-wal").read_bytes()[32:]
    return sum(any(content[start + 4 : start + 8]) for start in range(0, len(content), 24 + PAGE))


def test_appends_that_wait_share_a_transaction(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with SqliteLog(f"sqlite:///{path}") as log:
        log.create("topic", 1)
        before = commits(path)
        blocker = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        blocker.execute("BEGIN IMMEDIATE")

        with ThreadPoolExecutor(20) as pool:
            appends = [pool.submit(log.append, [Message("topic", b"", b"")]) for _ in range(20)]
            time.sleep(0.3)
            blocker.execute("ROLLBACK")
            offsets = sorted(append.result()[0] for append in appends)
        blocker.close()

        assert offsets == list(range(20))
        assert commits(path) - before <= 2  # the first alone, then the others


def test_a_refused_write_does_not_hurt_those_that_share_its_transaction(tmp_path: Path) -> None:
    with SqliteLog(f"sqlite:///{tmp_path}/log.db") as log:
        log.create("topic", 1)

        def append(number: int) -> list[int] | LogError:
            topic = "topic" if number % 2 else "unknown"
            try:
                return log.append([Message(topic, b"", b"")])
            except LogError as error:
                return error

        with ThreadPoolExecutor(20) as pool:
            results = list(pool.map(append, range(40)))

        assert sum(isinstance(result, LogError) for result in results) == 20
        assert log.bounds("topic")[0].end == 20


def test_processes_may_open_and_write_one_new_file_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new/log.db"
    program = (
        "import sys; from stream.log.sqlite.log import SqliteLog; from stream.log.contract import Message\n"
        "with SqliteLog(sys.argv[1]) as log:\n"
        "    log.create('topic', 1)\n"
        "    for _ in range(20): log.append([Message('topic', b'', b'')])\n"
    )

    processes = [subprocess.Popen([sys.executable, "-c", program, url]) for _ in range(4)]

    assert [process.wait(60) for process in processes] == [0] * 4
    with SqliteLog(url) as log:
        assert log.bounds("topic")[0].end == 80


def test_a_commit_does_not_starve_beside_a_busy_writer(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    stop = threading.Event()

    def hog() -> None:
        with SqliteLog(url) as log:
            while not stop.is_set():
                log.append([Message("topic", b"", b"value")] * 200)

    with SqliteLog(url) as log, ThreadPoolExecutor(1) as pool:
        log.create("topic", 1)
        writer = log.writer("owner")
        busy = pool.submit(hog)
        begun = time.monotonic()
        for number in range(20):
            writer.commit([], {("topic", 0): Progress(number)})
        seconds = time.monotonic() - begun
        stop.set()
        busy.result()

    assert seconds < 5


def test_retention_trims_in_batches_until_only_young_records_are_left(tmp_path: Path) -> None:
    with SqliteLog(f"sqlite:///{tmp_path}/log.db") as log:
        log.create("short", 1, retention=0.5)
        log.create("kept", 1)
        log.append([Message(topic, b"", b"") for topic in ("short", "kept") for _ in range(2500)])
        deadline = time.monotonic() + 10
        while log.bounds("short")[0].first < 2500 and time.monotonic() < deadline:
            time.sleep(0.02)
            log.append([Message("short", b"", b"young")])
        first = log.bounds("short")[0].first
        reader = log.reader("short", {0: first})

        assert first >= 2500
        assert {record.value for record in reader.poll(1_000, 1)} == {b"young"}
        assert log.bounds("kept")[0] == (0, 2500)
        reader.close()


def test_a_url_is_relative_to_the_working_folder_or_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    SqliteLog("sqlite:///data/one.db").close()
    SqliteLog(f"sqlite:///{tmp_path}/two.db").close()

    assert (tmp_path / "data" / "one.db").exists()
    assert (tmp_path / "two.db").exists()


def test_a_file_that_is_no_log_is_named_in_the_error(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("not a database" * 100)

    with pytest.raises(LogError, match=r"text\.db"):
        SqliteLog(f"sqlite:///{tmp_path}/text.db")
    with pytest.raises(LogUnavailableError, match="folder"):
        SqliteLog(f"sqlite:///{tmp_path}/text.db/log.db")
