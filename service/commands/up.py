"""``sml up``: the whole of it on one machine, as child processes of one program.

A child that ends is never replaced in silence: it is said, and everything ends. They end as the stream flows, so that what was shown
is joined, what was joined is learned, and what was learned is saved and served.
"""

import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import httpx
import typer

from service.commands.topics import create
from service.settings import Settings
from service.signals import stop_signals

LOOK_EVERY = 0.2  # seconds between looks at the children
PATIENCE = 60.0  # seconds that a child has to save its work and end
TAIL = 15  # lines that are shown of a dead child's log

FLOW = ("simulate", "join", "learn", "serve")


class ChildDiedError(Exception):
    """One of the processes has ended by itself."""


class Child(NamedTuple):
    """A command that runs in a process of its own."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path | None  # None: it writes to our terminal

    def check(self) -> None:
        """Make sure that it lives.

        Raises:
            ChildDiedError: it doesn't; the message shows what it said last.
        """
        status = self.process.poll()
        if status is None:
            return
        message = [f"`sml {self.name}` has ended, with status {status}"]
        if self.log:
            message += [f"the end of {self.log}:", *self.log.read_text(errors="replace").splitlines()[-TAIL:]]
        raise ChildDiedError("\n  ".join(message))

    def end(self) -> None:
        """Ask it to end, and wait until it has saved its work."""
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            typer.echo(f"`sml {self.name}` has not ended within {PATIENCE:.0f} s and is killed", err=True)
            self.process.kill()
            self.process.wait()


class Children:
    """The processes of one system, which end when the block does."""

    def __init__(self, config: Path, logs: Path) -> None:
        """Begin without any.

        Args:
            config: The settings that they read.
            logs: The folder of their logs.
        """
        self._config, self._logs = config, logs
        self._children: list[Child] = []

    def start(self, name: str, *, logged: bool = True) -> None:
        """Start a command; its output goes to a log of its own, or to our terminal."""
        command = [sys.executable, "-m", "service", name, "--config", str(self._config)]
        # In a group of their own, Ctrl-C reaches us alone, and we end them one after the other.
        if not logged:
            process = subprocess.Popen(command, process_group=0)  # noqa: S603 - this program
            self._children.append(Child(name, process, None))
            return
        self._logs.mkdir(parents=True, exist_ok=True)
        log = self._logs / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(  # noqa: S603 - this program
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, process_group=0
            )
        self._children.append(Child(name, process, log))

    def check(self) -> None:
        """Make sure that all live.

        Raises:
            ChildDiedError: one doesn't.
        """
        for child in self._children:
            child.check()

    def __enter__(self) -> Self:
        """Give the children themselves."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End them, in the order of the stream."""
        for child in sorted(self._children, key=lambda child: FLOW.index(child.name)):
            child.end()


def up(config: Path, settings: Settings, *, simulate: bool) -> None:
    """Run joiner, learner and server (and a made-up site) until SIGINT or SIGTERM.

    Raises:
        ChildDiedError: one of them has ended by itself; the others have been ended too.
        LogError: the topics could not be created.
    """
    logs = Path(settings.learn.directory).parent / "logs"
    with stop_signals() as stop:
        create(settings)
        with Children(config, logs) as children:
            for name in ("join", "learn", "serve"):
                children.start(name)
            typer.echo("starting (the first start on a machine compiles the kernels)", err=True)
            _wait_until_ready(settings, children, stop)
            if not stop.is_set():
                typer.echo(_where_to_look(settings, logs))
            if simulate and not stop.is_set():
                children.start("simulate", logged=False)
            while not stop.wait(LOOK_EVERY):
                children.check()
            typer.echo("ending: the learner publishes and saves what it has learned", err=True)


def _wait_until_ready(settings: Settings, children: Children, stop: threading.Event) -> None:
    with httpx.Client() as client:
        while not stop.wait(LOOK_EVERY):
            children.check()
            try:
                if client.get(f"{_address(settings)}/readyz").is_success:
                    return
            except httpx.TransportError:  # it does not listen yet
                continue


def _where_to_look(settings: Settings, logs: Path) -> str:
    address = _address(settings)
    metrics = ", ".join(
        [f"{address}/metrics", *(f"http://127.0.0.1:{port}/metrics" for port in (settings.learn.metrics_port, settings.join.metrics_port))]
    )
    return "\n".join(
        [
            f"console      {address}/",
            f"predictions  {address}/v1/predict",
            f"API          {address}/docs",
            f"metrics      {metrics}",
            f"logs         {logs}",
        ]
    )


def _address(settings: Settings) -> str:
    host = "127.0.0.1" if settings.serve.host in {"0.0.0.0", "::"} else settings.serve.host  # noqa: S104 - compared, not bound
    return f"http://{host}:{settings.serve.port}"
