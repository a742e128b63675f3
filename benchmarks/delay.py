"""Late clicks: how right each label policy is, and how fresh, on a site whose true click probabilities are known.

    python -m benchmarks.delay

prints the table of benchmarks/delay.md. No HTTP and no log: each visit is predicted by the weights as they stand, then joined as
``sml join`` joins and learned as ``sml learn`` learns. What is served in the last hour is held against the truth.
"""

import argparse
import heapq
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from model.evaluation import Progressive
from model.online import OnlineModel
from model.settings import Field, ModelSettings, Spec, TableSettings
from service.commands.simulated_site import CANDIDATES, Site, Visit
from stream.events import Click, Example, Impression, Watermark, encode
from stream.join.dispatch import new_join
from stream.join.input_state import ResumePoint
from stream.learn.trainer import Trainer
from stream.log.contract import Record
from stream.settings import JoinSettings

Floats: TypeAlias = NDArray[np.float64]

RATE = 4.0  # visits a second
AT_ONCE = 4  # visits between two looks at what is decided: the weights that serve are up to a second old
HOUR = 3_600.0  # seconds, in which what is served is scored: the last
FIELDS = (
    *(Field(name=name) for name in ("user_id", "country", "device", "item_id", "category")),
    Field(name="likes", kind="multi"),
    Field(name="price", kind="numeric"),
)

# Seconds, by share of clicks that have come: a tail as heavy as attribution logs show.
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
    """What came of one policy under one delay."""

    log_loss: float  # expected under the true probabilities, of what was served
    best: float  # the same of the true probabilities
    calibration: float  # served over true, in sum
    impression_to_example: float  # seconds, mean, until it is first learned
    click_to_example: float  # seconds, mean, until the click is learned


class Run:
    """One policy at work: serves, joins and learns."""

    def __init__(self, settings: JoinSettings) -> None:
        """Begin with the weights before the first example."""
        model = ModelSettings(hidden=(64, 32))
        spec = Spec(model=model, table=TableSettings(capacity=65_536), fields=FIELDS, label_policy=settings.label_policy)
        self.trainer = Trainer(OnlineModel(spec), Progressive())
        note = ResumePoint(0, policy=settings.label_policy)
        self.join = new_join(settings, note, note)
        self.waits: list[int] = []  # ms from an impression to its first example
        self.click_waits: list[int] = []  # ms from a click to its example
        self._offset = self._learned = 0

    def serve(self, impressions: list[Impression]) -> Floats:
        """Predict by the weights as they stand, ``(N,)``."""
        features, _ = self.trainer.encoder.encode([each.features for each in impressions], [each.time for each in impressions])
        return self.trainer.model.weights.probabilities(features)

    def take(self, impressions: list[Impression], clicks: list[Click], now: int) -> None:
        """Join what has happened up to ``now``, and learn what that decides."""
        for shown in impressions:
            self.join.add_impression(self._next(), shown, shown.time)
        for clicked in clicks:
            self.join.add_click(self._next(), clicked, clicked.time)
        self.join.add_impression(self._next(), Watermark(now), now)
        self.join.add_click(self._next(), Watermark(now), now)
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

    def _next(self) -> Record:
        self._offset += 1
        return Record("inputs", 0, self._offset, 0, None, None)


def measure(visits: list[Visit], settings: JoinSettings, delay: Callable[[Floats], Floats], scored: float = HOUR) -> Result:
    """Replay each visit in its time and its clicks after ``delay``, then compare what was served with the truth.

    Args:
        visits: of a site with the rate ``RATE``.
        settings: how clicks are joined; the policy is also the learner's.
        delay: seconds from an impression to its click, from a number drawn evenly from 0 to 1.
        scored: how much of the end is compared, in seconds.
    """
    run = Run(settings)
    served, true = [], []
    begin_scoring = len(visits) / RATE - scored
    for impressions, clicks, probabilities, now in happenings(visits, delay):
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


def happenings(visits: list[Visit], delay: Callable[[Floats], Floats]) -> Iterator[tuple[list[Impression], list[Click], Floats, int]]:
    """Yield what happens, some visits at a time: impressions, clicks that have come, true probabilities, and the time."""
    random = np.random.default_rng(1)
    waiting: list[tuple[int, str]] = []
    for start in range(0, len(visits), AT_ONCE):
        some = visits[start : start + AT_ONCE]
        impressions: list[Impression] = []
        for number, visit in enumerate(some, start):
            time = int(1000 * number / RATE)
            delays = 1000 * delay(random.random(CANDIDATES))
            for c, candidate in enumerate(visit.candidates):
                name = f"{number}-{c}"
                impressions.append(Impression(name, time, visit.context | {k: v for k, v in candidate.items() if k != "id"}))
                if visit.clicked[c]:
                    heapq.heappush(waiting, (time + int(delays[c]), name))
        now = int(1000 * (start + len(some)) / RATE)
        clicks = []
        while waiting and waiting[0][0] <= now:
            at, name = heapq.heappop(waiting)
            clicks.append(Click(name, at))
        yield impressions, clicks, np.concatenate([visit.probabilities for visit in some]), now


def cross_entropy(p: Floats, q: Floats) -> float:
    """Return the log loss to be expected of ``q`` where ``p`` is true: ``-mean(p ln q + (1 - p) ln(1 - q))``."""
    q = np.clip(q, 1e-12, 1 - 1e-12)
    return float(-np.mean(p * np.log(q) + (1 - p) * np.log1p(-q)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Label policies under late clicks, held against the truth.")
    parser.add_argument("--hours", type=float, default=4, help="of traffic, more than one")
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
