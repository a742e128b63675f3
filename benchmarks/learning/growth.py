"""How the step scales: examples a second and memory by fields, rows of the table, depth, width, and partitions of the log.

    python -m benchmarks.learning.growth

prints the tables of growth.md beside it and draws growth.png. The first four learn random examples on one thread, with and
without skip terms in turn: medians of thread time. The last runs the learner on an SQLite log: medians of the process's time. A slope is
the exponent from one size to the next: at -1 twice the size takes twice the time. Memory is the learner's arrays, as `sml doctor` says.
"""

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from model.encoding.features import Features
from model.settings import Spec
from service.bench.step import FIELDS, VALUES, Fast, spec_of
from service.doctor.memory import memory_of
from stream.inputs.event_time import TimeRule
from stream.learn.learner import Learner
from stream.learn.metrics import LearnerMetrics
from stream.log.contract import Log, Message
from stream.log.sqlite.log import SqliteLog
from stream.log.topics import Topics, create
from stream.records.events import Example, encode
from stream.settings import JoinSettings, LearnSettings

Speeds: TypeAlias = dict[int, float]  # size → examples a second

SKIPS = {"with SML": "meta_tanh", "without": "none"}
LARGE = 2e7  # rows: above it one table at a time is in memory
MOST, WEIGHTS = 10_000, 7e8  # at most so many examples are timed at once, and pass through so many weights
IN_LOG = 20_000  # examples


class Panel(NamedTuple):
    """One plot, and one table."""

    title: str
    curves: Mapping[str, Speeds]
    along: str
    guide: int = 0  # the slope of the dashed line that ends at the end of the last curve; 0: no line
    memory: Mapping[int, float] = MappingProxyType({})  # size → bytes, with SML


def grow(title: str, sizes: Iterable[int], fast: Callable[[int, str], Fast], along: str, guide: int, repeats: int) -> Panel:
    """Measure speed and memory of ``fast`` at each size, with and without skip terms in turn."""
    curves: dict[str, Speeds] = {name: {} for name in SKIPS}
    memory: dict[int, float] = {}
    for size in sizes:
        for names in [[name] for name in SKIPS] if size > LARGE else [list(SKIPS)]:
            for name, (speed, taken) in measure(size, fast, names, repeats).items():
                curves[name][size] = speed
                memory.setdefault(size, taken)
    return Panel(title, curves, along, guide, memory)


def measure(size: int, fast: Callable[[int, str], Fast], names: list[str], repeats: int) -> dict[str, tuple[float, float]]:
    """Return the median speed of each side, in turn, and the bytes of its arrays."""
    sides = {name: fast(size, SKIPS[name]) for name in names}
    for side in sides.values():
        side.learn()
    turns = [[learn(side, part) for side in sides.values()] for part in parts_of(sides[names[0]], repeats)]
    speeds = zip(*turns, strict=True)
    return {name: (statistics.median(each), memory_of(sides[name].model.spec).learner) for name, each in zip(names, speeds, strict=True)}


def parts_of(side: Fast, repeats: int) -> list[tuple[Features, NDArray[np.bool_]]]:
    """Part examples among turns, each so small that it does not take long; of a large table each turn has rows of its own."""
    few = min(MOST, int(WEIGHTS / side.model.weights.layout.size))
    fields = len(side.model.spec.fields)
    starts = [turn * few % max(1, len(side.labels) - few + 1) for turn in range(repeats)]
    keys, offsets = side.features.keys, side.features.starts[: few * fields + 1]
    return [(Features(keys[at * fields : (at + few) * fields], offsets), side.labels[at : at + few]) for at in starts]


def learn(side: Fast, part: tuple[Features, NDArray[np.bool_]]) -> float:
    """Learn a part of the examples, and return the examples a second of processor time."""
    side.features, side.labels = part
    return side.learn()


