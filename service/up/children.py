"""The processes that ``sml up`` starts, watches and ends. If one of them dies, all end: nothing is restarted.

They end in the order of the stream: what was shown is still joined, what was joined is learned, what was learned is saved and served.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import service
from service.screen import say
from service.up.folder_lock import FolderLock
from service.up.lifeline import VARIABLE, lifeline
from stream.log.topics import CONTROL

END_TIMEOUT = 60.0  # seconds that a child has to save its work and end
LOG_TAIL = 15  # lines that are shown of a dead child's log
LARGEST_LOG = 10_000_000  # bytes: a larger one is put aside at the next start, in the place of the one before it

STREAM_ORDER = ("compile", "simulate", "experiment", "join", "learn", "serve")


class ChildDiedError(Exception):
    """A child has ended by itself."""


class Child(NamedTuple):
    """A command that runs in a process of its own."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path | None  # None: it writes to our terminal
    may_end: bool = False  # it has ended in order if it has nothing to do any more

    def check(self) -> None:
        """Check that it lives, or has ended in order where it may.

        Raises:
            ChildDiedError: it has ended otherwise; the message shows the end of its log.
        """
        status = self.process.poll()
        if status is None or (self.may_end and status == 0):
            return
        message = [f"`sml {self.name}` {_end(status)}"]
        if self.log:
            message += [f"the end of {self.log}:", *self.log.read_text(errors="replace").splitlines()[-LOG_TAIL:]]
        raise ChildDiedError("\n  ".join(message))

    def end(self) -> None:
        """Ask it to end, and wait until it has saved its work."""
        self.process.terminate()
        try:
            self.process.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            say(f"`sml {self.name}` has not ended within {END_TIMEOUT:.0f} s and is killed")
            self.process.kill()
            self.process.wait()


class Children:
    """The processes of one system, which end when the block does, or when this process is gone.

    Args:
        config: The settings that they read.
        logs: The folder of their logs.
        folder_lock: What they hold, too, until they have ended.
    """

    def __init__(self, config: Path, logs: Path, folder_lock: FolderLock | None = None) -> None:
        self._config, self._logs, self._folder_lock = config, logs, folder_lock
        self._children: list[Child] = []
        self._stack = ExitStack()
        self._lifeline = -1

    def start(self, name: str, *options: str, logged: bool = True, arm: str | None = None) -> None:
        """Start a command; its output goes to a log of its own, or to our terminal. An ``arm``'s command ends when the arm is retired."""
        if not logged:
            self._start(name, options, arm, None, {})
            return
        self._logs.mkdir(parents=True, exist_ok=True)
        log = self._logs / f"{name if arm in {None, CONTROL} else f'{name}-{arm}'}.log"
        if log.exists() and log.stat().st_size > LARGEST_LOG:
            log.replace(log.with_suffix(".log.1"))
        with log.open("ab") as output:
            self._start(name, options, arm, log, {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output})

    def has_done(self, name: str) -> bool:
        """Return whether a command that does its work once has done it; it is then no child any more.

        Raises:
            ChildDiedError: it has failed.
        """
        child = next(child for child in self._children if child.name == name)
        if child.process.poll() == 0:
            self._children.remove(child)
            return True
        child.check()
        return False

    def check(self) -> None:
        """Check that all live.

        Raises:
            ChildDiedError: one doesn't.
        """
        for child in self._children:
            child.check()

    def __enter__(self) -> Self:
        """Return self."""
        self._lifeline = self._stack.enter_context(lifeline())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End the children, in the order of the stream."""
        with self._stack:
            if self._folder_lock:
                self._folder_lock.record_ending()
            for child in sorted(self._children, key=lambda child: STREAM_ORDER.index(child.name)):
                child.end()

    def _start(self, name: str, options: Sequence[str], arm: str | None, log: Path | None, streams: dict[str, Any]) -> None:
        words = [name, *options, *(["--arm", arm] if arm else [])]
        process = subprocess.Popen(  # noqa: S603 - this program
            [sys.executable, "-m", service.__name__, *words, "--config", str(self._config)],
            process_group=0,  # Ctrl-C reaches only this process, which ends them one after the other
            pass_fds=(self._lifeline, *([self._folder_lock.descriptor] if self._folder_lock else [])),
            env=os.environ | {VARIABLE: str(self._lifeline)},
            **streams,
        )
        self._children.append(Child(name, process, log, may_end=arm is not None))
        if self._folder_lock:
            self._folder_lock.record_child(name, process.pid)


def _end(status: int | None) -> str:
    """Say how a process has ended, and what follows where nothing in its log says so."""
    if status == -signal.SIGKILL:
        return "was killed, by somebody or because memory ran out, so all end; the next start goes on from what was committed"
    return f"has ended, with status {status}"
