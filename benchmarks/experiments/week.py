"""A week of an A/B test on the simulated site, in one process: the arm that serves a visitor decides what is shown, by bid × prediction.

    draw the visits of a step → each arm learns what is decided by now → predicts → shows its choice to its half of the visitors

A label is learned when the joiner has decided it: ``DECIDED`` after the impression; a click later than ``WINDOW`` is none. Control
serves everybody on the day before the experiment, while both arms learn. Both answer all visits, and what a visitor would do is drawn
before it is known what is shown: so the truth of the effect is known, too, far more exactly than half of the visitors can tell it.

Axes: U users, V visits of a step, C candidates, S shown, D columns of sums.
"""

import math
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from experiments import bins
from experiments.comparison import Arm, compare
from experiments.moments import COLUMNS, INDEX, moments
from model.evaluation import RunningScores
from model.features import Column, Encoder, Features
from model.online import OnlineModel
from model.settings import Spec
from model.weights import sigmoid
from service.commands.simulated_site import DAY, SCENARIOS, Scenario, Site, Visit
from service.settings import load
from stream.arms import Traffic

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

BEFORE, DAYS = 1, 7
STEP = 1.0  # seconds of the site, of which a day has 600: weights are published every 2.4 minutes of it
SCALE = 86_400 / DAY
BEGINS = 1_790_000_000_000  # epoch ms
ARMS = {"control": "none", "treatment": "meta_tanh"}  # as in the paper: a plain network, and one with SML
SETTINGS = Path(__file__).parents[2] / "deploy" / "simulated.toml"
WINDOW, DECIDED = 3.0, 5.0  # seconds of the site, as there: 7 minutes and 12


class Experiment(NamedTuple):
    """What is compared, and where."""

    scenario: str
    learn_from: Literal["all", "own"] = "all"  # every arm's impressions, or only those that it has served
    hidden: tuple[int, ...] = (128, 64, 32)
    change: bool = False  # whether tastes become others at once, in the middle of the experiment
    rate: float = 12.0  # visits a second of the site

    def site(self, seed: int) -> Site:
        """Return the site."""
        scenario: Scenario = SCENARIOS[self.scenario]
        return Site(seed, self.rate, scenario._replace(changes=(BEFORE + DAYS / 2) * DAY if self.change else math.inf))


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

    def take(self, until: float, features: Features, labels: NDArray[np.float32]) -> None:
        """Take examples that were shown before ``until``."""
        if len(labels):
            self._waiting.append((until + DECIDED, features, labels))


