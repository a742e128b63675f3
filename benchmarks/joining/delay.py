"""Late clicks: how accurate and how fresh each label policy is, on a site whose true click probabilities are known.

    python -m benchmarks.joining.delay

prints the table of benchmarks/joining/delay.md. There is no HTTP and no log: each visit is predicted by the current weights, then joined as
``sml join`` joins and learned as ``sml learn`` learns. The predictions of the last hour are compared with the true probabilities.
"""

import argparse
import heapq
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from model.evaluation.scores import RunningScores
from model.online import OnlineModel
from model.settings import Field, ModelSettings, Spec, TableSettings
from service.commands.simulation.site import CANDIDATES, Site, Visit
from stream.join.dispatch import new_join
from stream.join.matching.input_state import ResumePoint
from stream.learn.trainer import Trainer
from stream.log.contract import Record
from stream.records.events import Click, Example, Impression, Watermark, encode
from stream.settings import JoinSettings

Floats: TypeAlias = NDArray[np.float64]

RATE = 4.0  # visits a second
BATCH = 4  # visits that are served, joined and learned together: the weights that serve are up to a second old
HOUR = 3_600.0  # seconds: predictions of the last hour are scored
FIELDS = (
    *(Field(name=name) for name in ("user_id", "country", "device", "item_id", "category")),
    Field(name="likes", kind="multi"),
    Field(name="price", kind="numeric"),
)

# The delay in seconds by the share of clicks that have arrived: a tail as heavy as attribution logs show.
_SHARES, _SECONDS = (0.0, 0.35, 0.5, 0.87, 1.0), (0.1, 10.0, 240.0, 3_360.0, 7_200.0)
DELAYS: dict[str, Callable[[Floats], Floats]] = {
    "exponential, mean 4 min": lambda share: -240.0 * np.log1p(-share),
    "heavy-tailed, median 4 min": lambda share: np.exp(np.interp(share, _SHARES, np.log(_SECONDS))),
}
POLICIES = {
    "window 10m": JoinSettings(label_policy="window", click_window=600, lateness=1),
    "window 10m, late clicks learned": JoinSettings(label_policy="window", click_window=600, lateness=1, late_clicks="learn"),
    "window 2h": JoinSettings(label_policy="window", click_window=7200, lateness=1),
    "fnw 2h": JoinSettings(label_policy="fnw", click_window=7200, lateness=1),
    "fnc 2h": JoinSettings(label_policy="fnc", click_window=7200, lateness=1),
}


class Result(NamedTuple):
    """The result of one policy under one delay."""

    log_loss: float  # expected under the true probabilities, of the predictions
    best: float  # the same, of the true probabilities
    calibration: float  # sum of the predictions / sum of the true probabilities
    impression_to_example: float  # seconds, mean, until it is first learned
    click_to_example: float  # seconds, mean, until the click is learned


class Run:
    """One policy: serves, joins and learns."""

    def __init__(self, settings: JoinSettings) -> None:
        model = ModelSettings(hidden=(64, 32))
        spec = Spec(model=model, table=TableSettings(capacity=65_536), fields=FIELDS, label_policy=settings.label_policy)
        self.trainer = Trainer(OnlineModel(spec), RunningScores())
        start = ResumePoint(0, policy=settings.label_policy)
        self.join = new_join(settings, start, start)
        self.waits: list[int] = []  # ms from an impression to its first example
        self.click_waits: list[int] = []  # ms from a click to its example
        self._offset = self._learned = 0

    def serve(self, impressions: list[Impression]) -> Floats:
        """Predict by the current weights, ``(N,)``."""
        features, _ = self.trainer.preparer.encoder.encode([each.features for each in impressions], [each.time for each in impressions])
        return self.trainer.model.weights.probabilities(features)

    def take(self, impressions: list[Impression], clicks: list[Click], now: int) -> None:
        """Join the events up to ``now``, and learn the examples that they decide."""
        for shown in impressions:
            self.join.add_impression(self._next(shown), shown, shown.time)
        for clicked in clicks:
            self.join.add_click(self._next(clicked), clicked, clicked.time)
        self.join.add_impression(self._next(Watermark(now)), Watermark(now), now)
        self.join.add_click(self._next(Watermark(now)), Watermark(now), now)
        examples = self.join.take_ready(1_000_000)
        for example in examples:
            self._time(example, now)
        self.trainer.learn([Record("examples", 0, self._learned + n, 0, None, encode(each), ()) for n, each in enumerate(examples)])
        self._learned += len(examples)

    def _time(self, example: Example, now: int) -> None:
        if example.clicked_at is not None:
            self.click_waits.append(now - example.clicked_at)
        if example.clicked_at is None or self.join.policy == "window":
            self.waits.append(now - example.time)

    def _next(self, event: Impression | Click | Watermark) -> Record:
        self._offset += 1
        return Record("inputs", 0, self._offset, 0, None, encode(event))


