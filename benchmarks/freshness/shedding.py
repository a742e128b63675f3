"""Load shed: what leaving out negatives costs in accuracy and gains in speed.

    sml init FILE -o sml.toml
    python -m benchmarks.freshness.shedding accuracy FILE sml.toml [FILE sml.toml …]
    python -m benchmarks.freshness.shedding speed FILE sml.toml
    python -m benchmarks.freshness.shedding simulated

print tables of benchmarks/freshness/shedding.md; ``benchmarks.freshness.lag`` prints the last.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from benchmarks.defaults.records import EveryLoss
from benchmarks.joining.delay import FIELDS, RATE
from model.encoding.features import Encoder
from model.evaluation.scores import RunningScores
from model.settings import Spec, TableSettings
from model.weights import sigmoid
from service.commands.evaluation.evaluate import Evaluation, protocol_of
from service.commands.simulation.site import Site
from service.onboarding.settings_file import initial_model
from service.settings import Settings, load
from stream.files.columns import LoggedBlock, read_blocks
from stream.files.rows import read
from stream.inputs.event_time import TimeRule
from stream.learn.learner import Learner
from stream.learn.metrics import LearnerMetrics
from stream.log.contract import Message
from stream.log.sqlite.log import SqliteLog
from stream.log.topics import Topics, create
from stream.records.events import Example, encode
from stream.sampling import Sampling
from stream.settings import LearnSettings

Floats: TypeAlias = NDArray[np.float64]

RATES = (0.5, 0.1, 0.03)
VISITS = 20_000  # of the simulated site, of five candidates each
SALTS = 5
BLOCK = 4_096  # rows
TOPICS = Topics("shedding")


class Shown(NamedTuple):
    """What a simulated site showed."""

    block: LoggedBlock
    probabilities: Floats  # (N,), the truth


class EveryLogit(RunningScores):
    """Scores that keep the logit of each example."""

    def __init__(self) -> None:
        super().__init__()
        self.logits: list[NDArray[np.float32]] = []

    def update(self, logits: NDArray[np.float32], labels: NDArray[np.float32], negative_weight: float = 1.0) -> None:
        """Add N examples."""
        super().update(logits, labels, negative_weight)
        self.logits.append(logits)


def sampling(rate: float, salt: int) -> Sampling | None:
    """Return the sampling of a rate, with one of several salts."""
    return None if rate == 1 else Sampling(rate, f"{salt:032x}")


@cache
def simulated(visits: int) -> Shown:
    """Return what the site of `sml simulate` shows in so many visits."""
    site = Site(seed=0, rate=RATE)
    shown = [site.visit() for _ in range(visits)]
    features = [visit.context | {k: v for k, v in each.items() if k != "id"} for visit in shown for each in visit.candidates]
    labels = np.concatenate([visit.clicked for visit in shown]).astype(np.float32)
    times = np.arange(visits).repeat(len(labels) // visits) * 1_000 // RATE
    encoded = Encoder(FIELDS).encode(features, times.tolist())
    block = LoggedBlock(range(len(labels)), times.tolist(), labels, encoded, [None] * len(labels))
    return Shown(block, np.concatenate([visit.probabilities for visit in shown]))


def calibration(shown: Shown, rate: float, salt: int) -> float:
    """Return the mean prediction by the mean of the truth, after the first fifth."""
    spec = Spec(model=initial_model(len(FIELDS)), table=TableSettings(capacity=65_536), fields=FIELDS, label_delay=3_000)
    scores = EveryLogit()
    evaluation = Evaluation(spec, scores=scores, sampling=sampling(rate, salt))
    evaluation.learn(shown.block)
    evaluation.finish()
    start = len(shown.probabilities) // 5
    return float(sigmoid(np.concatenate(scores.logits))[start:].mean() / shown.probabilities[start:].mean())


def blocks(path: Path, settings: Settings) -> list[LoggedBlock]:
    """Return a recorded log, encoded."""
    data = settings.data.model_copy(update={"together": protocol_of(settings).together})
    encoder, names = Encoder(settings.spec.fields), {field.name for field in settings.spec.fields}
    return [replace(block, features=block.encoded(encoder)) for block in read_blocks(path, data, names)]


def losses(settings: Settings, logged: Sequence[LoggedBlock], rate: float, salt: int) -> tuple[Floats, float, float]:
    """Return the log loss of each row ``(N,)``, the calibration, and the share of the rows that were learned."""
    scores = EveryLoss()
    evaluation = Evaluation(settings.spec, protocol_of(settings), scores, sampling(rate, salt))
    for block in logged:
        evaluation.learn(block)
    evaluation.finish()
    total = scores.total()
    return np.concatenate(scores.losses), total.calibration or np.nan, 1 - evaluation.not_learned / total.examples


def accuracy(path: Path, settings: Settings) -> Iterator[str]:
    """Yield a line for each rate: the log loss of all rows, and by how much it rises."""
    logged = blocks(path, settings)
    full, calibrated, _ = losses(settings, logged, 1.0, 0)
    yield f"| {path.name} | 100 % | 100 % | {full.mean():.5f} | | {calibrated:.3f} |"
    for rate in RATES:
        runs = [losses(settings, logged, rate, salt) for salt in range(SALTS)]
        rises = [float((loss - full).mean()) for loss, _, _ in runs]
        mean, spread = statistics.mean(rises), statistics.stdev(rises)
        share, calibrated = statistics.mean(each[2] for each in runs), statistics.mean(each[1] for each in runs)
        rise = f"{mean:+.5f} ± {spread:.5f} ({mean / full.mean():+.2%})"
        yield f"| | {rate:.0%} | {share:.0%} | {full.mean() + mean:.5f} | {rise} | {calibrated:.3f} |"


def messages(path: Path, settings: Settings, impression_id: str | None = None) -> Iterator[Message]:
    """Yield the rows of a log as examples, over and over, each with an id of its own, or all with the one that is given."""
    rows = [Example("", row.time, row.features, 1 if row.label else 0) for row in islice(read(path, settings.data), 45_000)]
    for number in count():
        example = msgspec.structs.replace(rows[number % len(rows)], impression_id=impression_id or str(number))
        yield Message(TOPICS.examples, example.impression_id.encode(), encode(example))


def learn(folder: str, spec: Spec, **settings: Any) -> None:
    """Learn what the log in ``folder`` holds."""
    learning = LearnSettings.model_validate({"directory": f"{folder}/checkpoints"} | settings)
    with SqliteLog(f"sqlite:///{folder}/log.db") as log:
        Learner(log, TOPICS, spec, learning, LearnerMetrics(CollectorRegistry()), times=TimeRule(60_000)).run(
            lambda: False, until_caught_up=True
        )


def speed(path: Path, settings: Settings, rates: Sequence[float] = (1.0, *RATES), records: int = 30_000) -> Iterator[tuple[float, float]]:
    """Yield each rate and how many records a second of processor time a learner takes from its log, the median of three in turn."""
    found: dict[float, list[float]] = {rate: [] for rate in rates}
    with tempfile.TemporaryDirectory() as folder:
        written = list(islice(messages(path, settings), records))
        for turn in range(4):
            for rate in rates:
                at = f"{folder}/{turn}-{rate}"
                Path(at).mkdir()
                with SqliteLog(f"sqlite:///{at}/log.db") as log:
                    create(log, TOPICS, 1)
                    log.append(written)
                begun = time.process_time()
                learn(at, settings.spec, keep_negatives=rate)
                if turn:  # the first loads the kernels
                    found[rate].append(records / (time.process_time() - begun))
    for rate, each in found.items():
        yield rate, statistics.median(each)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("accuracy", "speed", "simulated"))
    parser.add_argument("files", type=Path, nargs="*", help="recorded logs, each followed by its settings")
    arguments = parser.parse_args()
    tables: dict[str, Callable[[Path, Settings], Iterator[object]]] = {"accuracy": accuracy, "speed": speed}
    if arguments.what == "simulated":
        for rate in (1.0, *RATES):
            print(
                f"{rate:.0%}:",
                [round(calibration(simulated(VISITS), rate, salt), 4) for salt in range(SALTS if rate < 1 else 1)],
                flush=True,
            )
    for path, config in zip(arguments.files[::2], arguments.files[1::2], strict=True):
        for line in tables[arguments.what](path, load(config)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