class Week:
    """The experiment, step by step; sums by unit are those of a report."""

    def __init__(self, experiment: Experiment, seed: int) -> None:
        self._experiment, self._site = experiment, experiment.site(seed)
        spec = load(SETTINGS).spec
        self.arms = {name: Learner(spec, skip=skip, hidden=experiment.hidden, seed=seed) for name, skip in ARMS.items()}
        self._encoder = Encoder(spec.fields)
        traffic = Traffic.of(f"sml-{seed}", dict.fromkeys(ARMS, 0.5))
        users = self._site.scenario.users
        keys = [f"u{user}".encode() for user in range(users)]
        self._treated = np.array([traffic.point(key) >= traffic.ranges[0][0] for key in keys])
        self._units = np.array([xxh3_64_intdigest(key) for key in keys], np.uint64)
        self._sums = np.zeros((users, len(COLUMNS)))
        self._bins = {name: bins.empty() for name in ARMS}
        self._best = 0.0  # the value to be expected of a choice that knows the truth

    def run(self) -> dict[str, Any]:
        """Run it, and return what it has brought."""
        for now, visits in self._steps():
            self._step(now, visits)
        return self._result()

    def _steps(self) -> Iterator[tuple[float, list[Visit]]]:
        """Yield the visits of each step, and when it begins."""
        visit = self._site.visit()
        for step in range(round((BEFORE + DAYS) * DAY / STEP)):
            visits = []
            while visit.time < (step + 1) * STEP:
                visits.append(visit)
                visit = self._site.visit()
            if visits:
                yield step * STEP, visits

    def _step(self, now: float, visits: list[Visit]) -> None:
        features, size = self._encoder.encode(_columns(visits), _times(visits)).features, (len(visits), -1)
        clicked, true, worth = (np.array([getattr(v, name) for v in visits]) for name in ("clicked", "probabilities", "worth"))  # (V, C)
        labels = clicked & (np.array([v.delays for v in visits]) <= WINDOW)
        day = int(now // DAY) - BEFORE
        predicted, shown = {}, {}
        for name, arm in self.arms.items():
            arm.learn(now)
            logits = arm.model.weights.predict(features)
            predicted[name] = np.clip(sigmoid(logits), 1e-12, 1 - 1e-12).reshape(size)
            shown[name] = self._shown(visits, predicted[name])
            if day >= 0:
                arm.scores[day].update(logits, labels.ravel().astype(np.float32))
                arm.value[day] += float((worth * true * shown[name]).sum())
        self._best += float((worth * true * self._shown(visits, true)).sum()) if day >= 0 else 0.0
        user = np.array([int(v.context["user_id"][1:]) for v in visits])
        treated = self._treated[user] & (day >= 0)  # (V,)
        self._learn(now + STEP, features, labels, shown, treated, everything=day < 0)
        values = np.array([v.values for v in visits])
        for name, served in (("control", ~treated), ("treatment", treated)):
            seen = shown[name] & served[:, None]  # (V, C)
            repeated = np.broadcast_to(user[:, None], seen.shape)[seen]
            self._count(name, repeated, predicted[name][seen], labels[seen], values[seen], before=day < 0)

    def _shown(self, visits: list[Visit], predicted: Floats) -> Bools:
        """Return what would be shown by these predictions, ``(V, C)``."""
        shown = np.zeros(predicted.shape, np.bool_)
        for row, visit, its in zip(shown, visits, predicted, strict=True):
            row[self._site.show(visit, its)] = True
        return shown

    def _learn(self, until: float, features: Features, labels: Bools, shown: dict[str, Bools], treated: Bools, *, everything: bool) -> None:
        """Let each arm take what it is to learn from."""
        every = np.where(treated[:, None], shown["treatment"], shown["control"])  # (V, C)
        own = {"control": every & ~treated[:, None], "treatment": every & treated[:, None]}
        for name, arm in self.arms.items():
            taken = (every if everything or self._experiment.learn_from == "all" else own[name]).ravel()
            arm.take(until, features.without(np.flatnonzero(~taken).tolist(), len(taken)), labels.ravel()[taken].astype(np.float32))

    def _count(self, name: str, user: NDArray[np.int64], p: Floats, clicked: Bools, values: Floats, *, before: bool) -> None:
        """Add impressions, ``(N,)`` each, to the sums of their units."""
        ones, value = np.ones(len(user)), clicked * values
        loss = -np.log(np.where(clicked, p, 1 - p))
        added = {"impressions": ones, "clicks": clicked, "value": value}
        if before:
            added = {f"{what}_before": each for what, each in added.items()}
        else:
            added |= {"loss": loss, "prediction": p, "value_squares": value**2, "loss_squares": loss**2}
            bins.add(self._bins[name], self._units[user], p, np.full(len(user), -1), clicked.astype(np.int64))
        for what, each in added.items():
            np.add.at(self._sums[:, INDEX[what]], user, each)

    def _result(self) -> dict[str, Any]:
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
            "true": {name: self._true(arm) for name, arm in self.arms.items()},
            "best_value": self._best,
        }

    @staticmethod
    def _true(arm: Learner) -> dict[str, Any]:
        days = [scores.total() for scores in arm.scores]
        return {"auc": [each.auc for each in days], "log_loss": [each.log_loss for each in days], "value": arm.value.tolist()}


def _columns(visits: list[Visit]) -> dict[str, Column]:
    """Return the features of all candidates."""
    visit_of = np.repeat(np.arange(len(visits)), len(visits[0].candidates))
    context = {name: Column([visit.context[name] for visit in visits], visit_of) for name in visits[0].context}
    own = [name for name in visits[0].candidates[0] if name != "id"]
    return context | {name: Column([candidate[name] for visit in visits for candidate in visit.candidates]) for name in own}


def _times(visits: list[Visit]) -> list[int]:
    """Return when each candidate might be shown, epoch ms: a day of the site is one of ours."""
    return [BEGINS + round(1000 * SCALE * visit.time) for visit in visits for _ in visit.candidates]
