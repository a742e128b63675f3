"""Change: how quickly a model that has learned much learns that the site is another, on streams whose true probabilities are known.

    pip install river vowpalwabbit
    python -m benchmarks.defaults.drift [--before 400000] [--change abrupt gradual] [--only SML]

prints the table of benchmarks/defaults/drift.md. Each learner predicts every example before it learns it, from the same values; what is not
installed is left out. Regret is the mean Kullback-Leibler divergence of its predictions from the true probabilities.
"""

import argparse
import importlib.util
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from model.encoding.features import Features
from model.online import OnlineModel
from model.settings import Field, ModelSettings, Spec, TableSettings
from model.weights import sigmoid
from service.onboarding.settings_file import initial_model

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Learner: TypeAlias = Callable[[Ints, NDArray[np.bool_]], Floats]  # values (N, F), clicked (N,) → predictions (N,)

FIELDS = {"user": 20_000, "item": 2_000, "site": 200, "category": 20, "country": 20, "device": 3}  # field → its values
USER, ITEM, SITE, CATEGORY, COUNTRY, DEVICE = range(len(FIELDS))
BASE = -2.4  # the logit of an average example
CHUNK = 10_000  # examples that are drawn together
DAY = 50_000  # examples
AFTER = 200_000  # examples after the change
CAMPAIGN_ITEMS, CAMPAIGN_SHARE = 100, 0.3  # new items, and how much of the traffic they get
WINDOWS = (0, 5_000, 50_000, AFTER)  # after the change, in examples: regret is given between each and the next
HALF_LIVES = (0, 200_000, 100_000, 50_000, 20_000)


class Truth(NamedTuple):
    """What adds to the logit of a click."""

    user: Floats  # (users,)
    item: Floats  # (items,)
    site: Floats  # (sites,)
    liking: Floats  # (categories, countries)
    device: Floats  # (devices,)

    @classmethod
    def draw(cls, random: np.random.Generator) -> Self:
        """Draw one."""
        users, items, sites, categories, countries, devices = FIELDS.values()
        sizes = {"user": (0.4, users), "item": (0.8, items), "site": (0.4, sites), "device": (0.4, devices)}
        drawn = {name: random.normal(0, spread, size) for name, (spread, size) in sizes.items()}
        return cls(liking=random.normal(0, 0.6, (categories, countries)), **drawn)

    def logits(self, values: Ints) -> Floats:
        """Return the logit of each example, ``(N,)``."""
        user, item, site, category, country, device = values.T
        effects = self.user[user] + self.item[item] + self.site[site] + self.liking[category, country] + self.device[device]
        return np.asarray(BASE + effects)


def mixed(old: Truth, new: Truth, share: float) -> Truth:
    """Return a truth between two."""
    return Truth(*((1 - share) * a + share * b for a, b in zip(old, new, strict=True)))


class Stream:
    """A stream that changes after ``before`` examples: chunks of values, true probabilities and clicks."""

    def __init__(self, change: str, before: int, seed: int = 0) -> None:
        self._change, self._before, self._random = change, before, np.random.default_rng(seed)
        self._old, self._new = Truth.draw(self._random), Truth.draw(self._random)

    def __iter__(self) -> Iterator[tuple[Ints, Floats, NDArray[np.bool_]]]:
        """Yield the chunks."""
        for start in range(0, self._before + AFTER, CHUNK):
            values = self._values(start - self._before)
            probabilities = 1 / (1 + np.exp(-self._truth(start - self._before).logits(values)))
            yield values, probabilities, self._random.random(CHUNK) < probabilities

    def _truth(self, since: int) -> Truth:
        """Return the truth ``since`` examples after the change."""
        match self._change:
            case "gradual":
                return mixed(self._old, self._new, min(max(since / AFTER * 2, 0.0), 1.0))
            case "daily":
                return mixed(self._old, self._new, 0.25 + 0.25 * float(np.sin(2 * np.pi * since / DAY)))
            case "campaign":
                return self._old
            case _:
                return self._old if since < 0 else self._new

    def _values(self, since: int) -> Ints:
        """Draw a chunk; few users and items are seen often. A campaign's items are the last, which nobody saw before."""
        values = np.empty((CHUNK, len(FIELDS)), np.int64)
        for f, count in enumerate(FIELDS.values()):
            values[:, f] = count * self._random.random(CHUNK) ** (3 if f in (USER, ITEM) else 1)
        if self._change == "campaign":
            values[:, ITEM] %= FIELDS["item"] - CAMPAIGN_ITEMS
            if since >= 0:
                new = self._random.random(CHUNK) < CAMPAIGN_SHARE
                values[new, ITEM] = FIELDS["item"] - 1 - self._random.integers(CAMPAIGN_ITEMS, size=int(new.sum()))
        values[:, CATEGORY] = values[:, ITEM] % FIELDS["category"]
        return values


