"""What records gain and cost: the log loss with and without them, over several seeds, and the time of a step, measured in turn.

The file is read once, and each example is predicted as the settings would have it served. A side's loss is the mean over the seeds;
differences are paired by example, and their standard error is that of the means of twenty blocks of the stream.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.evaluation import RunningScores
from model.features import Encoder
from model.online import OnlineModel
from model.served import ServedStream
from service.bench.step import Fast, spec_of
from service.commands.evaluate import protocol_of
from service.settings import Settings, load
from stream.files.layout import Logged
from stream.files.rows import read

BLOCKS, BATCH = 20, 4096
SIDES: dict[str, dict[str, Any]] = {
    "without, embedding 8": {"records": False, "embedding": 8},
    "with, embedding 7": {"records": True, "embedding": 7},
    "with, embedding 6": {"records": True, "embedding": 6},
}


class EveryLoss(RunningScores):
    """Scores that keep the loss of each example."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[NDArray[np.float64]] = []

    def update(self, logits: NDArray[Any], labels: NDArray[np.float32]) -> None:
        """Add N examples."""
        super().update(logits, labels)
        self.losses.append(np.logaddexp(0, logits.astype(np.float64)) - labels * logits)


def losses(settings: Settings, logged: list[Logged], seed: int, side: dict[str, Any]) -> NDArray[np.float64]:
    """Return the loss of each example, ``(N,)``."""
    model = settings.model.model_copy(update={**side, "seed": seed})
    spec, scores = settings.model_copy(update={"model": model}).spec, EveryLoss()
    encoder, stream = Encoder(spec.fields), ServedStream(OnlineModel(spec), scores, round(1000 * protocol_of(settings).delay))
    for a in range(0, len(logged), BATCH):
        part = logged[a : a + BATCH]
        labels = np.array([row.label for row in part], np.float32)
        times = [row.time for row in part]
        stream.learn_and_score(encoder.encode([row.features for row in part], times), times, labels, [row.page for row in part])
    stream.finish()
    return np.concatenate(scores.losses)


def compare(path: Path, settings: Settings, seeds: int) -> None:
    """Print each side's log loss, and its difference from the first side's."""
    data = settings.data.model_copy(update={"together": protocol_of(settings).together})
    logged = list(read(path, data))
    first: NDArray[np.float64] | None = None
    for name, side in SIDES.items():
        loss = np.mean([losses(settings, logged, seed, side) for seed in range(seeds)], axis=0)
        first = loss if first is None else first
        difference = loss - first
        error = np.std([block.mean() for block in np.array_split(difference, BLOCKS)], ddof=1) / BLOCKS**0.5
        print(f"{name}: {loss.mean():.5f}, {difference.mean():+.5f} ± {error:.5f} ({difference.mean() / first.mean():+.2%})", flush=True)


def steps(fields: int, repeats: int) -> None:
    """Print the time of a step of each side, measured in turn."""
    sides = {name: Fast(spec_of(side, fields), 10_000) for name, side in SIDES.items()}
    for side in sides.values():
        side.features = side.features._replace(times=np.arange(10_000))
        side.learn()
    speeds = [[side.learn() for side in sides.values()] for _ in range(repeats)]
    for number, name in enumerate(sides):
        step = statistics.median(1e6 / each[number] for each in speeds)
        ratio = statistics.median(each[0] / each[number] for each in speeds)
        print(f"{name}, {fields} fields: {step:.1f} us a step, {ratio:.2f} times the first", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="*", help="recorded logs, each followed by its settings: FILE sml.toml …")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=11)
    options = parser.parse_args()
    for path, config in zip(options.files[::2], options.files[1::2], strict=True):
        compare(path, load(config), options.seeds)
    for fields in (10, 23, 45):
        steps(fields, options.repeats)
