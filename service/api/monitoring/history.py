"""The last six hours as a server saw them, a sample every other second, in a ring of two megabytes: so that a page survives a reload.

A value that is not known is NaN: what is old is not shown as if it were now.
"""

import asyncio
import math
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct

from service.api.arms import Arms
from service.api.monitoring.log_watch import Flow, LogWatch
from service.api.monitoring.metrics import ServerMetrics
from stream.records.heartbeat import HOPS
from stream.records.version import LearnerState

EVERY = 2.0  # seconds
SAMPLES = 6 * 1_800
FINE, COARSE = 450, 450  # of all samples, the newest are returned as they are, those before them thinned to about so many
OLD = 30.0  # seconds after which what the learner, or a simulated site, said is not true any more
FRESH = 5.0  # seconds for which a heartbeat that has arrived is the newest there is
HOLDS = 20  # that are remembered

SCORES = ("log_loss", "base_rate_log_loss", "wide_log_loss", "auc", "calibration")
COLUMNS = (
    "time",  # epoch seconds
    *SCORES,  # of what is in control
    "best_log_loss",  # that a simulated site knows to be possible
    "staleness",  # seconds
    *(f"hop_{hop}" for hop in HOPS),  # seconds
    *Flow._fields,
    "learned",  # examples a second
    "to_learn",  # examples
    "answers",  # of predictions, a second
    "failures",  # requests that are wrong, or met an error, a second
    "unavailable",  # requests that are to be sent again later (503), a second
    "latency",  # seconds within which 99 % of the predictions were answered
    "held",  # 1 while versions are
    "table",  # share of its rows that are occupied
)
PREDICT = frozenset({"/v1/predict", "/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/infer"})


class Hold(Struct, frozen=True):
    """Versions that were held, one after the other."""

    version: int  # the first of them
    since: float  # epoch seconds
    until: float | None  # None: they still are
    why: dict[str, str]


class _Counted(NamedTuple):
    """Counters of the server's own at one time."""

    at: float
    learned: float
    answers: float
    failures: float
    unavailable: float
    buckets: dict[float, float]


