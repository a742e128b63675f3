"""A site as a line of queues with measured costs: how late and how busy each stage is, at rates and with copies that nobody has run.

    python -m benchmarks.scale.simulate

A stage takes what waits, at most so many at once and not more often than ``every``. It is busy for a time for the batch, and for a time
for each item, for which it need not wait: a learner between two versions, a joiner between two transactions, a server with one request.
Before it is believed for more, it has to give what was measured on one machine, within 20 % (``tests/benchmarks/test_scale.py``).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.scale.costs import DELTA_SERVED, ITEM, JOIN_TRANSACTION, PIPELINE, PUBLISH_EVERY, REQUEST, SHED_AFTER, VERSION

Times = NDArray[np.float64]  # seconds


class Stage(NamedTuple):
    """A stage: ``copies`` of it share what comes, each in its own queue, as partitions do."""

    name: str
    item: float = 0.0  # seconds for each
    batch: float = 0.0  # seconds for a batch: a transaction, a version
    every: float = 0.0  # seconds from the end of one batch to the end of the next wait
    copies: int = 1
    most: int = 1_000_000_000  # items in a batch
    patience: float = np.inf  # seconds after which who would have to wait is shed
    blocks: bool = True  # whether the stage does nothing else meanwhile; else it is a delay


class Passed(NamedTuple):
    """What has passed a line of stages."""

    latency: Times  # of each that was not shed, seconds
    shed: float  # the share
    busy: dict[str, float]  # stage → the share of its time that a copy works

    def percentile(self, share: float) -> float:
        """Return the latency that so many percent stay below."""
        return float(np.percentile(self.latency, share))


def through(stages: Sequence[Stage], arrivals: Times) -> Passed:
    """Send arrivals, in order, through the stages one after the other."""
    at, came, busy = arrivals.copy(), arrivals.copy(), {}
    for stage in stages:
        left, work = np.full_like(at, np.nan), 0.0
        for copy in range(stage.copies):
            own = slice(copy, None, stage.copies)
            left[own], worked = _through_one(stage, at[own])
            work += worked
        kept = ~np.isnan(left)
        order = np.argsort(left[kept], kind="stable")
        at, came = left[kept][order], came[kept][order]
        busy[stage.name] = work / stage.copies / max(float(at[-1] - arrivals[0]), 1e-9)
    return Passed(at - came, 1 - len(at) / len(arrivals), busy)


def _through_one(stage: Stage, at: Times) -> tuple[Times, float]:
    """Return when each leaves one copy of a stage, NaN where it is shed, and the seconds that the copy has worked."""
    if not stage.blocks:
        return at + stage.batch + stage.item, 0.0
    left, free, work, start = np.empty_like(at), 0.0, 0.0, 0
    while start < len(at):
        begin = max(free, at[start])
        if begin - at[start] > stage.patience:
            left[start] = np.nan
            start += 1
            continue
        begin = max(begin, free + stage.every if free else begin)
        end = max(start + 1, min(int(np.searchsorted(at, begin, side="right")), start + stage.most))
        items = stage.item * (end - start)
        free = begin + stage.batch + max(0.0, items - stage.every)  # the others were worked on while it waited
        work += stage.batch + items
        left[start:end] = free
        start = end
    return left, work


def arriving(rate: float, seconds: float, seed: int = 0) -> Times:
    """Return the times of a Poisson stream."""
    return np.cumsum(np.random.default_rng(seed).exponential(1 / rate, int(rate * seconds)))


def learning(log: str, copies: int = 1) -> list[Stage]:
    """Return the stages from an example in the log to the first answer by weights that know it."""
    return [
        Stage("learn", item=ITEM, batch=VERSION[log], every=PUBLISH_EVERY, copies=copies, most=int(PUBLISH_EVERY / ITEM)),
        Stage("serve", batch=DELTA_SERVED[log], blocks=False),
    ]


def joining(log: str, times: int = 1) -> list[Stage]:
    """Return the stages from a click in the log to that answer; a heartbeat waits for the joiner twice: to be sent, and to be joined."""
    return [*(Stage(f"join {n}", batch=JOIN_TRANSACTION[log]) for n in range(times)), *learning(log)]


def piped(cores: int) -> float:
    """Return how many events a second so many cores replay, join, learn and serve, the broker beside them, if none of them ever waits."""
    return cores / sum(PIPELINE.values())


def most(stages: Sequence[Stage], highest: float, seconds: float = 20.0) -> float:
    """Return the highest rate at which what waits does not grow: the latest are no later than a second."""
    low, high = 0.0, highest
    while high - low > highest / 200:
        middle = (low + high) / 2
        late = through(stages, np.arange(0, seconds, 1 / middle)).latency[-1] > 1.0
        low, high = (low, middle) if late else (middle, high)
    return low


def predicting(workers: int = 1) -> list[Stage]:
    """Return the stage that answers requests of 100 candidates, and sheds who would wait too long."""
    return [Stage("predict", item=REQUEST, most=1, copies=workers, patience=SHED_AFTER)]


def main() -> None:
    """Print what is measured on one machine beside what is simulated, then what nobody has run."""

    def line(what: str, measured: str, passed: Passed) -> None:
        print(f"| {what} | {measured} | {1e3 * passed.percentile(50):.0f} / {1e3 * passed.percentile(95):.0f} |")

    print("| what | measured | simulated |\n| --- | ---: | ---: |")
    for log, measured in {"sqlite": "66 / 113", "kafka": "95 / 150"}.items():
        line(f"example → answer, {log}, p50 / p95, ms", measured, through(learning(log), arriving(2_000, 20)))
    line("click → answer, sqlite", "87 / 137", through(joining("sqlite"), arriving(2_000, 20)))
    line("heartbeat → in service, kafka", "150 / 193", through(joining("kafka", 2), arriving(2_000, 20)))
    print(f"| replayed, joined, learned and served, events/s | 11,000 | {piped(2):,.0f} |")
    print(f"| learned from Kafka, examples/s | 15,550 | {most(learning('kafka')[:1], 60_000):,.0f} |")
    over = through(predicting(), arriving(2 / REQUEST, 20))
    print(f"| requests at twice the capacity: p50, ms | 20 | {1e3 * over.percentile(50):.0f} |")
    print(f"| of the capacity, answered | 90 % | {2 * (1 - over.shed):.0%} |")
    print("\n| examples/s | learners | busy | example → answer, p50 / p95, ms |\n| ---: | ---: | ---: | ---: |")
    for rate, copies in ((10_000, 1), (20_000, 1), (40_000, 4), (200_000, 16), (1_000_000, 64)):
        line(f"{rate:,} | {copies}", f"{(passed := through(learning('kafka', copies), arriving(rate, 3))).busy['learn']:.0%}", passed)


if __name__ == "__main__":
    main()
