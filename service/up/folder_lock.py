"""One ``sml up`` at a time holds a folder, so that a second one says who runs there, or takes over on purpose.

Two locks are the truth, for the system lets go of them however a process ends: ``up.lock`` is held by the ``sml up`` that runs,
``up.children.lock`` by it and all its children, which inherit the descriptor. What the files say is a note for people. It may be stale
or half written, so nobody is sent a signal on its word: who takes over leaves a request, addressed to one holder, and that one looks.
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

LOOK_EVERY = 0.2  # seconds between looks at a lock that another process holds
SETTLED = 2 * LOOK_EVERY  # seconds after which a note is that of the process that holds the lock
ANSWER, PATIENCE = 15.0, 90.0  # seconds; what for, Hold says


class RunsAlreadyError(Exception):
    """Another ``sml up`` holds the folder."""


class NotReleasedError(Exception):
    """Another ``sml up``, or what it left behind, does not let go of the folder."""


class Holder(NamedTuple):
    """Who holds a folder."""

    token: str
    pid: int
    since: str  # for people
    config: str  # the settings' path
    ending: bool = False

    def __str__(self) -> str:
        """Name it."""
        return f"process {self.pid}, since {self.since}, with {self.config}"


class Hold:
    """A folder that this process holds, or waits for, until the block ends.

    Args:
        folder: Where the files of the system are.
        config: The settings that it runs with.
        say: Tells the person at the screen.
        answer: Seconds that a holder has to see that it is taken over.
        patience: Seconds that the children of a former `sml up` have to end.
    """

    def __init__(
        self, folder: Path, config: Path, say: Callable[[str], None], *, answer: float = ANSWER, patience: float = PATIENCE
    ) -> None:
        """Prepare; nothing is held before :meth:`take`."""
        self._folder, self._say, self._answer, self._patience = folder, say, answer, patience
        self._lock, self._children, self._request = (folder / name for name in ("up.lock", "up.children.lock", "up.takeover"))
        self._me = Holder(uuid.uuid4().hex, os.getpid(), time.strftime("%Y-%m-%d %H:%M:%S"), str(config.absolute()))
        self._files = ExitStack()
        self._own: BinaryIO | None = None
        self._shared: BinaryIO | None = None

    @property
    def descriptor(self) -> int:
        """What a child inherits, so that the folder is held until it has ended, too."""
        if self._shared is None:
            raise RuntimeError("the folder is not held")
        return self._shared.fileno()

    def take(self, stop: Event, *, takeover: bool) -> bool:
        """Hold the folder once nobody else does; say False where ``stop`` was set before that.

        Args:
            stop: Ends the waiting.
            takeover: Ask who holds it to end, instead of failing.

        Raises:
            RunsAlreadyError: another process holds it.
            NotReleasedError: another process was asked to end and does not, or its children don't.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._own = self._files.enter_context(self._lock.open("ab"))
        if not self._wait_for_holder(self._own, stop, takeover=takeover):
            return False
        self._write()
        self._shared = self._files.enter_context(self._children.open("ab"))
        if not self._wait_for_children(self._shared, stop):
            return False
        os.ftruncate(self._shared.fileno(), 0)
        return True

    def is_taken_over(self) -> bool:
        """Return whether another process asks this one to give way; tell it on the screen, too."""
        request = _read(self._request)
        if not request or request.get("token") != self._me.token:
            return False
        self._say(f"taken over by `sml up --takeover` (process {request.get('pid')})")
        return True

    def note_child(self, name: str, pid: int) -> None:
        """Record a child that holds the folder, to be named if it does not let go."""
        with suppress(OSError):  # a full disk keeps no note, and ends nothing
            os.write(self.descriptor, f"sml {name}: {pid}\n".encode())

    def note_ending(self) -> None:
        """Record that this process is ending: others need not wait for long."""
        self._me = self._me._replace(ending=True)
        self._write()

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the files without unlocking them: to unlock would unlock them for the children, too."""
        self._files.close()

    def _wait_for_holder(self, own: BinaryIO, stop: Event, *, takeover: bool) -> bool:
        asked: Holder | None = None
        told, begun = False, time.monotonic()
        while not _locked(own):
            waited = time.monotonic() - begun
            holder = self._holder()
            if waited >= SETTLED and takeover and asked is None and holder:
                asked, begun = holder, time.monotonic()
                self._ask(holder)
            elif waited >= SETTLED and holder and holder.ending and not (told or takeover):
                told = True
                self._say(f"`sml up` (process {holder.pid}) is ending: waiting for it")
            elif waited >= SETTLED:
                self._expect_it_to_end(holder, asked, waited)
            if stop.wait(LOOK_EVERY):
                return False
        if asked:
            self._request.unlink(missing_ok=True)
        return True

    def _ask(self, holder: Holder) -> None:
        self._say(f"taking over from process {holder.pid}: waiting until it has saved its work and ended")
        written = self._request.with_suffix(f".{self._me.token}")
        written.write_text(json.dumps({"token": holder.token, "pid": self._me.pid}), encoding="utf-8")
        written.replace(self._request)

    def _expect_it_to_end(self, holder: Holder | None, asked: Holder | None, waited: float) -> None:
        if holder and holder.ending:
            return
        if asked and holder and holder.token != asked.token:
            raise RunsAlreadyError(
                f"meanwhile another `sml up` has begun in {self._folder}: {holder}; look there, or take over from that one"
            )
        if asked is None and (holder or waited >= self._answer):
            who = str(holder or "a process that has not said which")
            raise RunsAlreadyError(
                f"`sml up` runs in {self._folder} already: {who}; end it there with Ctrl-C, or take over from it with `sml up --takeover`"
            )
        if asked and waited >= self._answer:
            raise NotReleasedError(
                f"process {asked.pid} was asked to give way and has not answered within {self._answer:.0f} s; "
                f"is it stopped? `kill -9 {asked.pid}` ends it, and its children then end by themselves"
            )

    def _wait_for_children(self, shared: BinaryIO, stop: Event) -> bool:
        begun, told = time.monotonic(), False
        while not _locked(shared):
            if not told:
                told = True
                self._say("the processes of a former `sml up` are still ending: waiting for them")
            if time.monotonic() - begun >= self._patience:
                left = self._children.read_text(encoding="utf-8", errors="replace").split("\n")
                raise NotReleasedError(
                    f"of a former `sml up` some process has not ended within {self._patience:.0f} s; "
                    f"end those of these by force that still run: {', '.join(filter(None, left))}"
                )
            if self.is_taken_over() or stop.wait(LOOK_EVERY):
                return False
        return True

    def _holder(self) -> Holder | None:
        """Read who holds the folder; None while the note is not whole."""
        note = _read(self._lock)
        try:
            return Holder(**note) if note else None
        except TypeError:  # of another version
            return None

    def _write(self) -> None:
        if self._own is None:
            return
        with suppress(OSError):
            os.ftruncate(self._own.fileno(), 0)  # the file is open to append: the note begins at 0 again
            os.write(self._own.fileno(), json.dumps(self._me._asdict()).encode())


def _locked(file: BinaryIO) -> bool:
    """Try to lock."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
