"""The step beside a prototype of it: one network, one file, its depth compiled in.

    python -m benchmarks.learning.prototype ../shared/prototype/one_example_step.py

prints a table of benchmarks/learning/step.md. Both sides begin with the same weights and learn the same random examples in turn, one
a step, on one thread; seconds are processor time. Skip terms read a layer before ReLU. Our step finds each key in its table; the prototype
receives the number of each row. Neither hashes values to keys.
"""

import argparse
import importlib
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from model.layout import Layout
from model.settings import Spec
from service.bench.step import ROWS, SIZES, Fast, spec_of

ROW = 4  # the prototype's name for Adagrad with an accumulator for each row of a matrix, as ours has


class Prototype:
    """The prototype, which learns the examples that ``fast`` has learned, in the same rows of its table."""

    def __init__(self, module: Any, spec: Spec, fast: Fast) -> None:
        model, examples = spec.model, len(fast.labels)
        layout = Layout(spec)
        named = layout.named(layout.initial())
        layers = range(len(model.hidden))
        weights: list[Any] = []
        for name in ("tower.{}.weight", "tower.{}.bias", "skip.{}.meta", "skip.{}.meta_bias", "skip.{}.weight"):
            of_name = tuple(named[name.format(layer)].copy() for layer in layers)
            weights += [of_name, tuple(np.full_like(w, model.tower_accumulator) for w in of_name), tuple(map(np.zeros_like, of_name))]
        output = named["output"].copy()
        table, wide = np.zeros((ROWS, model.embedding), np.float32), np.zeros(ROWS, np.float32)
        order = np.argsort(fast.model.table.keys)
        rows = order[np.searchsorted(fast.model.table.keys, fast.features.keys, sorter=order)].reshape(examples, -1)
        table[rows] = named["defaults"]
        self._run, self._examples = module.run, examples
        self._arguments: list[Any] = [
            *(rows, fast.labels.astype(np.float32), np.zeros(examples, np.float32)),
            *(table, np.full_like(table, model.embedding_accumulator), wide, np.full_like(wide, model.wide_accumulator)),
            *(np.zeros(1, np.float32), *weights, output, np.full_like(output, model.tower_accumulator), np.zeros_like(output)),
            *(ROW, True, model.wide, *map(np.float32, (model.tower_rate, model.embedding_rate, model.wide_rate)), False, True),
        ]

    def learn(self) -> float:
        """Learn every example once; return examples per second of processor time."""
        start = time.thread_time()
        self._run(*self._arguments)
        return self._examples / (time.thread_time() - start)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prototype", type=Path)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    sys.path.append(str(options.prototype.parent))
    module = importlib.import_module(options.prototype.stem)
    print("| tower | embedding | examples/s | prototype | ratio |\n| --- | ---: | ---: | ---: | ---: |")
    for hidden, embedding in SIZES:
        spec = spec_of({"hidden": hidden, "embedding": embedding})
        ours = Fast(spec, 1000 if max(hidden) > 512 else 10_000)  # noqa: PLR2004
        ours.learn()
        theirs = Prototype(module, spec, ours)
        theirs.learn()
        pairs = [(ours.learn(), theirs.learn()) for _ in range(options.repeats)]
        fast, slow = map(statistics.median, zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        print(f"| {'-'.join(map(str, hidden))} | {embedding} | {fast:,.0f} | {slow:,.0f} | **{ratio:.2f}** |", flush=True)


if __name__ == "__main__":
    main()
