"""What a second arm costs: processor time of two arms that learn apart and in one process, and predictions with and without arms.

    python -m benchmarks.learning.arms
    python -m benchmarks.learning.arms --examples 50000 --rounds 5 --seconds 5

Two arms of the standard network, with and without skip terms, learn the same examples of 20 fields from an embedded log. Then two servers
answer the same requests of 100 candidates in turn: one without arms, one with two arms that all of control's units are answered by.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
from prometheus_client import CollectorRegistry

from service.bench.load import at_most
from service.bench.site import Site, appends, free_port, prepared, request, wait_for
from service.commands.compile import compile_kernels
from stream.inputs.event_time import TimeRule
from stream.learn.examples.shared import SharedReading
from stream.learn.learner import Learner
from stream.learn.metrics import LearnerMetrics
from stream.log import topics as topics_module
from stream.log.connect import connect
from stream.log.contract import Log

ARMS = """
[experiment]
unit = "user_1"
[arms.control]
[arms.treatment]
model = { skip = "none" }
"""
CANDIDATES, BODIES = 100, 50


def fill(log: Log, site: Site, count: int) -> None:
    """Write so many examples."""
    ticks = appends(site.topics, 100_000.0)
    written = 0
    while written < count:
        written += len(log.append(next(ticks)[1]))


def learned(log: Log, site: Site, arm: str, skip: str, shared: SharedReading | None) -> None:
    """Learn all examples as a new arm."""
    topics = site.topics._replace(arm=arm)
    topics_module.create(log, topics, 1, arms=(arm,))
    spec = site.settings.spec.model_copy(update={"model": site.settings.model.model_copy(update={"skip": skip})})
    settings = site.settings.learn.model_copy(update={"directory": f"{site.config.parent}/{arm}"})
    learner = Learner(log, topics, spec, settings, LearnerMetrics(CollectorRegistry()), times=TimeRule(60_000), shared=shared)
    learner.run(lambda: False, until_caught_up=True)


def apart(log: Log, site: Site, number: int) -> None:
    """Learn two arms, each by itself."""
    for skip in ("meta_tanh", "none"):
        learned(log, site, f"apart-{number}-{skip}".replace("_", "-"), skip, None)


def together(log: Log, site: Site, number: int) -> None:
    """Learn two arms on one reading."""
    with contextlib.closing(SharedReading(log, site.topics.examples)) as shared, ThreadPoolExecutor(2) as pool:
        names = [(f"together-{number}-{skip}".replace("_", "-"), skip) for skip in ("meta_tanh", "none")]
        for done in [pool.submit(learned, log, site, name, skip, shared) for name, skip in names]:
            done.result()


def learning(examples: int, rounds: int) -> None:
    """Print the processor time of two arms, apart and together, in turn."""
    compile_kernels("dnn")
    times: dict[str, list[tuple[float, float]]] = {"apart": [], "together": []}
    ways: dict[str, Callable[[Log, Site, int], None]] = {"apart": apart, "together": together}
    with tempfile.TemporaryDirectory() as folder:
        site = prepared(Path(folder))
        with connect(site.settings.log.url) as log:
            fill(log, site, examples)
            for number in range(rounds + 1):
                for name, way in ways.items():
                    start = time.process_time(), time.perf_counter()
                    way(log, site, number)
                    if number:  # the first loads the kernels
                        times[name].append((time.process_time() - start[0], time.perf_counter() - start[1]))
    for name, taken in times.items():
        cpu, wall = (median(column) / examples * 1e6 for column in zip(*taken, strict=True))
        print(f"learning {name:9} {cpu:6.1f} µs of processor time for an example of both arms, {wall:6.1f} µs by the clock")
    print_ratio("together / apart", times["apart"], times["together"])


def print_ratio(name: str, before: list[tuple[float, float]], after: list[tuple[float, float]]) -> None:
    """Print the ratio of the processor times of each round."""
    ratios = sorted(b / a for (a, _), (b, _) in zip(before, after, strict=True))
    print(f"{name}, processor time: {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


@contextlib.contextmanager
def serving(config: Path, port: int) -> Iterator[int]:
    """Run a server until the block ends; yield the number of its process."""
    process = subprocess.Popen([sys.executable, "-m", "service", "serve", "--config", str(config)], stderr=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}/readyz", lambda: None)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process has taken."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def predicting(rounds: int, seconds: float) -> None:
    """Print what predictions cost of a server without arms, and by one with two, in turn."""
    random = np.random.default_rng(0)
    bodies = [request(random, CANDIDATES) for _ in range(BODIES)]
    with tempfile.TemporaryDirectory() as folder:
        site = prepared(Path(folder))
        other, port = Path(folder) / "arms.toml", free_port()
        other.write_text(site.config.read_text().replace(f"port = {site.port}", f"port = {port}") + ARMS)
        with connect(site.settings.log.url) as log:
            topics_module.create(log, site.topics, 1, arms=("control", "treatment"))
            fill(log, site, 20_000)
        for arm in ("control", "treatment"):
            learn = [sys.executable, "-m", "service", "learn", "--arm", arm, "--until-caught-up", "--json", "--config", str(other)]
            print(json.loads(subprocess.run(learn, check=True, capture_output=True).stdout.splitlines()[-1])["digest"], arm)
        found: dict[str, list[tuple[float, float]]] = {"without arms": [], "with two arms": []}
        with serving(site.config, site.port) as plain, serving(other, port) as with_arms:
            servers = [("without arms", plain, site.port), ("with two arms", with_arms, port)]
            for number in range(rounds + 1):
                for name, pid, at in servers:
                    start = processor_seconds(pid)
                    most = at_most(at, "/v1/predict", bodies, seconds)
                    if number:  # the first loads the kernels
                        found[name].append(((processor_seconds(pid) - start) / (most * seconds), most))
    for name, lines in found.items():
        each, most = (median(column) for column in zip(*lines, strict=True))
        print(f"predicting {name:13} {each * 1e3:.3f} ms of processor time a request, at most {most:,.0f} requests a second")
    print_ratio("with two arms / without", found["without arms"], found["with two arms"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    learning(options.examples, options.rounds)
    predicting(options.rounds, options.seconds)
