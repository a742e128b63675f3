"""How far learning is behind when examples come at three times its speed, with ``max_lag`` or not: a table of shedding.md.

sml init FILE -o sml.toml
python -m benchmarks.freshness.lag FILE sml.toml
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple, cast
from unittest.mock import patch

from prometheus_client import CollectorRegistry

from benchmarks.freshness.arriving import Arriving
from benchmarks.freshness.shedding import TOPICS, messages
from model.guard.guard import Guard
from service.settings import Settings, load
from stream.inputs.event_time import TimeRule
from stream.learn.learner import Learner
from stream.learn.metrics import LearnerMetrics
from stream.log.contract import Log, Record
from stream.log.sqlite.log import SqliteLog
from stream.log.topics import create
from stream.settings import LearnSettings

MAX_LAG, RUSH, SECONDS = 5, 20, 40  # s; the rush is the first half
LOAD = 3  # times the learner's speed
EPOCH = 1_800_000_000  # s


class Look(NamedTuple):
    """How a learner is doing."""

    time: float  # s
    behind: float  # s
    rate: float  # of the negatives that are learned
    learned: float  # examples
    versions: float


class Overload(Arriving):
    """Examples arrive by the processor time that this process takes: what else the machine does changes nothing.

    Time in which the learner has nothing to do is skipped.

    Args:
        log: The log of everything else.
        values: What arrives, over and over: records without their ids.
        speed: Examples a second; ``LOAD`` times as many arrive until ``RUSH``, then half as many.
    """

    def __init__(self, log: SqliteLog, values: Sequence[bytes], speed: float) -> None:
        super().__init__(log, TOPICS)
        self._values, self._speed = values, speed
        self._start, self._skipped = time.process_time(), 0.0

    def now(self) -> float:
        """Return the seconds since the start."""
        return time.process_time() - self._start + self._skipped

    def end(self) -> int:
        """Return how many examples have arrived."""
        at = self.now()
        return int(self._speed * (LOAD * min(at, RUSH) + 0.5 * max(at - RUSH, 0)))

    def arrival(self, number: int) -> float:
        """Return when an example arrives."""
        after = number / self._speed - LOAD * RUSH
        return number / self._speed / LOAD if after < 0 else RUSH + 2 * after

    def poll(self, most: int, timeout: float) -> list[Record]:
        """Return what has arrived; where that is nothing, let time go on."""
        first, end = self._read, min(self._read + most, self.end())
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
        for module in ("examples.source", "learner", "publish"):
            stack.enter_context(patch(f"stream.learn.{module}.time", clock))
        yield


def followed(settings: Settings, values: Sequence[bytes], speed: float, seconds: float, **bound: float) -> list[Look]:
    """Return a look at the learner for each second, while it learns what arrives."""
    registry, looks = CollectorRegistry(), list[Look]()
    with tempfile.TemporaryDirectory() as folder, SqliteLog(f"sqlite:///{folder}/log.db") as log:
        create(log, TOPICS, 1)
        arriving = Overload(log, values, speed)

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
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="a recorded log")
    parser.add_argument("settings", type=Path)
    arguments = parser.parse_args()
    for line in lag(arguments.file, load(arguments.settings)):
        print(line, flush=True)


if __name__ == "__main__":
    main()
