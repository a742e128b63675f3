"""One `sml up` holds a folder: a second one names it, and takes over only on purpose, whenever it starts and whatever it finds."""

import errno
import json
import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Event

import pytest

from service.up.folder_lock import FolderLock, NotReleasedError, RunsAlreadyError

CONFIG = Path("sml.toml")


class Screen:
    """A start of `sml up`, as far as its folder goes, and the lines that it prints."""

    def __init__(self, folder: Path) -> None:
        self.stop, self.printed = Event(), list[str]()
        self.lock = FolderLock(folder, CONFIG, self.printed.append, answer_timeout=1.0, children_timeout=1.0)

    def take(self, *, takeover: bool = False) -> bool:
        """Hold the folder."""
        return self.lock.acquire(self.stop, takeover=takeover)

    def run_until_taken_over(self) -> None:
        """Do what `sml up` does, without children."""
        while not self.lock.is_taken_over() and not self.stop.wait(0.05):
            pass
        self.lock.record_ending()
        with self.lock:
            pass


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


def wait_until_printed(screen: Screen, text: str) -> None:
    end = time.monotonic() + 120
    while not any(text in line for line in screen.printed):
        assert time.monotonic() < end, screen.printed
        time.sleep(0.01)


def test_a_second_start_says_who_runs_since_when_and_with_which_settings(tmp_path: Path) -> None:
    first, second = Screen(tmp_path), Screen(tmp_path)

    assert first.take()
    with first.lock, second.lock, pytest.raises(RunsAlreadyError) as error:
        second.take()

    holder = json.loads((tmp_path / "up.lock").read_text())
    assert f"process {holder['pid']}, since {holder['since']}, with {CONFIG.absolute()}" in str(error.value)
    assert "--takeover" in str(error.value)


def test_what_a_former_one_left_behind_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "up.lock").write_text('{"token": "old", "pid": 1, "since": "long ago", "config": "x", "ending": false}')
    (tmp_path / "up.children.lock").write_text("sml join: 1")
    (tmp_path / "up.takeover").write_text('{"token": "old", "pid": 1}')
    screen = Screen(tmp_path)

    with screen.lock:
        assert screen.take()
        assert not screen.lock.is_taken_over()
    assert screen.printed == []


def test_a_takeover_begins_when_the_first_has_ended_and_both_say_so(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    first, second = Screen(tmp_path), Screen(tmp_path)
    assert first.take()
    running = pool.submit(first.run_until_taken_over)

    with second.lock:
        assert second.take(takeover=True)
        assert running.done() or running.result(1) is None

    assert "taken over by `sml up --takeover` (process" in first.printed[0]
    assert "taking over from process" in second.printed[0]
    assert not (tmp_path / "up.takeover").exists()


def test_a_takeover_of_a_folder_that_nobody_holds_just_begins(tmp_path: Path) -> None:
    screen = Screen(tmp_path)

    with screen.lock:
        assert screen.take(takeover=True)
    assert screen.printed == []


def test_of_two_that_take_over_at_once_one_begins_and_the_other_says_who(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    first, others = Screen(tmp_path), [Screen(tmp_path), Screen(tmp_path)]
    assert first.take()
    takes = [pool.submit(other.take, takeover=True) for other in others]
    for other in others:
        wait_until_printed(other, "taking over")

    first.run_until_taken_over()
    outcomes = [take.exception(10) or take.result() for take in takes]
    for other in others:
        with other.lock:
            pass

    assert sorted(map(type, outcomes), key=str) == [bool, RunsAlreadyError]
    assert "meanwhile another" in str(next(outcome for outcome in outcomes if outcome is not True))


def test_one_that_does_not_answer_is_named_with_what_ends_it(tmp_path: Path) -> None:
    first, second = Screen(tmp_path), Screen(tmp_path)
    assert first.take()

    with first.lock, second.lock, pytest.raises(NotReleasedError, match=r"kill -9 \d+"):
        second.take(takeover=True)


def test_a_holder_that_has_not_said_who_it_is_is_waited_for(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    first, second = Screen(tmp_path), Screen(tmp_path)
    assert first.take()
    holder = (tmp_path / "up.lock").read_text()
    (tmp_path / "up.lock").write_text(holder[:20])  # half written

    starting = pool.submit(second.take)
    with suppress(TimeoutError):
        starting.result(0.6)
    waited = not starting.done()
    (tmp_path / "up.lock").write_text(holder)

    assert waited
    assert isinstance(starting.exception(10), RunsAlreadyError)
    assert f"process {json.loads(holder)['pid']}" in str(starting.exception())
    for screen in (first, second):
        with screen.lock:
            pass


@pytest.mark.parametrize("takeover", [False, True])
def test_one_that_is_just_ending_is_waited_for(tmp_path: Path, pool: ThreadPoolExecutor, *, takeover: bool) -> None:
    first, second = Screen(tmp_path), Screen(tmp_path)
    assert first.take()
    first.lock.record_ending()

    starting: Future[bool] = pool.submit(second.take, takeover=takeover)
    wait_until_printed(second, "taking over" if takeover else "is ending: waiting for it")
    time.sleep(1.2)  # longer than an answer may take
    assert not starting.done()
    with first.lock:
        pass

    with second.lock:
        assert starting.result(60)


def child(screen: Screen, seconds: float) -> subprocess.Popen[bytes]:
    """Start a process that inherits what a child of `sml up` inherits."""
    process = subprocess.Popen(["sleep", str(seconds)], pass_fds=(screen.lock.descriptor,))
    screen.lock.record_child("learn", process.pid)
    return process


def test_children_that_outlive_a_killed_one_are_waited_for(tmp_path: Path) -> None:
    first, second = Screen(tmp_path), Screen(tmp_path)
    assert first.take()
    left = child(first, 0.7)
    with first.lock:
        pass  # as a kill would: everything of the process is closed

    with second.lock:
        assert second.take()
        assert left.wait(0.5) == 0

    assert second.printed == ["the processes of a former `sml up` are still ending: waiting for them"]


def test_children_that_do_not_end_are_named(tmp_path: Path) -> None:
    first, second = Screen(tmp_path), Screen(tmp_path)
    assert first.take()
    left = child(first, 60)
    with first.lock:
        pass

    with second.lock, pytest.raises(NotReleasedError, match=f"sml learn: {left.pid}"):
        second.take()
    left.kill()
    left.wait()


@pytest.mark.parametrize("takeover", [False, True])
def test_who_waits_can_be_ended(tmp_path: Path, pool: ThreadPoolExecutor, *, takeover: bool) -> None:
    first, second = Screen(tmp_path), Screen(tmp_path)
    assert first.take()
    first.lock.record_ending()
    starting = pool.submit(second.take, takeover=takeover)
    wait_until_printed(second, "process")

    second.stop.set()

    assert starting.result(60) is False
    for screen in (first, second):
        with screen.lock:
            pass


def test_a_disk_that_takes_no_note_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int, __: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    first, second = Screen(tmp_path), Screen(tmp_path)
    monkeypatch.setattr(os, "write", full)

    assert first.take()
    first.lock.record_child("learn", 1)
    first.lock.record_ending()

    with first.lock, second.lock, pytest.raises(RunsAlreadyError, match="a process that has not said which"):
        second.take()
