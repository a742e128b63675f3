"""``sml up``: run the whole system on one machine, as child processes of one program.

A child that ends is never replaced in silence: that is reported, and everything ends. A second ``sml up`` in the same folder does not start
unless it is told to take over (:mod:`service.up.folder_lock`). However it ends, its children end, too (:mod:`service.up.lifeline`).
"""

from collections.abc import Iterator
from pathlib import Path
from threading import Event

import httpx
import typer

from service.commands.compile import are_compiled
from service.commands.own_key import key_header
from service.commands.topics import create
from service.listen import listening
from service.screen import say
from service.settings import Settings, SettingsError
from service.signals import stop_signals
from service.up.children import Children
from service.up.folder_lock import FolderLock
from service.up.room import Room
from service.up.watch import Watch, counters

CHECK_EVERY = 0.2  # seconds between checks of the children
ANSWER_TIMEOUT = 1.0  # seconds that a child may take to answer


def up(config: Path, settings: Settings, *, simulate: str | None = None, takeover: bool = False) -> None:
    """Run joiner, learner and server (and a simulated site of some scenario) until a signal, or until another `sml up` takes over.

    Raises:
        ChildDiedError: one of them has ended by itself; the others have been ended, too.
        LogError: the topics could not be created.
        NotReleasedError: another `sml up` was asked to end and has not.
        PortTakenError: another program listens on a port.
        SettingsError: the server's address is one that others reach, and it is not said who may do what there.
        RunsAlreadyError: another `sml up` runs in this folder.
    """
    settings.access.check_address("serve.host", settings.serve.host)
    if settings.serve.client_ca:
        raise SettingsError("serve.client_ca: `sml up` has no certificate to ask its server with; run `sml join`, `learn` and `serve`")
    folder = Path(settings.learn.directory).parent
    with stop_signals() as stop, FolderLock(folder, config, say) as folder_lock:
        if not folder_lock.acquire(stop, takeover=takeover):
            return
        _check_ports(settings)
        create(settings)
        # Its own server, on this machine: the certificate is one for the names under which others know it.
        own = httpx.Client(timeout=ANSWER_TIMEOUT, verify=settings.serve.certfile is None, headers=key_header())
        with own as client, Children(config, folder / "logs", folder_lock) as children:
            if not _compile_kernels(settings, stop, children, folder_lock):
                return
            _start(children, settings)
            say("starting")
            file = settings.log.file
            turns = _turns(stop, children, folder_lock, Room([folder, file.parent] if file else [folder]))
            for _ in turns:
                if _is_ready(client, settings):
                    typer.echo(_addresses(config, settings, folder / "logs"))
                    if simulate:
                        children.start("simulate", "--scenario", simulate, logged=False)
                    break
            watch = Watch(lambda: counters(client, _metrics(settings)))
            for _ in turns:
                for line in watch.new_lines():
                    say(line)
            say("ending: the learner publishes and saves what it has learned")


def _check_ports(settings: Settings) -> None:
    """Make sure that each process can listen where the settings say."""
    listening("serve.port", settings.serve.host, settings.serve.port).close()
    for each in settings.of_every_arm():
        listening("learn.metrics_port", each.learn.metrics_host, each.learn.metrics_port).close()
    listening("join.metrics_port", settings.join.metrics_host, settings.join.metrics_port).close()


def _start(children: Children, settings: Settings) -> None:
    children.start("join")
    for arm in settings.arms or (None,):
        children.start("learn", arm=arm)
    children.start("serve")
    if settings.experiment.unit and settings.arms:
        children.start("experiment", "guard", logged=False)  # what it decides is seen


def _compile_kernels(settings: Settings, stop: Event, children: Children, folder_lock: FolderLock) -> bool:
    """Compile the kernels, if need be, before several processes would; return False if asked to end before that.

    Raises:
        ChildDiedError: it has failed.
    """
    if all(are_compiled(each.model.network) for each in settings.of_every_arm()):
        return True
    children.start("compile", logged=False)
    while not stop.wait(CHECK_EVERY) and not folder_lock.is_taken_over():
        if children.has_done("compile"):
            return True
    return False


def _turns(stop: Event, children: Children, folder_lock: FolderLock, room: Room) -> Iterator[None]:
    """Yield several times a second, until a signal or another `sml up` asks to end; meanwhile say when a disk is full.

    Raises:
        ChildDiedError: a child has ended by itself.
    """
    while not stop.wait(CHECK_EVERY):
        children.check()
        if folder_lock.is_taken_over():
            return
        for line in room.new_lines():
            say(line)
        yield


def _is_ready(client: httpx.Client, settings: Settings) -> bool:
    try:
        return client.get(f"{settings.serve.url}/readyz").is_success
    except httpx.TransportError:  # it does not listen yet
        return False


def _addresses(config: Path, settings: Settings, logs: Path) -> str:
    server, report = settings.serve.url, f"sml experiment report {settings.experiment.name} --config {config}"
    return "\n".join(
        [
            f"console      {server}/",
            f"predictions  {server}/v1/predict",
            f"API          {server}/docs",
            f"metrics      {', '.join(_metrics(settings))}",
            f"logs         {logs}",
            *([f"experiment   {report}"] if settings.arms else []),
        ]
    )


def _metrics(settings: Settings) -> list[str]:
    """Return where the metrics are; a process that takes any free port logs which."""
    ports = (*(each.learn.metrics_port for each in settings.of_every_arm()), settings.join.metrics_port)
    return [f"{settings.serve.url}/metrics", *(f"http://127.0.0.1:{port}/metrics" for port in ports if port)]
