"""How long heartbeats take the whole way, hop by hop, while events come or not: what `/v1/freshness` says of the last two minutes.

python -m benchmarks.freshness.heartbeat [--log URL] [--rate N] [--seconds N]
"""

import argparse
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np

from service.bench.site import Site, paced, running, visits
from stream.log.connect import open_log
from stream.records.heartbeat import HOPS

_FIRST_TIMEOUT = 300.0  # seconds until the first heartbeat has arrived
_SETTLE_TIME = 15.0  # seconds of traffic before the first heartbeat that counts
# Nothing can be learned from made-up labels, and what learns noise is held, not served. So the weights hardly move; the work is the same.
_STILL = {f"SML_MODEL__{part}_RATE": "1e-7" for part in ("TOWER", "EMBEDDING", "WIDE")}


def main() -> None:
    """Print a line for each hop, and one for the whole way: median and 95th percentile, in ms."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--log", help="kafka://host:9092; default: an SQLite file")
    parser.add_argument("--rate", type=float, default=0.0, help="impressions and clicks a second, together")
    parser.add_argument("--seconds", type=float, default=90.0, help="at most 120")
    asked = parser.parse_args()
    os.environ |= _STILL
    with running(asked.log, "fnw") as site:
        stop = threading.Event()
        traffic = threading.Thread(target=_write, args=(site, asked.rate, stop.is_set))
        traffic.start()
        try:
            _wait_for_the_first(site)
            time.sleep(_SETTLE_TIME)
            since = 1000 * time.time()
            time.sleep(asked.seconds)
            heartbeats = [each for each in _heartbeats(site) if each["sent"] >= since]
        finally:
            stop.set()
            traffic.join()
    print(f"{len(heartbeats)} of {asked.seconds:.0f} heartbeats; ms: p50, p95")
    for hop in HOPS:
        _print(hop, [each["hops"][hop] for each in heartbeats])
    _print("in all", [each["seconds"] for each in heartbeats])


def _write(site: Site, rate: float, should_stop: Callable[[], bool]) -> None:
    if not rate:
        return
    with open_log(site.settings.log) as log:
        for _, messages in paced(visits(site.topics, rate)):
            if should_stop():
                return
            if messages:
                log.append(messages)


def _wait_for_the_first(site: Site) -> None:
    deadline = time.monotonic() + _FIRST_TIMEOUT
    while not _heartbeats(site):
        if time.monotonic() > deadline:
            raise TimeoutError(f"no heartbeat has arrived within {_FIRST_TIMEOUT:g} seconds")
        time.sleep(0.5)


def _heartbeats(site: Site) -> list[Any]:
    found: list[Any] = httpx.get(f"http://127.0.0.1:{site.port}/v1/freshness").json()["arms"][0]["heartbeats"]
    return found


def _print(name: str, seconds: list[float]) -> None:
    p50, p95 = 1000 * np.quantile(seconds, [0.5, 0.95])
    print(f"{name:8} {p50:6.0f} {p95:6.0f}")


if __name__ == "__main__":
    main()
