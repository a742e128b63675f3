"""``sml bench predict``: the latency of ``/v1/predict``, idle and while the model learns, beside plain PyTorch.

PyTorch is measured behind plain FastAPI and behind Ray Serve; what is missing is left out and said. Requests come at a fixed rate, and a
latency counts from when its request was due. The load is made on the same machine.
"""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import typer

from service.bench.load import at_most, at_rate
from service.bench.site import Site, free_port, request, running, stream, wait_for

RATES = {1: 200, 10: 200, 100: 100, 1000: 10}  # candidates → requests a second
EAGER_RATES = {1: 50, 10: 50, 100: 20, 1000: 2}
BODIES = 50  # different requests


class EagerServer(NamedTuple):
    """PyTorch behind something."""

    name: str
    module: str
    package: str  # that it needs
    wanted: str  # what is to be installed


EAGER_SERVERS = (
    EagerServer("FastAPI and PyTorch", "eager_server", "torch", "sml-online[torch]"),
    EagerServer("Ray Serve and PyTorch", "ray_server", "ray", "ray[serve]"),
)


class PredictSpeed(NamedTuple):
    """One line of ``sml bench predict``; latencies in ms."""

    server: str
    learning: int  # examples a second, meanwhile
    candidates: int
    rate: int  # requests a second
    p50: float
    p99: float
    longest: float
    requests_per_second: int  # at most, by four connections at once
    ratio: float | None = None  # to plain FastAPI and PyTorch, of requests_per_second


def predictions(seconds: float, learning: int, url: str | None) -> Iterator[PredictSpeed]:
    """Measure eager PyTorch, then ``sml serve`` idle, then ``sml serve`` beside a learner of ``learning`` examples a second."""
    eager: dict[int, PredictSpeed] = {}
    for server in EAGER_SERVERS:
        try:
            with _running(server) as port:
                for candidates, rate in EAGER_RATES.items():
                    speed = _measure(server.name, port, 0, candidates, rate, seconds)
                    eager.setdefault(candidates, speed)
                    yield speed
        except ModuleNotFoundError as error:
            typer.echo(f"{server.name} is not measured: {error}", err=True)
    with running(url) as site:
        _warm(site)
        for examples in (0, learning):
            with stream(site, examples):
                for candidates, rate in RATES.items():
                    speed = _measure("sml serve", site.port, examples, candidates, rate, seconds)
                    other = eager.get(candidates)
                    yield speed._replace(ratio=other and round(speed.requests_per_second / other.requests_per_second, 1))


def _measure(server: str, port: int, learning: int, candidates: int, rate: int, seconds: float) -> PredictSpeed:
    random = np.random.default_rng(0)
    bodies = [request(random, candidates) for _ in range(BODIES)]
    at_most(port, "/v1/predict", bodies, 0.5, 1)  # warm up
    latency = at_rate(port, "/v1/predict", bodies, rate, seconds)
    most = at_most(port, "/v1/predict", bodies, seconds / 4)
    return PredictSpeed(server, learning, candidates, rate, *latency, round(most))


def _warm(site: Site) -> None:
    """Learn for some seconds, so that the table holds the values of the requests."""
    with stream(site, 2000):
        time.sleep(5)


@contextlib.contextmanager
def _running(server: EagerServer) -> Iterator[int]:
    """Run another server in a process of its own, and yield its port.

    Raises:
        ModuleNotFoundError: it needs what is not installed, or can't be run.
    """
    if find_spec(server.package) is None:
        raise ModuleNotFoundError(f"it needs pip install '{server.wanted}'")
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", f"{__package__}.{server.module}", str(port)])  # noqa: S603 - this program

    def check() -> None:
        if process.poll() is not None:
            raise ModuleNotFoundError(f"it has ended: is all of '{server.wanted}' installed?")

    try:
        wait_for(f"http://127.0.0.1:{port}/docs", check)
        yield port
    finally:
        process.terminate()
        process.wait()
