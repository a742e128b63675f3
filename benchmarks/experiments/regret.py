"""Regret: what is lost by what is shown, where each item must be shown to be known, and items come and go. Beside Vowpal Wabbit.

    pip install vowpalwabbit
    python -m benchmarks.experiments.regret --visits 6000 --seeds 5

writes regret.json, prints the table of this folder's README, and draws regret.svg. On each visit a policy shows one of the candidates of
the simulated site. It learns whether that one was clicked when its window has passed, and nothing of the others. Its regret is the
click probability of the best candidate less that of the one shown. All see the same visits, and an item that two show is clicked for
both or for neither.

Axes: C candidates of a visit.
"""

import argparse
import json
import math
import random
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from model.encoding.features import Encoder, Features
from model.exploration import PRIOR
from model.kernels.rows.table import find
from model.online import OnlineModel
from model.settings import Spec
from service.api.choice import Pick, epsilon_greedy, thompson
from service.commands.simulation.site import CATEGORIES, COUNTRIES, DEVICES, NEW_ITEM_EVERY, OLD_ITEMS, Site
from service.settings import load

HERE = Path(__file__).parent
SETTINGS = HERE.parent.parent / "deploy" / "simulated.toml"
RATE = 5.0  # visits a second, so that an item comes, and one goes, every 50 visits
CANDIDATES = 20  # C, of the 100 items that are there
POINTS = 50  # of a curve


class Visit(NamedTuple):
    """A visitor, what they may be shown, and the truth."""

    time: int  # ms
    context: dict[str, Any]
    candidates: list[dict[str, Any]]
    features: Features  # of the candidates, as our learner and server read them
    probabilities: NDArray[np.float64]  # (C,)
    clicked: NDArray[np.bool_]  # (C,)


class Turnover(Site):
    """The simulated site, with all its effects, and a stock of items of which the oldest goes whenever a new one comes."""

    def visits(self, count: int) -> Iterator[Visit]:
        """Yield visits."""
        draw, encoder = self._random, Encoder(load(SETTINGS).spec.fields)
        for visit in range(count):
            now = visit / RATE
            first = int(now / NEW_ITEM_EVERY)
            user, device = self._draw_user(), int(draw.integers(len(DEVICES)))
            items = first + draw.choice(OLD_ITEMS, CANDIDATES, replace=False)
            context: dict[str, Any] = {
                "user_id": f"u{user}",
                "country": COUNTRIES[self._country[user]],
                "device": DEVICES[device],
                "likes": [CATEGORIES[liked] for liked in self._likes[user]],
            }
            candidates = [
                {"item_id": f"i{item}", "category": CATEGORIES[self._category[item]], "price": float(self._price[item])} for item in items
            ]
            probabilities = 1 / (1 + np.exp(-self._logits(user, device, items, now)))
            time, clicked = int(now * 1000), draw.random(CANDIDATES) < probabilities
            features = encoder.encode([context | each for each in candidates], [time] * CANDIDATES).features
            yield Visit(time, context, candidates, features, probabilities, clicked)


class Policy(Protocol):
    """Shows one candidate of a visit, and learns what came of it."""

    def show(self, visit: Visit) -> Pick:
        """Return what is shown."""

    def learn(self, visit: Visit, shown: Pick) -> None:
        """Learn whether it was clicked."""


