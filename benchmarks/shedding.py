"""Load shed: what leaving out negatives costs in accuracy and gains in speed, and how far learning falls behind at three times its speed.

    sml init FILE -o sml.toml
    python -m benchmarks.shedding accuracy FILE sml.toml [FILE sml.toml …]
    python -m benchmarks.shedding speed FILE sml.toml
    python -m benchmarks.shedding lag FILE sml.toml
    python -m benchmarks.shedding simulated

print the tables of benchmarks/shedding.md.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from itertools import count, islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeAlias, cast
from unittest.mock import patch

import msgspec
import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from benchmarks.delay import FIELDS, RATE
from benchmarks.records import EveryLoss
from model.evaluation import RunningScores
from model.features import Encoder
from model.guard.guard import Guard
from model.settings import Spec, TableSettings
from model.weights import sigmoid
from service.commands.evaluate import Evaluation, protocol_of
from service.commands.simulated_site import Site
from service.onboarding.settings_file import initial_model
from service.settings import Settings, load
from stream.event_time import TimeRule
from stream.events import Example, encode
from stream.files.columns import LoggedBlock, read_blocks
from stream.files.rows import read
from stream.learn.learner import Learner
from stream.learn.metrics import LearnerMetrics
from stream.log.contract import Bounds, Log, Message, Record
from stream.log.sqlite_log import SqliteLog
from stream.log.topics import Topics, create
from stream.sampling import Sampling
from stream.settings import LearnSettings

Floats: TypeAlias = NDArray[np.float64]

RATES = (0.5, 0.1, 0.03)
VISITS = 20_000  # of the simulated site, of five candidates each
SALTS = 5
BLOCK = 4_096  # rows
TOPICS = Topics("shedding")
MAX_LAG, RUSH, SECONDS = 5, 20, 40  # s; the rush is the first half
LOAD = 3  # times the learner's speed
EPOCH = 1_800_000_000  # s


class Shown(NamedTuple):
    """What a simulated site showed."""

    block: LoggedBlock
    probabilities: Floats  # (N,), the truth


class Look(NamedTuple):
    """How a learner is doing."""

    time: float  # s
    behind: float  # s
    rate: float  # of the negatives that are learned
    learned: float  # examples
    versions: float


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


class Arriving:
    """A log whose examples arrive by the processor time that this process takes: what else the machine does changes nothing.

    Time in which the learner has nothing to do is skipped.

    Args:
        log: The log of everything else.
        values: What arrives, over and over: records without their ids.
        speed: Examples a second; ``LOAD`` times as many arrive until ``RUSH``, then half as many.
    """

    def __init__(self, log: SqliteLog, values: Sequence[bytes], speed: float) -> None:
        self._log, self._values, self._speed = log, values, speed
        self._start, self._skipped, self._read = time.process_time(), 0.0, 0

    def __getattr__(self, name: str) -> Any:
        """Return what is asked of the log."""
        return getattr(self._log, name)

    def now(self) -> float:
        """Return the seconds since the start."""
        return time.process_time() - self._start + self._skipped

    def arrived(self, at: float) -> int:
        """Return how many examples have arrived at a time."""
        return int(self._speed * (LOAD * min(at, RUSH) + 0.5 * max(at - RUSH, 0)))

    def arrival(self, number: int) -> float:
        """Return when an example arrives."""
        after = number / self._speed - LOAD * RUSH
        return number / self._speed / LOAD if after < 0 else RUSH + 2 * after

    def bounds(self, topic: str) -> dict[int, Bounds]:
        """Return what has arrived of the examples, or what the log holds of another topic."""
        return {0: Bounds(0, self.arrived(self.now()))} if topic == TOPICS.examples else self._log.bounds(topic)

    def reader(self, topic: str, start: dict[int, int]) -> Any:
        """Return the reader of the examples, which this is, or of another topic."""
        return self if topic == TOPICS.examples else self._log.reader(topic, start)

    def positions(self) -> dict[int, int]:
        """Return the next example."""
        return {0: self._read}

    def close(self) -> None:
        """Do nothing."""

    def poll(self, most: int, timeout: float) -> list[Record]:
        """Return what has arrived; where that is nothing, let time go on."""
        first, end = self._read, min(self._read + most, self.arrived(self.now()))
        if first == end:
            self._skipped += max(timeout, 0.001)
        self._read = end
        values = ((n, b'{"impression_id":"%d",' % n + self._values[n % len(self._values)]) for n in range(first, end))
        return [Record(TOPICS.examples, 0, n, int(1000 * (EPOCH + self.arrival(n))), None, value) for n, value in values]


@contextmanager
def clocks(now: Callable[[], float]) -> Iterator[None]:
    """Let the learner read the time from ``now``, and hold no version."""
    clock = SimpleNamespace(time=lambda: EPOCH + now(), monotonic=now, perf_counter=now)
    with ExitStack() as stack:
        stack.enter_context(patch.object(Guard, "judge", lambda *_: {}))  # it takes rows that come again for poison
        for module in ("example_source", "learner", "publish"):
            stack.enter_context(patch(f"stream.learn.{module}.time", clock))
        yield


def followed(settings: Settings, values: Sequence[bytes], speed: float, seconds: float, **bound: float) -> list[Look]:
    """Return a look at the learner for each second, while it learns what arrives."""
    registry, looks = CollectorRegistry(), list[Look]()
    with tempfile.TemporaryDirectory() as folder, SqliteLog(f"sqlite:///{folder}/log.db") as log:
        create(log, TOPICS, 1)
        arriving = Arriving(log, values, speed)

        def value(name: str, **labels: str) -> float:
            return registry.get_sample_value(f"sml_learner_{name}", labels) or 0.0

        def should_stop() -> bool:
            if arriving.now() >= len(looks):
                rate = value("kept_negatives_ratio", of="now")
                looks.append(Look(arriving.now(), value("lag_seconds"), rate, value("examples_total"), value("versions_total")))
            return arriving.now() > seconds

        learning = LearnSettings.model_validate({"directory": f"{folder}/checkpoints"} | bound)
        with clocks(arriving.now):
            Learner(cast("Log", arriving), TOPICS, settings.spec, learning, LearnerMetrics(registry), times=TimeRule(60_000)).run(
                should_stop
            )
    return looks


def lag(path: Path, settings: Settings) -> Iterator[str]:
    """Yield how far learning is behind, with a bound and without, while examples come at three times its speed, and then at half of it."""
    values = [message.value[len(b'{"impression_id":"0",') :] for message in islice(messages(path, settings, "0"), 45_000) if message.value]
    followed(settings, values, 1e6, 3)  # loads the kernels
    first, *_, last = followed(settings, values, 1e6, 9)[2:]
    speed = (last.learned - first.learned) / (last.time - first.time)
    yield f"alone: {speed:,.0f} examples a second"
    for bound in ({"max_lag": MAX_LAG}, {}):
        looks = followed(settings, values, speed, SECONDS, **bound)
        yield f"{bound}: at most {max(look.behind for look in looks):.1f} s behind"
        for look in looks[:: SECONDS // 20]:
            yield f"| {look.time:.0f} | {look.behind:.1f} | {look.rate:.3g} | {look.learned:,.0f} | {look.versions:,.0f} |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("accuracy", "speed", "lag", "simulated"))
    parser.add_argument("files", type=Path, nargs="*", help="recorded logs, each followed by its settings")
    arguments = parser.parse_args()
    tables: dict[str, Callable[[Path, Settings], Iterator[object]]] = {"accuracy": accuracy, "speed": speed, "lag": lag}
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
