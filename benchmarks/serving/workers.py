"""The memory of ``sml serve --workers`` for a large table, by the number of workers: the table of benchmarks/serving/predict.md.

    python -m benchmarks.serving.workers --rows 48000000

A learner fills a table of so many rows with values until nearly every page of it is in use, and publishes twice, so that both copies are.
Then so many workers are started, and the memory of all processes is read from ``smaps``: each page counts once, by the share of each
process that has it (PSS). It takes 10 GB for 48 million rows.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np

from service.bench.site import Site, prepared, request, wait_for
from service.settings import load
from service.up.children import Children
from stream.log.connect import connect
from stream.log.contract import Message
from stream.records.events import Example, encode

EXAMPLES, MORE, BATCH = 80_000, 1_000, 5_000  # of 20 fields, whose values are all new
WORKERS = (2, 4, 8)
SECONDS = 2.0  # for which workers are asked, so that each has read what it needs


class Memory(NamedTuple):
    """What some processes hold, in bytes."""

    weights: int  # in shared memory
    other: int


def learn(site: Site, first: int, count: int) -> None:
    """Learn some examples of new values, and publish what was learned."""
    names = [field.name for field in site.settings.spec.fields]
    with connect(site.settings.log.url) as log:
        for start in range(first, first + count, BATCH):
            now, numbers = int(time.time() * 1000), range(start, min(start + BATCH, first + count))
            examples = [
                Example(f"{n}", now, {name: float(n) if "_0" in name else f"{n}" for name in names}, 1 if n % 5 == 0 else 0)
                for n in numbers
            ]
            log.append([Message(site.topics.examples, each.impression_id.encode(), encode(each)) for each in examples])
    sml(site, "learn", "--until-caught-up")


def sml(site: Site, *words: str) -> bool:
    """Run a command to its end, and return whether it succeeded."""
    command = [sys.executable, "-m", "service", *words, "--config", str(site.config)]
    return subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode == 0


def memory(processes: list[int]) -> Memory:
    """Return what processes hold together."""
    found = {True: 0, False: 0}
    for process in processes:
        of_weights = False
        for line in Path(f"/proc/{process}/smaps").read_text().splitlines():
            if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                of_weights = "/memfd:weights" in line
            elif line.startswith("Pss:"):
                found[of_weights] += int(line.split()[1]) * 1024
    return Memory(found[True], found[False])


def served_by(site: Site, workers: int, folder: Path) -> Memory:
    """Serve by some workers, and return what they and their follower hold."""
    logs = folder / f"logs-{workers}"
    with Children(site.config, logs) as children:
        children.start("serve", "--workers", f"{workers}")
        wait_for(f"http://127.0.0.1:{site.port}/readyz", children.check)
        body, end = request(np.random.default_rng(0), 100), time.monotonic() + SECONDS * workers
        while time.monotonic() < end:
            httpx.post(f"http://127.0.0.1:{site.port}/v1/predict", content=body, timeout=60).raise_for_status()
        started = re.findall(r"(?:follower|worker \d+) is process (\d+)", (logs / "serve.log").read_text())
        learn(site, EXAMPLES + MORE * workers, MORE)  # the other copy serves, too
        time.sleep(SECONDS)
        return memory([int(process) for process in started])


def main() -> None:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=48_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        site = prepared(Path(name))
        with site.config.open("a", encoding="utf-8") as settings:
            settings.write(f"[table]\ncapacity = {options.rows}\n")
        site = site._replace(settings=load(site.config))
        copy = options.rows * (8 + 4 * (site.settings.spec.model.embedding + 1))
        learn(site, 0, EXAMPLES)
        sml(site, "snapshots", "approve")  # the guard holds a stream in which every value is new
        learn(site, EXAMPLES, MORE)
        print(f"a copy of the table is {copy / 1e9:.2f} GB\n")
        print("| workers | weights, GB | copies | all else, MB a process |\n| ---: | ---: | ---: | ---: |")
        for workers in WORKERS:
            found = served_by(site, workers, Path(name))
            each = found.other / (workers + 1)
            print(f"| {workers} | {found.weights / 1e9:.2f} | {found.weights / copy:.2f} | {each / 1e6:.0f} |", flush=True)


if __name__ == "__main__":
    main()