class History:
    """Samples of what a server serves and sees.

    Args:
        arms: The models in service.
        metrics: The server's.
        watch: What knows the log; None: nothing does.
        clock: Returns epoch seconds.
    """

    def __init__(self, arms: Arms, metrics: ServerMetrics, watch: LogWatch | None = None, clock: Callable[[], float] = time.time) -> None:
        self._arms, self._metrics, self.watch, self._clock = arms, metrics, watch, clock
        self._ring = np.full((SAMPLES, len(COLUMNS)), np.nan)
        self._count = 0
        self._counted: _Counted | None = None
        self._said: LearnerState | None = None
        self._said_at = self._best_at = -math.inf
        self._best = math.nan
        self.holds: deque[Hold] = deque(maxlen=HOLDS)

    def note_best(self, log_loss: float) -> None:
        """Take note of the best log loss that was possible, by one who knows."""
        self._best, self._best_at = log_loss, self._clock()

    @asynccontextmanager
    async def sampling(self) -> AsyncIterator[None]:
        """Take samples, and watch the log, until the block ends."""
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self._sample_for_ever())
            try:
                yield
            finally:
                task.cancel()

    async def _sample_for_ever(self) -> None:
        while True:
            self.sample()
            await asyncio.sleep(EVERY)

    def sample(self) -> None:
        """Take a sample."""
        now = self._clock()
        self._note_holds(now)
        values = {"time": now} | self._of_learner(now) | self._of_weights(now) | self._of_requests(now)
        values |= {"best_log_loss": self._best if now - self._best_at < OLD else math.nan}
        values |= self.watch.flow._asdict() if self.watch else {}
        self._ring[self._count % SAMPLES] = [values.get(name, math.nan) for name in COLUMNS]
        self._count += 1

    def since(self, time: float) -> dict[str, Any]:
        """Return the samples after ``time`` (epoch seconds), a list for each column; those of long ago thinned."""
        first = max(0, self._count - SAMPLES)
        rows = self._ring[np.arange(first, self._count) % SAMPLES]
        rows = rows[rows[:, 0] > time]
        before = max(0, len(rows) - FINE)
        kept = np.concatenate([np.arange(0, before, max(1, math.ceil(before / COARSE))), np.arange(before, len(rows))])
        return {name: np.round(rows[kept, n], 5).tolist() for n, name in enumerate(COLUMNS)}

    def _note_holds(self, now: float) -> None:
        held, last = self._arms.control.held, self.holds[-1] if self.holds else None
        holding = last is not None and last.until is None
        if held and not holding:
            self.holds.append(Hold(held.version, now, None, held.held))
        if last and holding and not held:
            self.holds[-1] = Hold(last.version, last.since, now, last.why)

    def _of_learner(self, now: float) -> dict[str, float]:
        """Return what the learner has said lately."""
        said = self._arms.control.learner
        if said is not self._said:
            self._said, self._said_at = said, now
        if said is None or now - self._said_at > OLD:
            return {}
        scores = {name: getattr(said, name) for name in SCORES}
        known = {name: value for name, value in scores.items() if value is not None}
        return known | {"to_learn": said.lag_records}

    def _of_weights(self, now: float) -> dict[str, float]:
        served = self._arms.control
        if not served.has_weights:
            return {}
        capacity = served.predictor.weights.spec.table.capacity
        heartbeats = list(served.heartbeats)
        hops = heartbeats[-1].hops if heartbeats and now - heartbeats[-1].sent / 1000 - heartbeats[-1].seconds < FRESH else {}
        table = {"table": served.learner.rows / capacity} if served.learner else {}
        return {"staleness": served.staleness(), "held": float(bool(served.held))} | table | {f"hop_{hop}": s for hop, s in hops.items()}

    def _of_requests(self, now: float) -> dict[str, float]:
        """Return what has changed since the last sample."""
        before, served = self._counted, self._arms.control
        learned = served.predictor.header.examples if served.has_weights else math.nan
        after = self._counted = _Counted(now, learned, *self._requests(), self._buckets())
        if before is None or now <= before.at:
            return {}
        rates = {name: max(0.0, getattr(after, name) - getattr(before, name)) / (now - before.at) for name in _Counted._fields[1:5]}
        rates["learned"] = rates["learned"] if after.learned >= before.learned else math.nan
        return rates | {"latency": _within(0.99, {le: count - before.buckets.get(le, 0) for le, count in after.buckets.items()})}

    def _requests(self) -> tuple[float, float, float]:
        """Return how many predictions were answered, how many requests failed, and how many are to be sent again later."""
        samples = [each for family in self._metrics.requests.collect() for each in family.samples if each.name.endswith("_total")]
        answers = sum(each.value for each in samples if each.labels["route"] in PREDICT and each.labels["status"] == "200")
        later = sum(each.value for each in samples if each.labels["status"] == "503" and each.labels["route"] != "/readyz")
        wrong = sum(each.value for each in samples if each.labels["status"] in {"400", "422"})
        errors = sum(each.value for each in samples if each.labels["status"][0] == "5" and each.labels["status"] != "503")
        return answers, wrong + errors, later

    def _buckets(self) -> dict[float, float]:
        """Return of each upper bound, in seconds, how many predictions were answered within it."""
        samples = [each for family in self._metrics.request_seconds.collect() for each in family.samples if each.name.endswith("_bucket")]
        buckets = defaultdict[float, float](float)
        for each in samples:
            if each.labels["route"] in PREDICT:
                buckets[float(each.labels["le"])] += each.value
        return dict(buckets)


def _within(share: float, buckets: dict[float, float]) -> float:
    """Return the upper bound within which so large a share was answered; NaN if nothing was, or the bound is infinite."""
    total = max(buckets.values(), default=0.0)
    found = min((le for le, count in buckets.items() if total and count >= share * total), default=math.nan)
    return found if math.isfinite(found) else math.nan
