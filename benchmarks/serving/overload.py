"""What a server answers that is asked for more than it can: capacity, then twice as many requests a second, in turn.

    python -m benchmarks.serving.overload

Requests of 100 candidates and 20 fields. Capacity is what four connections get that each ask again as soon as they are answered. Then
requests come at twice that rate, each over one of 256 connections, whether or not earlier ones were answered; latencies count from when
one was due. Goodput is in answers a second of the server's processor time, so that the work of others on the machine is not in it.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from service.bench.load import AnswerError, _Connection, at_most
from service.bench.site import prepared, request, stream, wait_for
from service.up.children import Children

CANDIDATES, CONNECTIONS, ROUNDS = 100, 256, 3


class Overload(NamedTuple):
    """What became of requests that came at a fixed rate; latencies in ms."""

    answered: float  # a second
    shed: float  # a second
    p50: float
    p99: float
    shed_p99: float
    seconds: float


async def overload(port: int, bodies: list[bytes], rate: float, seconds: float) -> Overload:
    """Ask ``rate`` times a second for ``seconds``."""
    free: asyncio.Queue[_Connection] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        free.put_nowait(await _Connection.open(port))
    answered: list[float] = []
    shed: list[float] = []
    start = time.perf_counter()

    async def one(n: int) -> None:
        due = start + n / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        connection, taken = await free.get(), answered
        try:
            await connection.post("/v1/predict", bodies[n % len(bodies)])
        except AnswerError:
            taken = shed
        taken.append((time.perf_counter() - due) * 1000)
        free.put_nowait(connection)

    await asyncio.gather(*(one(n) for n in range(int(rate * seconds))))
    took = time.perf_counter() - start
    while not free.empty():
        await free.get_nowait().close()
    cuts, of_shed = statistics.quantiles(answered, n=100), statistics.quantiles(shed, n=100) if len(shed) > 1 else [0.0] * 99
    return Overload(len(answered) / took, len(shed) / took, cuts[49], cuts[98], of_shed[98], took)


def _processor_seconds(process: int) -> float:
    """Return the processor time that a process has taken so far."""
    user, system = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Print a line for each round."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=5)
    options = parser.parse_args()
    random = np.random.default_rng(0)
    bodies = [request(random, CANDIDATES) for _ in range(50)]
    with tempfile.TemporaryDirectory() as name:
        site = prepared(Path(name))
        with Children(site.config, Path(name) / "logs") as children:
            children.start("learn")
            children.start("serve")
            server = children._children[-1].process.pid  # noqa: SLF001 - only this measures it
            wait_for(f"http://127.0.0.1:{site.port}/readyz", children.check)
            with stream(site, 2000):
                time.sleep(3)
            at_most(site.port, "/v1/predict", bodies, 1)
            for _ in range(ROUNDS):
                before = _processor_seconds(server)
                capacity = at_most(site.port, "/v1/predict", bodies, options.seconds)
                between = _processor_seconds(server)
                found = asyncio.run(overload(site.port, bodies, 2 * capacity, options.seconds))
                after = _processor_seconds(server)
                alone, shedding = capacity * options.seconds / (between - before), found.answered * found.seconds / (after - between)
                print(
                    f"capacity {capacity:.0f}/s, {alone:.0f} a second of processor time; goodput {shedding / alone:.0%}", found, flush=True
                )


if __name__ == "__main__":
    main()
