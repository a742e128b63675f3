"""A recorded log through all processes: replayed, joined, learned and served, on one machine; events a second, and each process's share.

python -m benchmarks.learning.pipeline LOG.csv.gz --config sml.toml [--log kafka://localhost:9092 [--broker PID]]

A row is an impression, and a click if it was clicked. The kernels are compiled, and the processes up, before the first row is read.
"""

import argparse
import os
import secrets
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from service.bench.site import free_port, wait_for
from service.commands.replay import replay
from service.commands.topics import create
from service.settings import load
from service.up.children import Children

_PROCESSES = ("learn", "serve", "join")
_PATIENCE = 600.0  # seconds until all is served
_TICK = os.sysconf("SC_CLK_TCK")  # of the processor's time in /proc, a second


def main() -> None:
    """Print when all rows were written, and when all were served."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("path", type=Path)
    parser.add_argument("--config", type=Path, default=Path("sml.toml"))
    parser.add_argument("--log", help="kafka://host:9092; default: an SQLite file")
    parser.add_argument("--broker", type=int, help="its process, if its share is to be shown, too")
    asked = parser.parse_args()
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "SML_LOG__URL": asked.log or f"sqlite:///{folder}/log.db",
            "SML_LOG__PREFIX": f"bench-{secrets.token_hex(4)}",
            "SML_LEARN__DIRECTORY": f"{folder}/checkpoints",
            "SML_SERVE__PORT": str(port),
            **{f"SML_{process}__METRICS_PORT": "0" for process in ("JOIN", "LEARN")},
        }
        settings = load(asked.config)
        create(settings)
        with Children(asked.config, Path(folder) / "logs") as children:
            for name in _PROCESSES:
                children.start(name)
            wait_for(f"http://127.0.0.1:{port}/readyz", children.check)
            own = os.getpid()
            started = Path(f"/proc/{own}/task/{own}/children").read_text().split()
            pids = {"replay": own, **dict(zip(_PROCESSES, map(int, started), strict=True))} | (
                {"broker": asked.broker} if asked.broker else {}
            )
            before, start = {name: _seconds(pid) for name, pid in pids.items()}, time.perf_counter()
            written = replay(asked.path, settings)
            replayed = time.perf_counter() - start
            _wait_until_served(port, written["rows"], children.check)
            took, events = time.perf_counter() - start, written["rows"] + written["clicks"]
            used = {name: _seconds(pid) - before[name] for name, pid in pids.items()}
    print(f"{written['rows']:,} rows, {events:,} events: replayed {events / replayed:,.0f} events/s, served {events / took:,.0f} events/s")
    print("processor time, µs an event: " + ", ".join(f"{name} {1e6 * seconds / events:.0f}" for name, seconds in used.items()))


def _seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def _wait_until_served(port: int, rows: int, check: Callable[[], None]) -> None:
    deadline = time.monotonic() + _PATIENCE
    with httpx.Client() as client:
        while _served(client, port) < rows:
            check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{_served(client, port):,} of {rows:,} rows are served after {_PATIENCE:g} seconds")
            time.sleep(0.05)


def _served(client: httpx.Client, port: int) -> int:
    found: dict[str, Any] = client.get(f"http://127.0.0.1:{port}/v1/model").json()
    return int(found["examples"])


if __name__ == "__main__":
    main()