def by_fields(fields: int, skip: str) -> Fast:
    """Return the default network with so many fields."""
    return Fast(spec_of({"skip": skip}, fields), min(MOST, 500_000 // fields))


def by_rows(rows: int, skip: str) -> Fast:
    """Return the default network with as many values as the table has rows; each is drawn once on average before the clock starts."""
    return Fast(spec_of({"skip": skip}, rows=rows), max(MOST, rows // FIELDS), rows // FIELDS)


def by_depth(depth: int, skip: str) -> Fast:
    """Return a network with so many layers of width 64."""
    return Fast(spec_of({"skip": skip, "hidden": (64,) * depth}), MOST // depth)


def by_width(width: int, skip: str) -> Fast:
    """Return a network with two layers of a width."""
    return Fast(spec_of({"skip": skip, "hidden": (width, width)}), min(MOST, 1_000_000 // width))


def by_partitions(sizes: Iterable[int], repeats: int) -> Speeds:
    """Measure the learner with default settings, from examples in an SQLite log to published weights."""
    random = np.random.default_rng(0)
    spec = spec_of({})
    values = random.integers(VALUES, size=(IN_LOG, FIELDS)).tolist()
    labels = (random.random(IN_LOG) < 0.2).tolist()  # noqa: PLR2004  a click rate
    records = [
        encode(Example(str(n), n, {field.name: value for field, value in zip(spec.fields, row, strict=True)}, 1 if label else 0))
        for n, (row, label) in enumerate(zip(values, labels, strict=True))
    ]
    with tempfile.TemporaryDirectory() as folder, SqliteLog(f"sqlite:///{folder}/log.db") as log:
        learn_log(log, folder, spec, records[:100], 1, "first")  # imports and kernels
        return {
            size: statistics.median(learn_log(log, folder, spec, records, size, f"{size}.{r}") for r in range(repeats)) for size in sizes
        }


def learn_log(log: Log, folder: str, spec: Spec, records: list[bytes], partitions: int, name: str) -> float:
    """Write records to topics of their own, then learn and publish them; return examples per second of the learner's processor time."""
    topics = Topics(name)
    create(log, topics, partitions)
    log.append([Message(topics.examples, str(n).encode(), record) for n, record in enumerate(records)])
    settings, metrics = LearnSettings(directory=f"{folder}/{name}"), LearnerMetrics(CollectorRegistry())
    learner = Learner(log, topics, spec, settings, metrics, times=TimeRule.of(JoinSettings()))
    start = time.process_time()
    learner.run(lambda: False, until_caught_up=True)
    return len(records) / (time.process_time() - start)


def draw(panels: list[Panel], path: Path) -> None:
    """Draw one plot for each panel, both axes logarithmic."""
    figure = Figure(figsize=(12, 7), layout="constrained")
    grid = figure.subplots(2, 3, sharey=True)
    for axes, panel in zip(grid.flat, panels, strict=False):
        _draw(axes, panel)
    for axes in grid[:, 0]:
        axes.set_ylabel("examples a second")
    grid.flat[-1].set_axis_off()
    figure.savefig(path, dpi=110)


def _draw(axes: Axes, panel: Panel) -> None:
    for name, speeds in panel.curves.items():
        axes.plot(list(speeds), list(speeds.values()), marker=".", label=name)
        sizes = list(speeds)
        last = np.array(sizes[-3:], float)
        guide = speeds[sizes[-1]] * (last / last[-1]) ** panel.guide
    if panel.guide:
        axes.plot(last, guide, "--", color="gray", label=f"slope {panel.guide}")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sizes, [f"{size:,}" if size < MOST else f"$10^{round(math.log10(size))}$" for size in sizes])
    axes.minorticks_off()
    axes.set(title=panel.title, xlabel=panel.along)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="lower left")


def show(panel: Panel) -> None:
    """Print a panel as a table in Markdown."""
    sizes = list(next(iter(panel.curves.values())))
    print(f"| {panel.along} | {' | '.join(f'{size:,}' for size in sizes)} |\n| --- |{' ---: |' * len(sizes)}")
    for name, speeds in panel.curves.items():
        print(f"| {name} | {' | '.join(f'{speeds[size]:,.0f}' for size in sizes)} |")
        slopes = (f"{math.log(speeds[b] / speeds[a], b / a):.2f}" for a, b in pairwise(sizes))
        print(f"| slope | | {' | '.join(slopes)} |")
    if panel.memory:
        print(f"| memory, MB | {' | '.join(f'{panel.memory[size] / 1e6:,.0f}' for size in sizes)} |")
    print(flush=True)


def main() -> None:
    """Print the tables and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--picture", type=Path, default=Path("benchmarks/learning/growth.png"))
    options = parser.parse_args()
    grown = (
        ("Fields", (10, 40, 160, 640), by_fields, "fields", -1),
        ("Table", (10**5, 10**6, 10**7, 10**8), by_rows, "rows of the table", 0),
        ("Depth", (3, 10, 30, 100), by_depth, "layers of width 64", -1),
        ("Width", (64, 128, 256, 512, 1024, 2048), by_width, "width of two layers", -2),
    )
    panels: list[Panel] = []
    for title, sizes, fast, along, guide in grown:
        panels.append(grow(title, sizes, fast, along, guide, options.repeats))
        show(panels[-1])
    partitions = by_partitions((1, 4, 16, 64), options.repeats)
    panels.append(Panel("Partitions", {"learner, with SML": partitions}, "partitions of examples"))
    show(panels[-1])
    draw(panels, options.picture)


if __name__ == "__main__":
    main()