class Sml:
    """A learner and a server of ours, with the settings of the simulated site."""

    def __init__(self, seed: int, explore: str, epsilon: float = 0.0) -> None:
        """``explore``: epsilon; thompson, as the server does; or accumulators, which servers do not have, in place of its records."""
        self.spec: Spec = load(SETTINGS).spec
        self._model = OnlineModel(self.spec)
        self._explore, self._epsilon, self._chance = explore, epsilon, random.Random(seed)

    def show(self, visit: Visit) -> Pick:
        """Return what is shown."""
        features = visit.features
        probabilities = self._model.weights.probabilities(features)
        if self._explore == "epsilon":
            return epsilon_greedy(probabilities.tolist(), 1, self._epsilon, self._chance)[0]
        spreads = self._model.weights.spreads(features, probabilities)
        if self._explore == "accumulators":
            spreads = self._by_accumulators(features.keys, features.starts)
        return thompson(probabilities.tolist(), spreads.tolist(), 1, self._chance)[0]

    def learn(self, visit: Visit, shown: Pick) -> None:
        """Learn whether it was clicked."""
        others = [candidate for candidate in range(CANDIDATES) if candidate != shown.candidate]
        self._model.learn(visit.features.without(others, CANDIDATES), visit.clicked[[shown.candidate]].astype(np.float32))

    def _by_accumulators(self, keys: NDArray[np.uint64], starts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the spreads by Adagrad's sums of squared derivatives by each value's own weight, which are what its examples have told."""
        start, table, own = self.spec.model.wide_accumulator, self._model.table, range(4, len(self.spec.fields))  # the fields of the item
        variances = np.zeros(CANDIDATES)
        for candidate, field in product(range(CANDIDATES), own):
            row = find(table.keys, keys[starts[candidate * len(self.spec.fields) + field]])
            variances[candidate] += 1 / (len(own) / PRIOR**2 + (table.accumulators[row, -1] - start if row >= 0 else 0))
        return np.sqrt(variances)


class VowpalWabbit:
    """Vowpal Wabbit's contextual bandit, with interactions between visitor and item."""

    def __init__(self, seed: int, options: str) -> None:
        from vowpalwabbit import Workspace  # noqa: PLC0415 - not a dependency of ours

        more = "-b 22 --interactions CI --quiet"
        self._learner: Any = Workspace(f"--cb_explore_adf {options} {more}", quiet=True)
        self._chance = random.Random(seed)

    def show(self, visit: Visit) -> Pick:
        """Return what is shown."""
        propensities = self._learner.predict(_lines(visit))
        (shown,) = self._chance.choices(range(CANDIDATES), propensities)
        return Pick(shown, propensities[shown])

    def learn(self, visit: Visit, shown: Pick) -> None:
        """Learn whether it was clicked. A click costs 0, none 1: what is unknown is believed to be good, which loses less than −1 and 0."""
        cost = 1 - int(visit.clicked[shown.candidate])
        self._learner.learn(_lines(visit, f"{shown.candidate}:{cost}:{shown.propensity} ", shown.candidate))


def _lines(visit: Visit, label: str = "", labelled: int = -1) -> list[str]:
    """Return a visit in Vowpal Wabbit's text format."""
    context, likes = visit.context, " ".join(f"likes={each}" for each in visit.context["likes"])
    lines = [f"shared |C user={context['user_id']} country={context['country']} device={context['device']} {likes}"]
    for index, each in enumerate(visit.candidates):
        price = np.log(each["price"])
        lines.append(f"{label if index == labelled else ''}|I item={each['item_id']} category={each['category']} price:{price:.3f}")
    return lines


POLICIES: dict[str, Callable[[int], Policy]] = {
    "SML, none": partial(Sml, explore="epsilon"),
    "SML, epsilon 0.05": partial(Sml, explore="epsilon", epsilon=0.05),
    "SML, thompson": partial(Sml, explore="thompson"),
    "SML, thompson by accumulators": partial(Sml, explore="accumulators"),
    "VW, none": partial(VowpalWabbit, options="--epsilon 0"),
    "VW, epsilon 0.05": partial(VowpalWabbit, options="--epsilon 0.05"),
    "VW, squarecb": partial(VowpalWabbit, options="--squarecb --gamma_scale 100"),
}


def run(visits: int, seed: int) -> dict[str, list[float]]:
    """Return the regret of each policy on the visits of a seed, summed up to each point of its curve."""
    policies, delay = {name: make(seed) for name, make in POLICIES.items()}, load(SETTINGS).spec.label_delay
    waiting: deque[tuple[Visit, dict[str, Pick]]] = deque()
    regret, curves = dict.fromkeys(POLICIES, 0.0), {name: list[float]() for name in POLICIES}
    for number, visit in enumerate(Turnover(seed, RATE).visits(visits), 1):
        while waiting and waiting[0][0].time + delay <= visit.time:
            decided, picks = waiting.popleft()
            for name, policy in policies.items():
                policy.learn(decided, picks[name])
        shown = {name: policy.show(visit) for name, policy in policies.items()}
        waiting.append((visit, shown))
        for name, pick in shown.items():
            regret[name] += float(visit.probabilities.max() - visit.probabilities[pick.candidate])
            if number % (visits // POINTS) == 0:
                curves[name].append(round(regret[name], 2))
    return curves


def measure(visits: int, seeds: range, jobs: int) -> dict[str, Any]:
    """Return the curve of each policy with each seed, and how many visits lie between two of its points."""
    with ProcessPoolExecutor(jobs) as pool:
        found = list(pool.map(partial(run, visits), seeds))
    return {"every": visits // POINTS, "curves": {name: [curves[name] for curves in found] for name in POLICIES}}


def table(found: dict[str, Any]) -> str:
    """Return a table in Markdown: the regret of a visit, and how it differs from that of who does not explore."""
    lines = ["| policy | regret a visit | of the last half | more than SML without exploration |", "| --- | ---: | ---: | ---: |"]
    curves = {name: np.array(each) for name, each in found["curves"].items()}  # (seeds, POINTS)
    visits, beside = found["every"] * POINTS, next(iter(curves.values()))
    for name, each in curves.items():
        late = (each[:, -1] - each[:, POINTS // 2 - 1]) / (visits / 2)
        more = (each[:, -1] - beside[:, -1]) / visits
        difference = f"{more.mean():+.4f} ± {more.std(ddof=1) / math.sqrt(len(more)):.4f}" if each is not beside else ""
        lines.append(f"| {name} | {each[:, -1].mean() / visits:.4f} | {late.mean():.4f} | {difference} |")
    return "\n".join(lines)


def draw(found: dict[str, Any], path: Path) -> None:
    """Draw the regret of a visit as it goes, the mean over seeds."""
    import matplotlib as mpl  # noqa: PLC0415 - only who draws needs it
    from matplotlib.figure import Figure  # noqa: PLC0415

    mpl.rcParams["svg.hashsalt"] = "sml"
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    every, window = found["every"], POINTS // 5
    for name, curves in found["curves"].items():
        total = np.concatenate([[0.0], np.mean(curves, axis=0)])
        axes.plot(
            every * np.arange(window, POINTS + 1),
            (total[window:] - total[:-window]) / (window * every),
            linestyle="--" if name.startswith("VW") else "-",
            label=name,
        )
    axes.set(xlabel="visits", ylabel=f"regret a visit, of the last {window * every:,}", ylim=0)
    axes.legend(fontsize="small", ncols=2)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measure, print a table, and draw."""
    parser = argparse.ArgumentParser(description="Measure what each way to explore loses.")
    parser.add_argument("--visits", type=int, default=6_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--draw", action="store_true", help="only draw what regret.json holds")
    options = parser.parse_args()
    file = HERE / "regret.json"
    if not options.draw:
        found = measure(options.visits, range(options.seeds), options.jobs)
        file.write_text(json.dumps(found) + "\n")
    found = json.loads(file.read_text())
    print(table(found))
    draw(found, HERE / "regret.svg")


if __name__ == "__main__":
    main()
