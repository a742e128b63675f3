"""A week of an A/B test on the simulated site, in one process: the arm that serves a visitor decides what is shown, by bid × prediction.

    draw the visits of a step → each arm learns what is decided by now → predicts → shows its choice to its half of the visitors

A label is learned when the joiner has decided it: ``DECIDED`` after the impression; a click later than ``WINDOW`` is none. Control
serves everybody on the day before the experiment, while both arms learn. Both answer all visits, and what a visitor would do is drawn
before it is known what is shown: so the truth of the effect is known, too, far more exactly than half of the visitors can tell it.

Axes: U users, V visits of a step, C candidates, N impressions, D columns of sums.
"""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from experiments import bins
from experiments.comparison import Arm, compare
from experiments.moments import COLUMNS, INDEX, moments
from model.encoding.features import Column, Encoder, Features
from model.evaluation.scores import RunningScores
from model.online import OnlineModel
from model.settings import Field, Spec
from model.weights import sigmoid
from service.commands.simulation.site import DAY, SCENARIOS, Scenario, Site, Visit
from service.settings import load
from stream.arms import Traffic

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

BEFORE, DAYS = 1, 7
STEP = 1.0  # seconds of the site, of which a day has 600: weights are published every 2.4 minutes of it
SCALE = 86_400 / DAY
BEGINS = 1_790_000_000_000  # epoch ms
ARMS = {"control": "none", "treatment": "meta_tanh"}  # as in the paper: a plain network, and one with SML
SETTINGS = Path(__file__).with_name("week.toml")
WINDOW, DECIDED = 3.0, 5.0  # seconds of the site, as there: 7 minutes and 12


class Experiment(NamedTuple):
    """What is compared, and where."""

    scenario: str
    learn_from: Literal["all", "own"] = "all"  # every arm's impressions, or only those that it has served
    hidden: tuple[int, ...] = (128, 64, 32)
    change: bool = False  # whether tastes become others at once, in the middle of the experiment
    rate: float = 12.0  # visits a second of the site

    @property
    def scenario_with_change(self) -> Scenario:
        """The scenario."""
        return SCENARIOS[self.scenario]._replace(changes=(BEFORE + DAYS / 2) * DAY if self.change else math.inf)

    def site(self, seed: int) -> Site:
        """Return the site."""
        return Site(seed, self.rate, self.scenario_with_change)


