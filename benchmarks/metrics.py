"""What the learner's metrics cost: the same polls learned with all of them on and with none, in turn poll by poll.

    python -m benchmarks.metrics ../shared/data/avazu_sample.csv.gz --rows 45000 --repeats 5

A poll is decoded, encoded, predicted, learned and scored; nothing is read from a log, committed or published, which would make the
share smaller. With metrics on, the model is reported for each second of work, the inside of its network for each five, when all metrics are
written out as well, as for a Prometheus that scrapes. Times are the thread's.
"""

import argparse
import time
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from prometheus_client import CollectorRegistry, generate_latest

from model.evaluation import RunningScores
from model.online import OnlineModel
from model.quality import Quality
from model.settings import Spec
from service.commands.init import init
from service.settings import load
from stream.events import Example, encode
from stream.files.rows import read
from stream.learn.metrics import LearnerMetrics
from stream.learn.trainer import Trainer
from stream.log.contract import Record
from stream.settings import DataSettings

POLL, SLICES = 512, 3  # records of a poll; fields whose values have scores of their own


class Side:
    """One learner, and how long it took."""

    def __init__(self, spec: Spec, *, watched: bool) -> None:
        self.trainer, self.seconds, self._reported, self._scraped = Trainer(OnlineModel(spec), RunningScores()), 0.0, 0.0, 0.0
        self._registry = CollectorRegistry()
        self._metrics = LearnerMetrics(self._registry) if watched else None
        if watched:
            names = [field.name for field in spec.fields if field.kind == "categorical"]
            self.trainer.quality = Quality(spec, names[:SLICES])

    def learn(self, records: list[Record]) -> None:
        """Learn a poll."""
        start = time.thread_time()
        result = self.trainer.learn(records)
        if self._metrics:
            self._metrics.record_step(result, 0.01)
            self._report(self._metrics, self.seconds + time.thread_time() - start)
        self.seconds += time.thread_time() - start

    def _report(self, metrics: LearnerMetrics, now: float) -> None:
        if now >= self._reported + 1:
            metrics.record_model(self.trainer, inside=now >= self._scraped + 5)
            self._reported = now
        if now >= self._scraped + 5:
            generate_latest(self._registry)
            self._scraped = now


def measured(spec: Spec, polls: list[list[Record]]) -> tuple[float, float]:
    """Return the seconds of a learner without metrics, and with them: each made first once, since which memory it gets matters."""
    seconds = {False: 0.0, True: 0.0}
    for order in ((False, True), (True, False)):
        sides = {watched: Side(spec, watched=watched) for watched in order}
        for number, records in enumerate(polls):
            for watched in order if number % 2 else order[::-1]:
                sides[watched].learn(records)
        if sides[False].trainer.model.digest() != sides[True].trainer.model.digest():
            raise AssertionError("metrics have changed what was learned")
        for watched, side in sides.items():
            seconds[watched] += side.seconds / 2
    return seconds[False], seconds[True]


def _polls(path: Path, rows: int) -> tuple[Spec, list[list[Record]]]:
    with TemporaryDirectory() as folder:
        init(path, DataSettings(), Path(folder) / "sml.toml", every=False)
        settings = load(Path(folder) / "sml.toml")
    logged = list(islice(read(path, settings.data), rows))
    values = [encode(Example(str(row.number), row.time, dict(row.features), 1 if row.label else 0)) for row in logged]
    records = [Record("examples", 0, offset, 0, None, value) for offset, value in enumerate(values)]
    return settings.spec, [records[start : start + POLL] for start in range(0, len(records), POLL)]


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--rows", type=int, default=45_000)
    parser.add_argument("--passes", type=int, default=5, help="how often the rows are learned, so that there is something to report")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    spec, polls = _polls(arguments.path, arguments.rows)
    polls *= arguments.passes
    count = sum(map(len, polls))
    measured(spec, polls[:4])  # loads the kernels
    runs = [measured(spec, polls) for _ in range(arguments.repeats)]
    plain, watched = (median(side) for side in zip(*runs, strict=True))
    shares = [watched / plain - 1 for plain, watched in runs]
    print(f"{count:,} examples, {arguments.repeats} runs, the sides in turn")
    print(f"an example takes {1e6 * plain / count:.2f} µs without metrics, {1e6 * watched / count:.2f} µs with all of them")
    print(f"that is {median(shares):+.1%} (from {min(shares):+.1%} to {max(shares):+.1%})")


if __name__ == "__main__":
    main()
