"""A learner and a server that run for a benchmark, and their traffic: a stream of examples of 20 fields, and requests.

They are processes of their own, with topics of their own, in a folder that is deleted when the benchmark ends.
"""

import contextlib
import json
import secrets
import socket
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple, TypeVar

import httpx
import numpy as np

from service.commands.topics import create
from service.settings import Settings, load
from service.up.children import Children
from stream.log.connect import connect
from stream.log.contract import Message
from stream.log.topics import Topics
from stream.records.events import Click, Example, Impression, encode

T = TypeVar("T")

USER_FIELDS, ITEM_FIELDS = 10, 10  # of the context, of each candidate
VALUES = 20_000  # of each field
TICK = 0.01  # seconds between two appends of the stream
CHANCES = (0.05, 0.35)  # of a click, where an item's second feature is even and where it is odd: something can be learned
CLICKED = sum(CHANCES) / 2  # of the impressions
CLICK_AFTER = 1.0  # seconds from an impression to its click
_START_TIMEOUT = 300.0  # seconds; the first start on a machine compiles the kernels


class Site(NamedTuple):
    """Where learner and server run."""

    config: Path
    settings: Settings
    port: int

    @property
    def topics(self) -> Topics:
        """The topics of the model."""
        return Topics(self.settings.log.prefix)


def prepared(folder: Path, url: str | None = None, policy: str = "window") -> Site:
    """Write settings into ``folder`` and create the topics, by default in a new SQLite file there; ``policy`` is the joiner's."""
    config, port = folder / "sml.toml", free_port()
    config.write_text(_toml(url or f"sqlite:///{folder}/log.db", folder, port, policy), encoding="utf-8")
    site = Site(config, load(config), port)
    create(site.settings)
    return site


@contextlib.contextmanager
def running(url: str | None, policy: str | None = None) -> Iterator[Site]:
    """Start a learner and a server on the log at ``url``, by default a new SQLite file, and wait until predictions are answered.

    With a label policy, a joiner runs under it, too.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        site = prepared(folder, url, policy or "window")
        with Children(site.config, folder / "logs") as children:
            for command in ("learn", "serve", *(["join"] if policy else [])):
                children.start(command)
            wait_for(f"http://127.0.0.1:{site.port}/readyz", children.check)
            yield site


def free_port() -> int:
    """Return a port that nothing listens on now."""
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
    """Yield, without end, when a tick is due, in seconds from the first, and its examples, ``rate`` a second."""
    for due, examples in _ticks(rate):
        yield due, [Message(topics.examples, each.impression_id.encode(), encode(each)) for each in examples]


def visits(topics: Topics, rate: float) -> Iterator[tuple[float, list[Message]]]:
    """Yield, without end, when a tick is due, and its impressions and then its clicks, together ``rate`` a second."""
    to_click: deque[tuple[float, str]] = deque()
    for due, examples in _ticks(rate / (1 + CLICKED)):
        shown = [Impression(each.impression_id, each.time, each.features) for each in examples]
        to_click += [(due + CLICK_AFTER, each.impression_id) for each in examples if each.label]
        clicks = []
        while to_click and to_click[0][0] <= due:
            clicks.append(Click(to_click.popleft()[1], int(time.time() * 1000)))
        messages = [(topics.impressions, each) for each in shown] + [(topics.clicks, each) for each in clicks]
        yield due, [Message(topic, each.impression_id.encode(), encode(each)) for topic, each in messages]


def paced(ticks: Iterable[tuple[float, T]]) -> Iterator[tuple[float, T]]:
    """Pass each tick on when it is due."""
    start = time.monotonic()
    for due, tick in ticks:
        time.sleep(max(0.0, start + due - time.monotonic()))
        yield due, tick


def _ticks(rate: float) -> Iterator[tuple[float, list[Example]]]:
    random = np.random.default_rng(0)
    number, due = 0, 0.0
    ready = [{**user(random), **item(random)} for _ in range(5_000)]
    chances = [CHANCES[int(str(each["item_1"]), 16) % 2] for each in ready]
    while True:
        examples = []
        while number < rate * (due + TICK):
            which = int(random.integers(len(ready)))
            features, label = ready[which], int(random.random() < chances[which])
            examples.append(Example(f"{number}", int(time.time() * 1000), features, label))  # type: ignore[arg-type]
            number += 1
        yield due, examples
        due += TICK


def request(random: np.random.Generator, candidates: int) -> bytes:
    """Return the body of a request for predictions."""
    body = {"context": user(random), "candidates": [{"id": n, **item(random)} for n in range(candidates)]}
    return json.dumps(body).encode()


def user(random: np.random.Generator) -> dict[str, str | float]:
    """Return the features of a context."""
    return _features(random, "user", USER_FIELDS)


def item(random: np.random.Generator) -> dict[str, str | float]:
    """Return the features of a candidate."""
    return _features(random, "item", ITEM_FIELDS)


def _features(random: np.random.Generator, name: str, fields: int) -> dict[str, str | float]:
    values = (VALUES * random.random(fields) ** 3).astype(int)  # a few values are common
    return {f"{name}_{f}": float(value) if f == 0 else f"{value:x}" for f, value in enumerate(values.tolist())}


def _write(url: str, prefix: str, rate: float, stop: Callable[[], bool]) -> None:
    with connect(url) as log:
        for _, messages in paced(appends(Topics(prefix), rate)):
            if stop.is_set():  # type: ignore[attr-defined]
                return
            log.append(messages)


def _toml(url: str, folder: Path, port: int, policy: str) -> str:
    fields = [f"{name}_{f}" for name, count in (("user", USER_FIELDS), ("item", ITEM_FIELDS)) for f in range(count)]
    tables = "".join(f'[[field]]\nname = "{field}"\nkind = "{"numeric" if field.endswith("_0") else "categorical"}"\n' for field in fields)
    return f"""
[log]
url = "{url}"
prefix = "bench-{secrets.token_hex(4)}"
[join]
label_policy = "{policy}"
metrics_port = 0
[learn]
directory = "{folder}/checkpoints"
metrics_port = 0
[serve]
port = {port}
[limits]
requests_per_second = 1_000_000
{tables}"""


def wait_for(url: str, check: Callable[[], None]) -> None:
    """Wait until ``url`` answers with success; ``check`` raises if that can't be any more.

    Raises:
        TimeoutError: it does not answer.
    """
    deadline = time.monotonic() + _START_TIMEOUT
    with httpx.Client() as client:
        while time.monotonic() < deadline:
            check()
            with contextlib.suppress(httpx.TransportError):  # it does not listen yet
                if client.get(url).is_success:
                    return
            time.sleep(0.1)
    raise TimeoutError(f"{url} did not answer within {_START_TIMEOUT:g} seconds")
