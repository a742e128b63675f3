"""What the learner's metrics cost, in processor time, so that what else runs on the machine does not decide.

    python -m benchmarks.learning.metrics ../shared/data/avazu_sample.csv.gz

At each example: one model learns polls with metrics and without, in turn (without, with, with, without, then the other way round), and
each such four give a ratio. Now and then: what is done once a second, every other second and every five is timed by itself, each time
after a poll, whose memory it finds in the caches. A poll is decoded, encoded, predicted, learned and scored; nothing is read from a log,
committed or published, which would make the share smaller.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from itertools import islice, product
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest

from model.evaluation.quality import Quality
from model.evaluation.scores import RunningScores
from model.online import OnlineModel
from model.settings import Spec
from service.commands.init import init
from service.settings import load
from stream.files.rows import read
from stream.learn.metrics import Lag, LearnerMetrics
from stream.learn.state import state_of
from stream.learn.trainer import Trainer
from stream.log.contract import Record
from stream.records.events import Example, encode
from stream.settings import DataSettings

POLL, SLICES = 512, 3  # records of a poll; fields whose values have scores of their own
ORDERS = ((False, True, True, False), (True, False, False, True))  # whether metrics are on, poll by poll


class Watched:
    """A learner whose metrics can be switched on and off."""

    def __init__(self, spec: Spec) -> None:
        categorical = [field.name for field in spec.fields if field.kind == "categorical"]
        self.trainer, self.registry = Trainer(OnlineModel(spec), RunningScores()), CollectorRegistry()
        self.metrics, self._quality = LearnerMetrics(self.registry), Quality(spec, categorical[:SLICES])

    def learn(self, records: list[Record], *, on: bool) -> float:
        """Learn a poll; return how long that took, in seconds."""
        self.trainer.quality = self._quality if on else None
        start = time.process_time()
        result = self.trainer.learn(records)
        if on:
            self.metrics.record_step(result, 0.01)
        return time.process_time() - start

    def reports(self) -> dict[str, tuple[float, Callable[[], object]]]:
        """Return what is done now and then: name → every how many seconds, and what."""
        return {
            "scores": (1, lambda: self.metrics.record_model(self.trainer, inside=False)),
            "scores by slice, and inside the network": (5, lambda: self.metrics.record_model(self.trainer)),
            "what a version says of them": (2, lambda: state_of(self.trainer, Lag(0, 0.0))),
            "a scrape": (5, lambda: generate_latest(self.registry)),
        }


def ratios(learner: Watched, polls: Iterator[list[Record]], fours: int) -> Iterator[tuple[float, float]]:
    """Yield, of each four polls, the seconds of the two without metrics, and by how much the two with them took longer."""
    for n in range(fours):
        seconds = {False: 0.0, True: 0.0}
        for on in ORDERS[n % 2]:
            seconds[on] += learner.learn(next(polls), on=on)
        yield seconds[False], seconds[True] / seconds[False] - 1


def now_and_then(learner: Watched, polls: Iterator[list[Record]], times: int) -> dict[str, tuple[float, float]]:
    """Return what is done now and then: name → every how many seconds, and the median of how long it takes, in seconds."""
    took: dict[str, list[float]] = {name: [] for name in learner.reports()}
    for _, (name, (_, report)) in product(range(times), learner.reports().items()):
        learner.learn(next(polls), on=True)
        start = time.process_time()
        report()
        took[name].append(time.process_time() - start)
    return {name: (every, median(took[name])) for name, (every, _) in learner.reports().items()}


def _polls(path: Path, rows: int) -> tuple[Spec, list[list[Record]]]:
    with TemporaryDirectory() as folder:
        init(path, DataSettings(), Path(folder) / "sml.toml", every=False)
        settings = load(Path(folder) / "sml.toml")
    logged = list(islice(read(path, settings.data), rows))
    values = [encode(Example(str(row.number), row.time, dict(row.features), 1 if row.label else 0)) for row in logged]
    records = [Record("examples", 0, offset, 0, None, value) for offset, value in enumerate(values)]
    return settings.spec, [records[start : start + POLL] for start in range(0, len(records), POLL)]


def _rounds(polls: list[list[Record]]) -> Iterator[list[Record]]:
    """Yield the polls without end, each round one poll later, so that over four rounds each has every place in a four."""
    while True:
        yield from polls
        polls = polls[1:] + polls[:1]


def main() -> None:
    """Print the parts and their sum."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--rows", type=int, default=45_000)
    parser.add_argument("--fours", type=int, default=300)
    asked = parser.parse_args()
    spec, polls = _polls(asked.path, asked.rows)
    learner, endless = Watched(spec), _rounds(polls)
    for _ in range(2 * 100_000 // POLL):  # until the ring of scores is full
        learner.learn(next(endless), on=True)
    seconds, shares = (np.array(each) for each in zip(*ratios(learner, endless, asked.fours), strict=True))
    medians = np.median(np.random.default_rng(0).choice(shares, (1000, len(shares))), axis=1)
    low, high = np.quantile(medians, [0.025, 0.975])
    reports = now_and_then(learner, endless, 30)
    print(f"an example takes {1e6 * np.median(seconds) / (2 * POLL):.1f} µs without metrics")
    print(f"at each example {np.median(shares):+.2%} (95 %: {low:+.2%} to {high:+.2%}; {asked.fours} fours of polls)")
    for name, (every, took) in reports.items():
        print(f"{name}: {1000 * took:.1f} ms every {every} s, {took / every:+.2%}")
    rest = sum(took / every for every, took in reports.values())
    print(f"in all {np.median(shares) + rest:+.2%} (95 %: {low + rest:+.2%} to {high + rest:+.2%})")


if __name__ == "__main__":
    main()