def measure(visits: list[Visit], settings: JoinSettings, delay: Callable[[Floats], Floats], scored: float = HOUR) -> Result:
    """Serve and learn every visit in its time, its clicks after ``delay``; compare the last predictions with the true probabilities.

    Args:
        visits: Visits of a site with the rate ``RATE``.
        settings: How clicks are joined; the policy is also the learner's.
        delay: Seconds from an impression to its click, from a number drawn uniformly from 0 to 1.
        scored: For how many seconds, at the end, predictions are compared.
    """
    run = Run(settings)
    served, true = [], []
    begin_scoring = len(visits) / RATE - scored
    for impressions, clicks, probabilities, now in batches(visits, delay):
        if now / 1000 >= begin_scoring:
            served.append(run.serve(impressions))
            true.append(probabilities)
        run.take(impressions, clicks, now)
    q, p = np.concatenate(served), np.concatenate(true)
    return Result(
        log_loss=cross_entropy(p, q),
        best=cross_entropy(p, p),
        calibration=float(q.sum() / p.sum()),
        impression_to_example=float(np.mean(run.waits)) / 1000,
        click_to_example=float(np.mean(run.click_waits)) / 1000,
    )


def batches(visits: list[Visit], delay: Callable[[Floats], Floats]) -> Iterator[tuple[list[Impression], list[Click], Floats, int]]:
    """Yield some visits at a time: their impressions, the clicks that have arrived, the true probabilities, and the time in ms."""
    random = np.random.default_rng(1)
    waiting: list[tuple[int, str]] = []
    for start in range(0, len(visits), BATCH):
        batch = visits[start : start + BATCH]
        impressions: list[Impression] = []
        for number, visit in enumerate(batch, start):
            time = int(1000 * number / RATE)
            delays = 1000 * delay(random.random(CANDIDATES))
            for c, candidate in enumerate(visit.candidates):
                name = f"{number}-{c}"
                impressions.append(Impression(name, time, visit.context | {k: v for k, v in candidate.items() if k != "id"}))
                if visit.clicked[c]:
                    heapq.heappush(waiting, (time + int(delays[c]), name))
        now = int(1000 * (start + len(batch)) / RATE)
        clicks = []
        while waiting and waiting[0][0] <= now:
            at, name = heapq.heappop(waiting)
            clicks.append(Click(name, at))
        yield impressions, clicks, np.concatenate([visit.probabilities for visit in batch]), now


def cross_entropy(p: Floats, q: Floats) -> float:
    """Return the expected log loss of ``q`` if ``p`` is true: ``-mean(p ln q + (1 - p) ln(1 - q))``."""
    q = np.clip(q, 1e-12, 1 - 1e-12)
    return float(-np.mean(p * np.log(q) + (1 - p) * np.log1p(-q)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Compare label policies under late clicks with the true probabilities.")
    parser.add_argument("--hours", type=float, default=4, help="hours of traffic, more than one")
    arguments = parser.parse_args()
    site = Site(seed=0, rate=RATE)
    visits = [site.visit() for _ in range(int(arguments.hours * HOUR * RATE))]
    print("| delay of clicks | policy | log loss | above the best | calibration | impression → learned | click → learned |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, delay in DELAYS.items():
        for policy, settings in POLICIES.items():
            got = measure(visits, settings, delay)
            loss = f"{got.log_loss:.4f} | {got.log_loss - got.best:.4f} | {got.calibration:.3f}"
            print(f"| {name} | {policy} | {loss} | {got.impression_to_example:.0f} s | {got.click_to_example:.0f} s |", flush=True)


if __name__ == "__main__":
    main()
