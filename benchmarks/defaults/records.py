"""What records gain and cost: the log loss with and without them, over several seeds, and the time of a step, measured in turn.

The file is read once, and each example is predicted as the settings would have it served. A side's loss is the mean over the seeds;
differences are paired by example, and their standard error is that of the means of twenty blocks of the stream.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.encoding.features import Encoder
from model.evaluation.scores import RunningScores
from model.evaluation.served import ServedStream
from model.online import OnlineModel
from service.bench.step import Fast, spec_of
from service.commands.evaluation.evaluate import protocol_of
from service.settings import Settings, load
from stream.files.layout import Logged
from stream.files.rows import read

BLOCKS, BATCH, ROWS = 20, 4096, 20_000
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

    def update(self, logits: NDArray[Any], labels: NDArray[np.float32], negative_weight: float = 1.0) -> None:
        """Add N examples."""
        super().update(logits, labels, negative_weight)
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


def steps_of_log(path: Path, settings: Settings, repeats: int) -> None:
    """Print the time of a step of each side on the first rows of a log, measured in turn."""
    logged = list(islice(read(path, settings.data), ROWS))
    times = [row.time for row in logged]
    features = Encoder(settings.spec.fields).encode([row.features for row in logged], times).features
    labels = np.array([row.label for row in logged], np.float32)

    def learning(side: dict[str, Any]) -> Callable[[], float]:
        online = OnlineModel(settings.model_copy(update={"model": settings.model.model_copy(update=side)}).spec)

        def learn() -> float:
            start = time.thread_time()
            online.learn(features, labels)
            return (time.thread_time() - start) / len(labels)

        return learn

    in_turn({name: learning(side) for name, side in SIDES.items()}, path.name, repeats)


def steps(fields: int, repeats: int) -> None:
    """Print the time of a step of each side on random examples, measured in turn."""

    def learning(side: dict[str, Any]) -> Callable[[], float]:
        fast = Fast(spec_of(side, fields), 10_000)
        fast.features = fast.features._replace(times=np.arange(10_000))
        return lambda: 1 / fast.learn()

    in_turn({name: learning(side) for name, side in SIDES.items()}, f"{fields} fields", repeats)


def in_turn(sides: dict[str, Callable[[], float]], of: str, repeats: int) -> None:
    """Print the median time of a step of each side, and of its ratio to the first side's; each side returns seconds of processor time."""
    for learn in sides.values():
        learn()
    seconds = [[learn() for learn in sides.values()] for _ in range(repeats)]
    for number, name in enumerate(sides):
        step = statistics.median(1e6 * each[number] for each in seconds)
        ratio = statistics.median(each[number] / each[0] for each in seconds)
        print(f"{name}, {of}: {step:.1f} us a step, {ratio:.2f} times the first", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="*", help="recorded logs, each followed by its settings: FILE sml.toml …")
    parser.add_argument("--seeds", type=int, default=10, help="0: the time of a step alone")
    parser.add_argument("--repeats", type=int, default=11)
    options = parser.parse_args()
    logs = [(path, load(config)) for path, config in zip(options.files[::2], options.files[1::2], strict=True)]
    for path, settings in logs if options.seeds else ():
        compare(path, settings, options.seeds)
    for path, settings in logs:
        steps_of_log(path, settings, options.repeats)
    for fields in (10, 23, 45):
        steps(fields, options.repeats)
