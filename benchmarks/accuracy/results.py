"""What is kept of a contender's run on a log, one line of JSON each, and how two of them are compared.

Nothing is scored before the first label is known: whoever predicts there has learned nothing.

Axes: S seeds, N examples that are scored, B blocks of neighbouring ones.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.recorded import Floats
from model.evaluation.scores import RunningScores, log_losses

BLOCKS, START, START_BLOCKS = 64, 5_000, 20
RESAMPLES = 2_000
SURE = 1e-7  # no prediction is taken to be nearer to 0 or 1: some say 0


class Result(NamedTuple):
    """A contender's run."""

    log: str
    protocol: str
    contender: str
    examples: int  # that are scored
    per_second: float  # of processor time, examples of one seed
    log_loss: float  # this and the next three: means over seeds
    normalized_entropy: float
    auc: float
    calibration: float
    blocks: list[list[float]]  # (S, B), mean log loss; NaN where not all is predicted
    start: list[list[float]]  # (S, B), of the first examples alone

    @classmethod
    def of(cls, name: tuple[str, str, str], predictions: Floats, labels: NDArray[np.float32], seconds: float) -> Self:
        """Score predictions ``(S, N)``, those that are NaN apart.

        Args:
            name: The log, the protocol and the contender.
            predictions: Probabilities.
            labels: 1 for a click, else 0, ``(N,)``.
            seconds: Processor time of all seeds.
        """
        predictions = np.clip(predictions, SURE, 1 - SURE)
        logits = np.log(predictions) - np.log1p(-predictions)
        predicted = np.isfinite(logits[0])
        totals = []
        for each in logits:
            scores = RunningScores()
            scores.update(each[predicted].astype(np.float32), labels[predicted])
            totals.append(scores.total())
        losses, examples = log_losses(logits, labels), int(predicted.sum())
        return cls(
            *name,
            examples=examples,
            per_second=round(examples * len(logits) / seconds, 1),
            log_loss=mean(total.log_loss for total in totals),
            normalized_entropy=mean(total.normalized_entropy for total in totals),
            auc=mean(total.auc for total in totals),
            calibration=mean(total.calibration for total in totals),
            blocks=block_means(losses, BLOCKS),
            start=block_means(losses[:, :START], START_BLOCKS),
        )


def mean(of: Iterable[float | None]) -> float:
    """Return the mean; NaN where there are no clicks, or nothing else."""
    return round(float(np.mean([np.nan if each is None else each for each in of])), 6)


def block_means(losses: Floats, blocks: int) -> list[list[float]]:
    """Return the mean of each of ``blocks`` blocks of neighbouring losses ``(S, N)``."""
    means = np.stack([block.mean(1) for block in np.array_split(losses, blocks, axis=1)], axis=1)
    return [[round(each, 6) for each in row] for row in means.tolist()]


class Difference(NamedTuple):
    """By what share a log loss is above another, and the middle 95 % of it when seeds and blocks are drawn with replacement."""

    mean: float
    low: float
    high: float


def difference(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> Difference | None:
    """Compare the losses of two contenders ``(S, B)``: the same blocks for both, each with its own seeds; None: they share no block."""
    random = np.random.default_rng(0)
    pair = [np.array(each) for each in (one, other)]
    both = np.isfinite(pair[0][0]) & np.isfinite(pair[1][0])
    if not both.any():
        return None
    drawn = random.multinomial(both.sum(), np.full(both.sum(), 1 / both.sum()), RESAMPLES)  # (R, B)
    ratios = []
    for losses in pair:
        seeds = len(losses)
        of_seeds = random.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES) / seeds  # (R, S)
        ratios.append(((of_seeds @ losses[:, both]) * drawn).sum(1))
    mean = float(pair[0][:, both].mean() / pair[1][:, both].mean()) - 1
    return Difference(mean, *np.percentile(ratios[0] / ratios[1] - 1, [2.5, 97.5]).tolist())


def read_results(path: Path) -> dict[tuple[str, str, str], Result]:
    """Return the results of a file by log, protocol and contender; none if there is no such file."""
    lines = path.read_text().splitlines() if path.exists() else []
    results = [Result(**json.loads(line)) for line in lines]
    return {(result.log, result.protocol, result.contender): result for result in results}


def append_result(path: Path, result: Result) -> None:
    """Write a result after the others."""
    with path.open("a") as file:
        file.write(json.dumps(result._asdict()) + "\n")