class Step(NamedTuple):
    """The visits of a step: what is known of them, and what is true."""

    begins: float  # seconds of the site
    features: Features  # of V · C candidates
    user: Ints  # (V,)
    true: Floats  # (V, C): the chance of a click
    labels: Bools  # (V, C): whether it would be clicked within the window
    worth: Floats  # (V, C): what a click is expected to be worth
    values: Floats  # (V, C): what it would be

    @property
    def day(self) -> int:
        """The day of the experiment; negative before it begins."""
        return int(self.begins // DAY) - BEFORE


def steps(site: Site, fields: Sequence[Field]) -> Iterator[Step]:
    """Yield the week of a site, which is the same for every experiment on it."""
    encoder, visit = Encoder(fields), site.visit()
    for number in range(round((BEFORE + DAYS) * DAY / STEP)):
        visits = []
        while visit.time < (number + 1) * STEP:
            visits.append(visit)
            visit = site.visit()
        if visits:
            features = encoder.encode(_columns(visits), _times(visits)).features
            user = np.array([int(each.context["user_id"][1:]) for each in visits])
            clicked, delays, *known = (
                np.array([getattr(each, name) for each in visits]) for name in ("clicked", "delays", "probabilities", "worth", "values")
            )
            yield Step(number * STEP, features, user, known[0], clicked & (delays <= WINDOW), *known[1:])


class Learner:
    """An arm: predicts with what it has learned, and learns what is decided."""

    def __init__(self, spec: Spec, **model: Any) -> None:
        delay = round(1000 * SCALE * DECIDED)
        self.model = OnlineModel(spec.model_copy(update={"model": spec.model.model_copy(update=model), "label_delay": delay}))
        self.scores = [RunningScores() for _ in range(DAYS)]  # over all candidates, each day
        self.value = np.zeros(DAYS)  # to be expected of what it would show, by the true probabilities
        self._waiting: deque[tuple[float, Features, NDArray[np.float32]]] = deque()

    def learn(self, now: float) -> None:
        """Learn what is decided by ``now``."""
        while self._waiting and self._waiting[0][0] <= now:
            _, features, labels = self._waiting.popleft()
            self.model.learn(features, labels)

    def take(self, step: Step, shown: Bools) -> None:
        """Take what was shown, to be learned once all of the step is decided."""
        taken = shown.ravel()
        if taken.any():
            features = step.features.without(np.flatnonzero(~taken).tolist(), len(taken))
            self._waiting.append((step.begins + STEP + DECIDED, features, step.labels.ravel()[taken].astype(np.float32)))

    def result(self) -> dict[str, Any]:
        """Return how good its predictions were, and what it would have shown was worth, day by day."""
        days = [scores.total() for scores in self.scores]
        return {"auc": [each.auc for each in days], "log_loss": [each.log_loss for each in days], "value": self.value.tolist()}


class Week:
    """The experiment, step by step; sums by unit are those of a report."""

    def __init__(self, experiment: Experiment, seed: int, spec: Spec) -> None:
        self._experiment, self._scenario = experiment, experiment.scenario_with_change
        self.arms = {name: Learner(spec, skip=skip, hidden=experiment.hidden, seed=seed) for name, skip in ARMS.items()}
        traffic = Traffic.of(f"sml-{seed}", dict.fromkeys(ARMS, 0.5))
        keys = [f"u{user}".encode() for user in range(self._scenario.users)]
        self._treated = np.array([traffic.point(key) >= traffic.ranges[0][0] for key in keys])
        self._units = np.array([xxh3_64_intdigest(key) for key in keys], np.uint64)
        self._sums = np.zeros((len(keys), len(COLUMNS)))
        self._bins = {name: bins.empty() for name in ARMS}
        self._best = 0.0  # the value to be expected of a choice that knows the truth

    def take(self, step: Step) -> None:
        """Learn what is decided, predict, show, and count what came of it."""
        predicted, shown = {}, {}
        for name, arm in self.arms.items():
            arm.learn(step.begins)
            logits = arm.model.weights.predict(step.features)
            predicted[name] = np.clip(sigmoid(logits), 1e-12, 1 - 1e-12).reshape(step.true.shape)
            shown[name] = self._shown(step, predicted[name])
            if step.day >= 0:
                arm.scores[step.day].update(logits, step.labels.ravel().astype(np.float32))
                arm.value[step.day] += _expected(step, shown[name])
        self._best += _expected(step, self._shown(step, step.true)) if step.day >= 0 else 0.0
        treated = (self._treated[step.user] & (step.day >= 0))[:, None]  # (V, 1)
        served = {"control": shown["control"] & ~treated, "treatment": shown["treatment"] & treated}
        for name, arm in self.arms.items():
            own = self._experiment.learn_from == "own" and step.day >= 0
            arm.take(step, served[name] if own else served["control"] | served["treatment"])
            self._count(name, step, served[name], predicted[name])

    def _shown(self, step: Step, predicted: Floats) -> Bools:
        """Return what would be shown by these predictions, ``(V, C)``."""
        shown = np.zeros(predicted.shape, np.bool_)
        np.put_along_axis(shown, self._scenario.best(step.worth, predicted), values=True, axis=1)
        return shown

    def _count(self, name: str, step: Step, served: Bools, predicted: Floats) -> None:
        """Add impressions to the sums of their units."""
        user = np.broadcast_to(step.user[:, None], served.shape)[served]  # (N,), as are the following
        p, clicked = predicted[served], step.labels[served]
        value, loss = clicked * step.values[served], -np.log(np.where(clicked, p, 1 - p))
        added = {"impressions": np.ones(len(user)), "clicks": clicked, "value": value}
        if step.day < 0:
            added = {f"{what}_before": each for what, each in added.items()}
        else:
            added |= {"loss": loss, "prediction": p, "value_squares": value**2, "loss_squares": loss**2}
            bins.add(self._bins[name], self._units[user], p, np.full(len(user), -1), clicked.astype(np.int64))
        for what, each in added.items():
            np.add.at(self._sums[:, INDEX[what]], user, each)

    def result(self) -> dict[str, Any]:
        """Return what it has brought."""
        self._sums[:, INDEX["units"]] = 1
        self._sums[:, INDEX["known"]] = self._sums[:, INDEX["impressions_before"]] > 0
        seen = self._sums[:, INDEX["impressions"]] > 0
        arms = {
            name: Arm(moments(self._sums[seen & (self._treated == treated)]), self._bins[name])
            for name, treated in (("control", False), ("treatment", True))
        }
        auc = compare(arms, "control")["treatment", "auc"]
        return {
            "moments": {name: arm.moments.tolist() for name, arm in arms.items()},
            "auc": {"difference": auc.difference.estimate, "error": auc.error, "base": auc.base, "time": auc.time},
            "true": {name: arm.result() for name, arm in self.arms.items()},
            "best_value": self._best,
        }


def run(experiments: Sequence[Experiment], seed: int) -> list[dict[str, Any]]:
    """Run experiments on the same site, side by side, and return what each has brought."""
    spec = load(SETTINGS).spec
    weeks = [Week(experiment, seed, spec) for experiment in experiments]
    for step in steps(experiments[0].site(seed), spec.fields):
        for week in weeks:
            week.take(step)
    return [week.result() for week in weeks]


def _expected(step: Step, shown: Bools) -> float:
    """Return the value to be expected of what is shown, by the true probabilities."""
    return float((step.worth * step.true * shown).sum())


def _columns(visits: list[Visit]) -> dict[str, Column]:
    """Return the features of all candidates."""
    visit_of = np.repeat(np.arange(len(visits)), len(visits[0].candidates))
    context = {name: Column([visit.context[name] for visit in visits], visit_of) for name in visits[0].context}
    own = [name for name in visits[0].candidates[0] if name != "id"]
    return context | {name: Column([candidate[name] for visit in visits for candidate in visit.candidates]) for name in own}


def _times(visits: list[Visit]) -> list[int]:
    """Return when each candidate might be shown, epoch ms: a day of the site is one of ours."""
    return [BEGINS + round(1000 * SCALE * visit.time) for visit in visits for _ in visit.candidates]
