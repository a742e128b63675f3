"""What the server gains, and the learner loses, where the learner has the lower priority that `sml up` gives it: in turn, second by second.

python -m benchmarks.priority [--rate N] [--learned N] [--seconds N]
"""

import argparse
import asyncio
import os
import statistics
import time
from pathlib import Path

import numpy as np

from service.bench.load import _Connection
from service.bench.site import request, running, stream
from service.up.children import NICENESS

CANDIDATES, CONNECTIONS = 100, 8


async def ask(port: int, learner: int, rate: float, seconds: int) -> dict[int, tuple[list[float], float]]:
    """Return, for each niceness of the learner, latencies in ms and the learner's seconds of processor time."""
    random, own = np.random.default_rng(0), os.getpriority(os.PRIO_PROCESS, 0)
    bodies = [request(random, CANDIDATES) for _ in range(50)]
    free: asyncio.Queue[_Connection] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        free.put_nowait(await _Connection.open(port))

    async def one(due: float, body: bytes, latencies: list[float]) -> None:
        connection = await free.get()
        await connection.post("/v1/predict", body)
        latencies.append(1000 * (time.perf_counter() - due))
        free.put_nowait(connection)

    found: dict[int, tuple[list[float], float]] = {own: ([], 0.0), own + NICENESS: ([], 0.0)}
    for second in range(seconds):
        niceness = (own, own + NICENESS)[second % 2]
        os.setpriority(os.PRIO_PGRP, learner, niceness)
        latencies, learned = found[niceness]
        begun, start, asked = _taken(learner), time.perf_counter(), list[asyncio.Task[None]]()
        while (now := time.perf_counter()) < start + 1:
            asked.append(asyncio.create_task(one(now, bodies[len(asked) % len(bodies)], latencies)))
            await asyncio.sleep(1 / rate)
        await asyncio.gather(*asked)
        found[niceness] = latencies, learned + _taken(learner) - begun
    return found


def _taken(process: int) -> float:
    """Return the seconds of processor time that a process's threads have taken so far."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{process}/task").iterdir()) / 1e9


def _learner(config: Path) -> int:
    """Return the process that learns for a site."""
    for folder in Path("/proc").glob("[0-9]*"):
        words = (folder / "cmdline").read_bytes().split(b"\0")
        if b"learn" in words and str(config).encode() in words:
            return int(folder.name)
    raise LookupError(f"no process learns with {config}")


def main() -> None:
    """Print a line for each niceness."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second")
    parser.add_argument("--learned", type=float, default=10_000.0, help="examples a second")
    parser.add_argument("--seconds", type=int, default=60)
    options = parser.parse_args()
    with running(None) as site, stream(site, options.learned):
        found = asyncio.run(ask(site.port, _learner(site.config), options.rate, options.seconds))
    for niceness, (latencies, learned) in found.items():
        cuts = statistics.quantiles(latencies, n=100)
        print(
            f"{niceness}: {len(latencies)} answers, p50 {cuts[49]:.1f}, p90 {cuts[89]:.1f}, p99 {cuts[98]:.1f} ms; learned {learned:.2f} s"
        )


if __name__ == "__main__":
    main()
