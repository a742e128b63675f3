"""The time from the start of a process to its first example learned, or its first prediction answered, with compiled kernels.

``python -m benchmarks.serving.startup`` starts ``sml learn`` on a new SQLite log that holds some examples, until the log has a version
that learned one. It then starts ``sml serve``, until the server answers a prediction. One more run of each, before, lists what they import.
"""

import contextlib
import http.client
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from service.bench.site import Site, appends, prepared, request
from stream.log.connect import open_log
from stream.log.contract import Log
from stream.records.version import decode_version

REPEATS = 7
RATE = 10_000  # examples in the log: a hundredth of these
BODY = request(np.random.default_rng(0), 10)


def main() -> None:
    """Measure and print the medians."""
    with tempfile.NamedTemporaryFile("r") as file, Path(file.name).open("w", encoding="utf-8") as imports:
        start(["-X", "importtime"], imports)  # it also warms the caches of kernels and files
        modules = {line.rpartition("|")[2].strip() for line in file}
    print(f"{len(modules)} modules are imported by one or the other; torch is {'' if 'torch' in modules else 'not '}one of them")
    for name, seconds in zip(("learn, the first example learned", "serve, the first prediction answered"), runs(), strict=True):
        print(f"sml {name}: {statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})")


def runs() -> Iterator[tuple[float, ...]]:
    """Yield the seconds of all learners, then those of all servers."""
    return zip(*(start([], subprocess.DEVNULL) for _ in range(REPEATS)), strict=True)


def start(options: list[str], errors: Any) -> tuple[float, float]:
    """Start a learner, then a server on the same log; return the seconds that each took."""
    with tempfile.TemporaryDirectory() as folder:
        site = prepared(Path(folder))
        with open_log(site.settings.log) as log:
            for _, examples in islice(appends(site.topics, RATE), 1):
                log.append(examples)
            learn = timed(["learn"], site, options, errors, lambda: has_learned(log, site))
        serve = timed(["serve"], site, options, errors, lambda: has_predicted(site))
    return learn, serve


def timed(command: list[str], site: Site, options: list[str], errors: Any, done: Callable[[], bool]) -> float:
    """Start a command, and return the seconds until ``done`` returns true."""
    started = time.perf_counter()
    words = [sys.executable, *options, "-m", "service", *command, "--config", str(site.config)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=errors)
    try:
        while not done():
            if process.poll() is not None:
                raise RuntimeError(f"{words} has ended, with status {process.returncode}")
            time.sleep(0.005)
        return time.perf_counter() - started
    finally:
        process.terminate()
        process.wait()


def has_learned(log: Log, site: Site) -> bool:
    """Return whether the log holds a version that has learned an example."""
    with contextlib.closing(log.reader(site.topics.versions, {0: 0})) as reader:
        return any(decode_version(record.value).examples for record in reader.poll(100, 0))


def has_predicted(site: Site) -> bool:
    """Return whether the server answers a prediction."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", site.port)) as server:
        try:
            server.request("POST", "/v1/predict", BODY)
        except ConnectionRefusedError:
            return False
        return server.getresponse().status == http.HTTPStatus.OK


if __name__ == "__main__":
    main()