def sml(half_life: int, model: ModelSettings) -> Learner:
    """Return our learner, with the settings that ``sml init`` writes."""
    settings = model.model_copy(update={"accumulator_half_life": half_life})
    fields = tuple(Field(name=name) for name in FIELDS)
    online = OnlineModel(Spec(model=settings, table=TableSettings(capacity=1 << 17), fields=fields, label_delay=1_000))

    def learn(values: Ints, clicked: NDArray[np.bool_]) -> Floats:
        keys = (values.astype(np.uint64) + 1 + (np.arange(len(FIELDS), dtype=np.uint64) << np.uint64(40))) * np.uint64(0x9E3779B97F4A7C15)
        times = online.examples + np.arange(len(values))  # an example a millisecond, whose label is known a second later
        features = Features(keys.ravel(), np.arange(keys.size + 1), times)
        return sigmoid(online.learn(features, clicked.astype(np.float32)).logits)

    return learn


def river(detector: bool) -> Learner:
    """Return River's logistic regression by Adagrad; with a detector, begun anew where ADWIN finds that its loss has changed."""
    from river import drift, linear_model, optim  # noqa: PLC0415

    model, adwin = linear_model.LogisticRegression(optim.AdaGrad(0.1)), drift.ADWIN()

    def learn(values: Ints, clicked: NDArray[np.bool_]) -> Floats:
        nonlocal model
        predictions = np.empty(len(values))
        for n, (row, label) in enumerate(zip(values.tolist(), clicked.tolist(), strict=True)):
            x = {f"{name}={value}": 1 for name, value in zip(FIELDS, row, strict=True)}
            predictions[n] = model.predict_proba_one(x).get(True, 0.5)
            model.learn_one(x, label)
            if detector:
                adwin.update(abs(label - predictions[n]))
                if adwin.drift_detected:
                    model = linear_model.LogisticRegression(optim.AdaGrad(0.1))
        return predictions

    return learn


def vowpal_wabbit() -> Learner:
    """Return Vowpal Wabbit's linear model with its defaults."""
    from vowpalwabbit import Workspace  # noqa: PLC0415

    model = Workspace("--loss_function logistic --link logistic -b 20 --quiet")

    def learn(values: Ints, clicked: NDArray[np.bool_]) -> Floats:
        predictions = np.empty(len(values))
        for n, (row, label) in enumerate(zip(values.tolist(), clicked.tolist(), strict=True)):
            line = f"{1 if label else -1} | " + " ".join(f"{name}={value}" for name, value in zip(FIELDS, row, strict=True))
            example = model.parse(line)
            predictions[n] = model.predict(example)
            model.learn(example)
            model.finish_example(example)
        return predictions

    return learn


def learners() -> dict[str, Callable[[], Learner]]:
    """Return a maker of each learner that can run here."""
    model = initial_model(len(FIELDS))
    found: dict[str, Callable[[], Learner]] = {
        f"SML, half-life {half_life:,}" if half_life else "SML, never forgets": partial(sml, half_life, model) for half_life in HALF_LIVES
    }
    if importlib.util.find_spec("river"):
        found |= {"River, logistic regression": partial(river, False), "River, with ADWIN": partial(river, True)}
    if importlib.util.find_spec("vowpalwabbit"):
        found["Vowpal Wabbit"] = vowpal_wabbit
    return found


def divergence(true: Floats, predicted: Floats) -> Floats:
    """Return the Kullback-Leibler divergence of each prediction, (N,)."""
    p, q = (np.clip(each, 1e-9, 1 - 1e-9) for each in (true, predicted))
    return np.asarray(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))


def regret(learn: Learner, change: str, before: int) -> list[float]:
    """Return the mean regret over the last ``DAY`` examples before the change, then in each window after it."""
    parts = [divergence(true, learn(values, clicked)) for values, true, clicked in Stream(change, before)]
    all_of_it = np.concatenate(parts)
    windows = [(before - DAY, before), *((before + a, before + b) for a, b in pairwise(WINDOWS))]
    return [float(all_of_it[a:b].mean()) for a, b in windows]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=int, default=400_000, help="examples before the change")
    parser.add_argument("--change", nargs="*", default=["abrupt", "gradual", "daily", "campaign"])
    parser.add_argument("--only", default="", help="learners whose name holds this")
    arguments = parser.parse_args()
    print("| change | learner | before | " + " | ".join(f"to {end:,}" for end in WINDOWS[1:]) + " |")
    print("| --- " * 6 + "|")
    for change in arguments.change:
        for name, new in learners().items():
            if arguments.only in name:
                cells = " | ".join(f"{1000 * each:.2f}" for each in regret(new(), change, arguments.before))
                print(f"| {change} | {name} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
