"""Lock a folder for one ``sml up``: a second one names who runs there and ends, or takes over on purpose.

Two file locks are the truth, for the system releases them however a process ends: ``up.lock`` is held by the ``sml up`` that runs,
``up.children.lock`` by it and all its children, which inherit the descriptor. The text in the files is for people only. It may be stale
or half written, so no process is sent a signal because of it: to take over, a process writes a request to one holder, which looks for it.
"""

import fcntl
import json
import os
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, Self

POLL_INTERVAL = 0.2  # seconds between attempts at a lock that another process holds
SETTLE_TIME = 2 * POLL_INTERVAL  # seconds after which the text in a lock's file is by the process that holds the lock
ANSWER_TIMEOUT = 15.0  # seconds that a holder has to answer a request to end
CHILDREN_TIMEOUT = 90.0  # seconds that the children of a former `sml up` have to end


class RunsAlreadyError(Exception):
    """Another ``sml up`` holds the folder."""


class NotReleasedError(Exception):
    """Another ``sml up``, or what it left behind, does not release the folder."""


class Holder(NamedTuple):
    """The process that holds a folder."""

    token: str
    pid: int
    since: str  # for people
    config: str  # the path of the settings
    ending: bool = False

    def __str__(self) -> str:
        """Describe it to people."""
        return f"process {self.pid}, since {self.since}, with {self.config}"


