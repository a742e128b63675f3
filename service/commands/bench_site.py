"""A learner and a server that run for a benchmark, and the traffic that they get: 20 fields, a stream of examples, requests.

They are processes of their own, with topics of their own, in a folder that goes when the benchmark ends.
"""

import contextlib
import json
import secrets
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np

from service.commands.topics import create
from service.commands.up import Children
from service.settings import Settings, load
from stream.connect import connect
from stream.events import Example, encode
from stream.log import Message
from stream.topics import Topics

USER_FIELDS, ITEM_FIELDS = 10, 10  # of the context, of each candidate
VALUES = 20_000  # different ones in each field
TICK = 0.01  # seconds between two appends of the stream
_START = 300.0  # seconds that the first start on a machine may take: it compiles the kernels


class Site(NamedTuple):
    """Where they run."""

    settings: Settings
    port: int

    @property
    def topics(self) -> Topics:
        """The model's topics."""
        return Topics(self.settings.log.prefix)


@contextlib.contextmanager
def running(url: str | None) -> Iterator[Site]:
    """Start a learner and a server on the log at ``url``, by default a new SQLite file, and wait until predictions are answered."""
    with tempfile.TemporaryDirectory() as name:
        folder, config, port = Path(name), Path(name) / "sml.toml", free_port()
        config.write_text(_toml(url or f"sqlite:///{folder}/log.db", folder, port), encoding="utf-8")
        site = Site(load(config), port)
        create(site.settings)
        with Children(config, folder / "logs") as children:
            children.start("learn")
            children.start("serve")
            _wait(f"http://127.0.0.1:{port}/readyz", children.check)
            yield site


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextlib.contextmanager
def stream(site: Site, rate: float) -> Iterator[None]:
    """Write ``rate`` examples a second to the log, from a process of its own, until the block ends."""
    if not rate:
        yield
        return
    context = get_context("spawn")
    stop = context.Event()
    process = context.Process(target=_write, args=(site.settings.log.url, site.topics.prefix, rate, stop))
    process.start()
    try:
        yield
    finally:
        stop.set()
        process.join()


def appends(topics: Topics, rate: float) -> Iterator[tuple[float, list[Message]]]:
    """Give without end the messages of each tick and the time, in seconds from the first, that they are due."""
    random = np.random.default_rng(0)
    number, due = 0, 0.0
    ready = [{**user(random), **item(random)} for _ in range(5_000)]
    while True:
        messages = []
        while number < rate * (due + TICK):
            example = Example(f"{number}", int(time.time() * 1000), ready[int(random.integers(len(ready)))], int(random.random() < 0.2))  # type: ignore[arg-type] # noqa: PLR2004 - a click rate
            messages.append(Message(topics.examples, example.impression_id.encode(), encode(example)))
            number += 1
        yield due, messages
        due += TICK


def request(random: np.random.Generator, candidates: int) -> bytes:
    """The body of a request for predictions."""
    body = {"context": user(random), "candidates": [{"id": n, **item(random)} for n in range(candidates)]}
    return json.dumps(body).encode()


def user(random: np.random.Generator) -> dict[str, str | float]:
    """The features of a context."""
    return _features(random, "user", USER_FIELDS)


def item(random: np.random.Generator) -> dict[str, str | float]:
    """The features of a candidate."""
    return _features(random, "item", ITEM_FIELDS)


def _features(random: np.random.Generator, name: str, fields: int) -> dict[str, str | float]:
    values = (VALUES * random.random(fields) ** 3).astype(int)  # a few are common
    return {f"{name}_{f}": float(value) if f == 0 else f"{value:x}" for f, value in enumerate(values.tolist())}


def _write(url: str, prefix: str, rate: float, stop: Callable[[], bool]) -> None:
    begin = time.monotonic()
    with connect(url) as log:
        for due, messages in appends(Topics(prefix), rate):
            time.sleep(max(0.0, begin + due - time.monotonic()))
            if stop.is_set():  # type: ignore[attr-defined]
                return
            log.append(messages)


def _toml(url: str, folder: Path, port: int) -> str:
    fields = [f"{name}_{f}" for name, count in (("user", USER_FIELDS), ("item", ITEM_FIELDS)) for f in range(count)]
    tables = "".join(f'[[field]]\nname = "{field}"\nkind = "{"numeric" if field.endswith("_0") else "categorical"}"\n' for field in fields)
    return f"""
[log]
url = "{url}"
prefix = "bench-{secrets.token_hex(4)}"
[learn]
directory = "{folder}/checkpoints"
metrics_port = 0
[serve]
port = {port}
{tables}"""


def _wait(url: str, check: Callable[[], None]) -> None:
    """Wait until ``url`` answers that all is well."""
    deadline = time.monotonic() + _START
    with httpx.Client() as client:
        while time.monotonic() < deadline:
            check()
            with contextlib.suppress(httpx.TransportError):  # it does not listen yet
                if client.get(url).is_success:
                    return
            time.sleep(0.1)
    raise TimeoutError(f"{url} did not answer within {_START:g} seconds")
