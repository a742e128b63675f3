"""``sml up``: run the whole system on one machine, as child processes of one program.

A child that ends is never replaced in silence: that is told, and everything ends. A second ``sml up`` in the same folder does not start
unless it is told to take over (:mod:`service.up.folder_lock`). However this process ends, its children end too (:mod:`service.up.lifeline`).
"""

from collections.abc import Iterator
from pathlib import Path
from threading import Event

import httpx
import typer

from service.commands.topics import create
from service.screen import say
from service.settings import Settings
from service.signals import stop_signals
from service.up.children import Children
from service.up.folder_lock import Hold
from service.up.watch import Watch, counters

LOOK_EVERY = 0.2  # seconds between looks at the children
TIMEOUT = 1.0  # seconds that a child may take to answer


def up(config: Path, settings: Settings, *, simulate: bool, takeover: bool = False) -> None:
    """Run joiner, learner and server (and a made-up site) until SIGINT or SIGTERM, or until another `sml up` takes over.

    Raises:
        ChildDiedError: one of them has ended by itself; the others have been ended too.
        LogError: the topics could not be created.
        NotReleasedError: another `sml up` was asked to end and has not.
        RunsAlreadyError: another `sml up` runs in this folder.
    """
    folder = Path(settings.learn.directory).parent
    with stop_signals() as stop, Hold(folder, config, say) as hold:
        if not hold.take(stop, takeover=takeover):
            return
        create(settings)
        with httpx.Client(timeout=TIMEOUT) as client, Children(config, folder / "logs", hold) as children:
            for name in ("join", "learn", "serve"):
                children.start(name)
            say("starting (the first start on a machine compiles the kernels)")
            moments = _moments(stop, children, hold)
            for _ in moments:
                if _is_ready(client, settings):
                    typer.echo(_where_to_look(settings, folder / "logs"))
                    if simulate:
                        children.start("simulate", logged=False)
                    break
            watch = Watch(lambda: counters(client, _metrics(settings)))
            for _ in moments:
                for line in watch.look():
                    say(line)
            say("ending: the learner publishes and saves what it has learned")


def _moments(stop: Event, children: Children, hold: Hold) -> Iterator[None]:
    """Yield a moment now and then, for as long as nobody asks to end.

    Raises:
        ChildDiedError: a child has ended by itself.
    """
    while not stop.wait(LOOK_EVERY):
        children.check()
        if hold.is_taken_over():
            return
        yield


def _is_ready(client: httpx.Client, settings: Settings) -> bool:
    try:
        return client.get(f"{_address(settings)}/readyz").is_success
    except httpx.TransportError:  # it does not listen yet
        return False


def _where_to_look(settings: Settings, logs: Path) -> str:
    address = _address(settings)
    return "\n".join(
        [
            f"console      {address}/",
            f"predictions  {address}/v1/predict",
            f"API          {address}/docs",
            f"metrics      {', '.join(_metrics(settings))}",
            f"logs         {logs}",
        ]
    )


def _metrics(settings: Settings) -> list[str]:
    """List where the metrics are; a process that takes any free port says in its log which."""
    ports = (settings.learn.metrics_port, settings.join.metrics_port)
    return [f"{_address(settings)}/metrics", *(f"http://127.0.0.1:{port}/metrics" for port in ports if port)]


def _address(settings: Settings) -> str:
    host = "127.0.0.1" if settings.serve.host in {"0.0.0.0", "::"} else settings.serve.host  # noqa: S104 - compared, not bound
    return f"http://{host}:{settings.serve.port}"
