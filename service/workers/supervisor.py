"""What starts the processes of ``sml serve --workers``, starts again those that end, and in the end drains them one by one.

They share one listening socket, so a connection is lost only with the process that has accepted it.
"""

import logging
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing import get_context
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from service.settings import Settings
from service.workers.processes import follow, work
from service.workers.totals import Totals

logger = logging.getLogger(__name__)

LOOK_EVERY = 0.1  # seconds
_BETWEEN_STARTS = 1.0  # seconds, of one process: one that can't live takes no processor
_END_TIMEOUT = 20.0  # seconds that a process has to end: its requests have ten


class _Role(NamedTuple):
    """What a process does."""

    name: str
    target: Callable[..., None]
    arguments: tuple[Any, ...]


class _Running(NamedTuple):
    """A process at work."""

    process: SpawnProcess
    started: float  # by the monotonic clock


class Supervisor:
    """The processes of one server, which end when the block does, or when this process is gone.

    Args:
        settings: The settings that they serve by.
        listener: Where requests come in.
        workers: How many processes answer them.
    """

    def __init__(self, settings: Settings, listener: socket.socket, workers: int) -> None:
        self._settings, self._listener, self._workers = settings, listener, workers
        self._stack = ExitStack()
        self._roles: list[_Role] = []
        self._running: dict[str, _Running] = {}

    def __enter__(self) -> Self:
        """Start them."""
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="sml-")))  # nobody else's: mode 0700
        offers, totals = folder / "weights", folder / "metrics"
        offering = self._stack.enter_context(_listening(offers))
        self._stack.enter_context(Totals(_listening(totals)))
        worker = (self._settings, self._listener, offers, totals)
        self._roles = [
            _Role("follower", follow, (self._settings, offering, totals)),
            *(_Role(f"worker {number}", work, worker) for number in range(1, self._workers + 1)),
        ]
        self.look()
        return self

    def look(self) -> None:
        """Start what does not run."""
        for role in self._roles:
            running = self._running.get(role.name)
            if running is None:
                self._start(role)
            elif not running.process.is_alive() and time.monotonic() > running.started + _BETWEEN_STARTS:
                self._start_again(role, running)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Drain the workers one by one, then end the follower."""
        with self._stack:
            for role in (*self._roles[1:], *self._roles[:1]):
                if running := self._running.get(role.name):
                    _end(role.name, running.process)

    def _start_again(self, role: _Role, ended: _Running) -> None:
        """Start what has ended, or leave that to a later look: where the system has no process to give, the others go on without it."""
        try:
            self._start(role)
        except OSError as error:
            logger.warning("%s has ended, and can't be started again yet: %s", role.name, error)
            self._running[role.name] = ended._replace(started=time.monotonic())
        else:
            logger.warning("%s had ended, with status %s, and was started again", role.name, ended.process.exitcode)

    def _start(self, role: _Role) -> None:
        process = get_context("spawn").Process(target=role.target, args=role.arguments, name=role.name)
        process.start()
        logger.info("%s is process %s", role.name, process.pid)
        self._running[role.name] = _Running(process, time.monotonic())


def _end(name: str, process: SpawnProcess) -> None:
    process.terminate()
    process.join(_END_TIMEOUT)
    if process.is_alive():
        logger.warning("%s has not ended within %g s and is killed", name, _END_TIMEOUT)
        process.kill()
        process.join()


def _listening(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(128)
    return listener
