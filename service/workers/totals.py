"""The metrics of several processes as those of one: what is counted is added up, over processes that have ended, too.

The supervisor asks every process for its metrics: once a second, so that little is lost when one is killed, and whenever a worker is asked
for all. What is no count, such as the age of the weights, is that of the worker that answers, or of the only process that has it.
"""

import select
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Self

import msgspec
from msgspec import Struct
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from stream.weights.frames import framed, received

ADDED_GAUGES = frozenset({"sml_server_in_flight_requests"})
_COUNTS = frozenset({"counter", "histogram", "summary"})
_REPORTS, _ASKS, _ASKED = b"r", b"a", b"?"
_ASK_EVERY = 1.0  # seconds
_TIMEOUT = 2.0  # seconds that a process has to say its metrics; then those that it said last count


class Family(Struct):
    """A metric with all its labels."""

    name: str
    kind: str
    text: str
    samples: list[tuple[str, dict[str, str], float]]

    @property
    def adds_up(self) -> bool:
        """Whether the metric of several processes is the sum of theirs."""
        return self.kind in _COUNTS or self.name in ADDED_GAUGES


class Totals:
    """Adds up what the processes report at ``listener``, until the block ends."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._reports: dict[socket.socket, list[Family]] = {}  # the last one of each process
        self._asked: set[socket.socket] = set()  # those that have yet to answer
        self._ended: list[Family] = []  # what those have counted that have ended
        self._stop = Event()
        self._thread = Thread(target=self._run, name="metrics", daemon=True)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End."""
        self._stop.set()
        self._thread.join()
        for connection in (self._listener, *self._reports):
            connection.close()

    def _run(self) -> None:
        self._listener.settimeout(_ASK_EVERY)
        while not self._stop.is_set():
            with suppress(OSError):  # nobody came, or who came has gone
                self._admit(self._listener.accept()[0])
            self._ask()

    def _admit(self, process: socket.socket) -> None:
        process.settimeout(_TIMEOUT)
        if process.recv(1) == _REPORTS:
            self._reports[process] = []
            return
        with process:
            self._ask()
            process.sendall(framed(msgspec.msgpack.encode(added_up([self._ended, *self._reports.values()]))))

    def _ask(self) -> None:
        """Bring every report up to date; who has not answered the last time is neither asked nor waited for until they have."""
        waited_for, deadline = self._reports.keys() - self._asked, time.monotonic() + _TIMEOUT
        for process in waited_for:
            with suppress(OSError):  # it has ended; what it said before that is yet to be read
                process.sendall(_ASKED)
        self._asked |= waited_for
        while self._asked:
            patience = max(0.0, deadline - time.monotonic()) if self._asked & waited_for else 0.0
            ready = select.select(self._asked, [], [], patience)[0]
            if not ready:
                return
            for process in ready:
                self._asked.discard(process)
                self._read(process)

    def _read(self, process: socket.socket) -> None:
        try:
            self._reports[process] = msgspec.msgpack.decode(received(process), type=list[Family])
        except OSError:
            counted = [family for family in self._reports.pop(process) if family.kind in _COUNTS]
            self._ended = added_up([self._ended, counted])
            process.close()


def added_up(reports: Iterable[list[Family]]) -> list[Family]:
    """Return the metrics of all reports as one; of what does not add up, the last value counts."""
    families: dict[str, Family] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for report in reports:
        for family in report:
            families[family.name], known = family, values.setdefault(family.name, {})
            for name, labels, value in family.samples:
                key = name, tuple(labels.items())
                known[key] = known.get(key, 0.0) + value if family.adds_up else value
    return [
        Family(name, each.kind, each.text, [(sample, dict(labels), value) for (sample, labels), value in values[name].items()])
        for name, each in families.items()
    ]


class AllProcesses(Collector):
    """Collects the metrics of all processes, in one of them, from the supervisor at ``path``; ``registry`` has its own."""

    def __init__(self, registry: CollectorRegistry, path: Path) -> None:
        self._registry, self._path = registry, path

    def collect(self) -> Iterator[Metric]:
        """Yield them.

        Raises:
            OSError: the supervisor does not answer.
        """
        own = {family.name: family for family in _families(self._registry)}
        with socket.socket(socket.AF_UNIX) as supervisor:
            supervisor.settimeout(2 * _TIMEOUT)
            supervisor.connect(str(self._path))
            supervisor.sendall(_ASKS)
            every = msgspec.msgpack.decode(received(supervisor), type=list[Family])
        for family in every:
            chosen = family if family.adds_up else own.get(family.name, family)
            metric = Metric(chosen.name, chosen.text, chosen.kind)
            metric.samples = [Sample(*sample) for sample in chosen.samples]
            yield metric


@contextmanager
def reporting(registry: CollectorRegistry, path: Path) -> Iterator[None]:
    """Report the metrics of this process to the supervisor at ``path`` whenever it asks, and when the block ends."""
    with socket.socket(socket.AF_UNIX) as supervisor:
        supervisor.connect(str(path))
        supervisor.sendall(_REPORTS)
        thread = Thread(target=_report, args=(supervisor, registry), name="metrics", daemon=True)
        thread.start()
        try:
            yield
        finally:
            with suppress(OSError):
                supervisor.shutdown(socket.SHUT_RD)
            thread.join(_TIMEOUT)


def _report(supervisor: socket.socket, registry: CollectorRegistry) -> None:
    with suppress(OSError):  # the supervisor has ended
        asked = True
        while asked:
            asked = bool(supervisor.recv(1))
            supervisor.sendall(framed(msgspec.msgpack.encode(_families(registry))))


def _families(registry: CollectorRegistry) -> list[Family]:
    """Return the metrics of a registry, without the times at which counters began."""
    return [
        Family(
            metric.name,
            metric.type,
            metric.documentation,
            [(sample.name, sample.labels, sample.value) for sample in metric.samples if not sample.name.endswith("_created")],
        )
        for metric in registry.collect()
    ]