class FolderLock:
    """A folder that this process holds, or waits for, until the block ends.

    Args:
        folder: Where the files of the system are.
        config: The settings that it runs with.
        say: Prints a line for people.
        answer_timeout: Seconds that a holder has to answer a request to end.
        children_timeout: Seconds that the children of a former `sml up` have to end.
    """

    def __init__(
        self,
        folder: Path,
        config: Path,
        say: Callable[[str], None],
        *,
        answer_timeout: float = ANSWER_TIMEOUT,
        children_timeout: float = CHILDREN_TIMEOUT,
    ) -> None:
        """Prepare; nothing is held before :meth:`acquire`."""
        self._folder, self._say = folder, say
        self._answer_timeout, self._children_timeout = answer_timeout, children_timeout
        self._lock, self._children_lock, self._request = (folder / name for name in ("up.lock", "up.children.lock", "up.takeover"))
        self._me = Holder(uuid.uuid4().hex, os.getpid(), time.strftime("%Y-%m-%d %H:%M:%S"), str(config.absolute()))
        self._files = ExitStack()
        self._own: BinaryIO | None = None
        self._shared: BinaryIO | None = None

    @property
    def descriptor(self) -> int:
        """The descriptor that a child inherits, so that the folder is held until the child has ended, too."""
        if self._shared is None:
            raise RuntimeError("the folder is not held")
        return self._shared.fileno()

    def acquire(self, stop: Event, *, takeover: bool) -> bool:
        """Hold the folder once no other process does; return False if ``stop`` was set before that.

        Args:
            stop: Ends the waiting.
            takeover: Ask the holder to end, instead of failing.

        Raises:
            RunsAlreadyError: another process holds it.
            NotReleasedError: another process was asked to end and does not, or its children don't.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._own = self._files.enter_context(self._lock.open("ab"))
        if not self._wait_for_holder(self._own, stop, takeover=takeover):
            return False
        self._write_holder()
        self._shared = self._files.enter_context(self._children_lock.open("ab"))
        if not self._wait_for_children(self._shared, stop):
            return False
        os.ftruncate(self._shared.fileno(), 0)
        return True

    def is_taken_over(self) -> bool:
        """Return whether another process asks this one to end; if so, tell people."""
        request = _read_object(self._request)
        if not request or request.get("token") != self._me.token:
            return False
        self._say(f"taken over by `sml up --takeover` (process {request.get('pid')})")
        return True

    def record_child(self, name: str, pid: int) -> None:
        """Record a child that holds the folder, to be named if it does not release it."""
        with suppress(OSError):  # a full disk takes no text, and ends nothing
            os.write(self.descriptor, f"sml {name}: {pid}\n".encode())

    def record_ending(self) -> None:
        """Record that this process is ending: others need not wait for long."""
        self._me = self._me._replace(ending=True)
        self._write_holder()

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the files without unlocking them: to unlock would unlock them for the children, too."""
        self._files.close()

    def _wait_for_holder(self, own: BinaryIO, stop: Event, *, takeover: bool) -> bool:
        asked: Holder | None = None
        reported, start = False, time.monotonic()
        while not _try_lock(own):
            waited = time.monotonic() - start
            holder = self._holder()
            if waited >= SETTLE_TIME and takeover and asked is None and holder:
                asked, start = holder, time.monotonic()
                self._ask_to_end(holder)
            elif waited >= SETTLE_TIME and holder and holder.ending and not (reported or takeover):
                reported = True
                self._say(f"`sml up` (process {holder.pid}) is ending: waiting for it")
            elif waited >= SETTLE_TIME:
                self._check_that_it_ends(holder, asked, waited)
            if stop.wait(POLL_INTERVAL):
                return False
        if asked:
            self._request.unlink(missing_ok=True)
        return True

    def _ask_to_end(self, holder: Holder) -> None:
        self._say(f"taking over from process {holder.pid}: waiting until it has saved its work and ended")
        written = self._request.with_suffix(f".{self._me.token}")
        written.write_text(json.dumps({"token": holder.token, "pid": self._me.pid}), encoding="utf-8")
        written.replace(self._request)

    def _check_that_it_ends(self, holder: Holder | None, asked: Holder | None, waited: float) -> None:
        """Raise if waiting any longer is of no use: nobody was asked to end, or another process came first, or there is no answer."""
        if holder and holder.ending:
            return
        if asked and holder and holder.token != asked.token:
            raise RunsAlreadyError(
                f"meanwhile another `sml up` has started in {self._folder}: {holder}; look there, or take over from that one"
            )
        if asked is None and (holder or waited >= self._answer_timeout):
            who = str(holder or "a process that has not said which")
            raise RunsAlreadyError(
                f"`sml up` already runs in {self._folder}: {who}; end it there with Ctrl-C, or take over from it with `sml up --takeover`"
            )
        if asked and waited >= self._answer_timeout:
            raise NotReleasedError(
                f"process {asked.pid} was asked to end and has not answered within {self._answer_timeout:.0f} s; "
                f"is it stopped? `kill -9 {asked.pid}` ends it, and its children then end by themselves"
            )

    def _wait_for_children(self, shared: BinaryIO, stop: Event) -> bool:
        start, reported = time.monotonic(), False
        while not _try_lock(shared):
            if not reported:
                reported = True
                self._say("the processes of a former `sml up` are still ending: waiting for them")
            if time.monotonic() - start >= self._children_timeout:
                left = self._children_lock.read_text(encoding="utf-8", errors="replace").split("\n")
                raise NotReleasedError(
                    f"a process of a former `sml up` has not ended within {self._children_timeout:.0f} s; "
                    f"end by force those of these that still run: {', '.join(filter(None, left))}"
                )
            if self.is_taken_over() or stop.wait(POLL_INTERVAL):
                return False
        return True

    def _holder(self) -> Holder | None:
        """Read who holds the folder; None while the text is not whole."""
        text = _read_object(self._lock)
        try:
            return Holder(**text) if text else None
        except TypeError:  # of another version
            return None

    def _write_holder(self) -> None:
        if self._own is None:
            return
        with suppress(OSError):
            os.ftruncate(self._own.fileno(), 0)  # the file is open to append: the text begins at 0 again
            os.write(self._own.fileno(), json.dumps(self._me._asdict()).encode())


def _try_lock(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_object(path: Path) -> dict[str, Any] | None:
    """Return the JSON object that a file holds; None if it holds none."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
