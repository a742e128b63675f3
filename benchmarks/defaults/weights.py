"""Heavy examples: what one example of a large weight costs all the others, and what the bound on it costs where weights are meant.

    sml init FILE && python -m benchmarks.defaults.weights FILE

prints the tables of benchmarks/defaults/weights.md. One row of a recorded log gets a weight and a label. The log loss of the other rows,
each predicted before it is learned, is compared with that of the unchanged log.
"""

import argparse
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from model.encoding.features import Encoder, Features
from model.kernels.step import CLIP, SHARE, Rates
from model.online import OnlineModel
from model.registry import NETWORKS
from model.settings import ModelSettings, Spec
from service.settings import Settings, load
from stream.files.rows import read

Floats: TypeAlias = NDArray[np.float64]

CLIPS = (math.inf, 32.0, 16.0, CLIP, 6.0)
ROWS = (100, 1_000, 10_000, 40_000)
MANY = 40  # rows, early ones as often as late ones
HUGE = 1e6  # a weight that any bound cuts
SHARES = (0.1, 0.02, 0.01)  # of the rows that were not clicked


class RecordedLog(NamedTuple):
    """A recorded log, N rows."""

    features: Features
    labels: NDArray[np.float32]  # (N,)


class Bounded(OnlineModel):
    """A model with another bound on its step."""

    def __init__(self, spec: Spec, clip: float, share: float) -> None:
        super().__init__(spec)
        self.clip, self.share = clip, share

    def _rates(self) -> Rates:
        return super()._rates()._replace(clip=self.clip, share=self.share)


def recorded(path: Path, settings: Settings) -> RecordedLog:
    """Read a log, without the rows that the fields don't take."""
    rows = list(read(path, settings.data))
    features, bad = Encoder(settings.spec.fields).encode([row.features for row in rows], [row.time for row in rows])
    return RecordedLog(features, np.array([row.label for n, row in enumerate(rows) if n not in bad], np.float32))


def losses(spec: Spec, log: RecordedLog, weights: NDArray[np.float32] | None = None, clip: float = CLIP, share: float = SHARE) -> Floats:
    """Return the log loss of each row, ``(N,)``, predicted before it is learned."""
    logits = Bounded(spec, clip, share).learn(log.features, log.labels, weights).logits.astype(np.float64)
    return np.asarray(np.logaddexp(0, logits) - log.labels * logits)


def costs(spec: Spec, log: RecordedLog, before: Floats, row: int, weight: float, clip: float = CLIP) -> list[float]:
    """Return by how much the mean log loss of the others rises if ``row`` has ``weight``, for each of its two labels."""

    def rise(label: int) -> float:
        labels, weights = log.labels.copy(), np.ones_like(log.labels)
        labels[row], weights[row] = label, weight
        after = losses(spec, log._replace(labels=labels), weights, clip)
        return float(np.delete(after, row).mean() - np.delete(before, row).mean())

    return [rise(0), rise(1)]


def kept(log: RecordedLog, share: float) -> NDArray[np.float32]:
    """Return weights as of a log that keeps a ``share`` of the rows without click, each with weight 1 / ``share``; the others have 0."""
    keep = np.random.default_rng(0).random(len(log.labels)) < share
    return np.where(log.labels > 0, 1, np.where(keep, 1 / share, 0)).astype(np.float32)


def by_clip(spec: Spec, log: RecordedLog) -> Iterator[str]:
    """Yield the table of what an example of weight ``HUGE`` costs the others, by the bound."""
    yield "| bound | " + " | ".join(f"row {row:,}" for row in ROWS) + f" | mean of {MANY} rows | worst |"
    yield "| --- |" + " --- |" * (len(ROWS) + 2)
    before = losses(spec, log)
    many = np.unique(np.exp(np.random.default_rng(1).uniform(math.log(10), math.log(len(log.labels)), MANY)).astype(np.int64))
    for clip in CLIPS:
        worst = [max(costs(spec, log, before, row, HUGE, clip)) for row in ROWS]
        drawn = [rise for row in many.tolist() for rise in costs(spec, log, before, row, HUGE, clip)]
        yield _line(f"{clip:g}", [*worst, float(np.mean(drawn)), max(drawn)])


def by_network(spec: Spec, log: RecordedLog, weight: float) -> Iterator[str]:
    """Yield the table of what an example of the largest accepted weight costs the others, in each network."""
    yield "| network | " + " | ".join(f"row {row:,}" for row in ROWS) + " |"
    yield "| --- |" + " --- |" * len(ROWS)
    for network in NETWORKS:
        other = spec.model_copy(update={"model": ModelSettings.model_validate({"network": network})})
        before = losses(other, log)
        yield _line(network, (max(costs(other, log, before, row, weight)) for row in ROWS))


def by_share(spec: Spec, log: RecordedLog) -> Iterator[str]:
    """Yield the table of the log loss of all rows, learned from those kept: without a bound, with a constant bound, and with ours."""
    yield "| not clicked, kept | weight | no bound, first fifth | constant | ours | no bound, the rest | constant | ours |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    fifth = len(log.labels) // 5
    for share in SHARES:
        weights = kept(log, share)
        free, constant, ours = (losses(spec, log, weights, *bound) for bound in ((math.inf, 0.0), (CLIP, 0.0), (CLIP, SHARE)))
        parts = [[each[part].mean() for each in (free, constant, ours)] for part in (slice(fifth), slice(fifth, None))]
        numbers = [number for first, *others in parts for number in (f"{first:.4f}", *(f"{other - first:+.4f}" for other in others))]
        yield f"| {share:.0%} | {1 / share:.0f} | " + " | ".join(numbers) + " |"


def _line(name: str, costs: Iterable[float]) -> str:
    return f"| {name} | " + " | ".join(f"{each:+.5f}" for each in costs) + " |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="What one heavy example costs the others.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--settings", type=Path, default=Path("sml.toml"))
    arguments = parser.parse_args()
    settings = load(arguments.settings)
    log = recorded(arguments.file, settings)
    for table in (by_clip(settings.spec, log), by_network(settings.spec, log, settings.learn.max_weight), by_share(settings.spec, log)):
        for line in table:
            print(line, flush=True)
        print()


if __name__ == "__main__":
    main()
