"""What the guard holds and what it costs: on recorded logs and simulated days where nothing is wrong, and under poison.

    python -m benchmarks.defaults.guard ../shared/data

Each stream is learned in versions of 200 examples, with the settings that `sml init` writes. The log loss served under poison is that of
1,500 honest examples that nobody learned, by every version that the guard lets pass.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.encoding.features import Encoder, Features
from model.evaluation.progressive import predict_then_learn
from model.guard.guard import WARM, Guard
from model.online import OnlineModel
from model.settings import Spec
from service.commands.init import init
from service.commands.simulation.site import Floats, Site
from service.settings import load
from stream.files.rows import read
from stream.settings import DataSettings

VERSION, POISONED, AFTER, TEST = 200, 8_000, 12_000, 1_500  # examples
VISITS, FLOOD = 12_000, 0.9
SIMULATED = Path(__file__).parents[2] / "deploy" / "simulated.toml"


class Stream(NamedTuple):
    """A stream of N examples, and which field says who the visitor is."""

    spec: Spec
    features: Features
    labels: NDArray[np.float32]
    visitor: str

    def part(self, start: int, end: int) -> "Stream":
        """Return examples ``start`` to ``end``, with keys of their own."""
        starts = self.features.starts[start * len(self.spec.fields) : end * len(self.spec.fields) + 1]
        features = Features(self.features.keys[starts[0] : starts[-1]].copy(), starts - starts[0])
        return self._replace(features=features, labels=self.labels[start:end].copy())

    def keys_of(self, name: str) -> NDArray[np.int64]:
        """Return where the first key of a field is, for each example."""
        field = [each.name for each in self.spec.fields].index(name)
        return self.features.starts[field :: len(self.spec.fields)][: len(self.labels)]


def recorded(path: Path, data: DataSettings, visitor: str) -> Stream:
    """Read a recorded log."""
    with TemporaryDirectory() as folder:
        init(path, data, Path(folder) / "sml.toml", every=False)
        settings = load(Path(folder) / "sml.toml")
    rows = list(read(path, settings.data))
    features, _ = Encoder(settings.spec.fields).encode([row.features for row in rows], [row.time for row in rows])
    return Stream(settings.spec, features, np.array([row.label for row in rows], np.float32), visitor)


class EventfulSite(Site):
    """The simulated site, on a day on which the odds of every click change at once, and after a while change back."""

    def __init__(self, rate: float, shift: float) -> None:
        """Change the logits by ``shift`` in the middle third of the visits."""
        super().__init__(0, rate)
        self._shift, self._third = shift, VISITS / rate / 3

    def _logits(self, user: int, device: int, items: NDArray[np.intp], now: float) -> Floats:
        return super()._logits(user, device, items, now) + self._shift * (self._third < now < 2 * self._third)


def simulated(rate: float = 150, shift: float = 0.0) -> Stream:
    """Make up a day of the simulated site."""
    site, spec = EventfulSite(rate, shift), load(SIMULATED).spec
    visits = [site.visit() for _ in range(VISITS)]
    shown = [{**visit.context, **candidate} for visit in visits for candidate in visit.candidates]
    features, _ = Encoder(spec.fields).encode(shown, [0] * len(shown))
    return Stream(spec, features, np.concatenate([visit.clicked for visit in visits]).astype(np.float32), "user_id")


class Learner:
    """A model and its guard."""

    def __init__(self, model: OnlineModel, guard: Guard) -> None:
        self.model, self.guard = model, guard
        self.guarding = 0.0  # seconds

    def learn(self, stream: Stream) -> Iterator[dict[str, str]]:
        """Learn a stream; yield why each version is held."""
        for start in range(0, len(stream.labels), VERSION):
            part = stream.part(start, min(start + VERSION, len(stream.labels)))
            logits = predict_then_learn(self.model, part.features, part.labels).logits
            changes = self.model.changes()
            learned = time.perf_counter()
            self.guard.observe(part.features, logits, part.labels)
            held = self.guard.judge(self.model, changes, 0)
            self.guard.settle(self.model, held, 0)
            self.guarding += time.perf_counter() - learned
            self.model.mark_published()
            yield held

    def loss(self, stream: Stream) -> float:
        """Return the log loss of a stream's examples by the weights as they are."""
        p = np.clip(self.model.weights.probabilities(stream.features), 1e-9, 1 - 1e-9)
        return float(-np.mean(np.log(np.where(stream.labels > 0, p, 1 - p))))


def poisoned(stream: Stream, how: str) -> Stream:
    """Poison a stream in place, and return it."""
    random, labels, keys = np.random.default_rng(0), stream.labels, stream.features.keys
    if how == "labels flipped":
        labels[:] = 1 - labels
    elif how == "all clicks":
        labels[:] = 1
    elif how == "no clicks":
        labels[:] = 0
    elif how == "the visitor constant":
        keys[stream.keys_of(stream.visitor)] = keys[stream.keys_of(stream.visitor)[0]]
    else:  # nine of ten are one visitor's, who clicks everything, or at random
        theirs = random.random(len(labels)) < FLOOD
        keys[stream.keys_of(stream.visitor)[theirs]] = keys[stream.keys_of(stream.visitor)[0]]
        labels[theirs] = 1 if how == "a flood, all clicked" else random.integers(2, size=int(theirs.sum()))
    return stream


POISONS = ("labels flipped", "all clicks", "no clicks", "the visitor constant", "a flood, all clicked", "a flood, clicked at random")


def false_holds(name: str, stream: Stream) -> None:
    """Print how many versions of a stream where nothing is wrong are held, and what the guard costs."""
    learner = Learner(OnlineModel(stream.spec), Guard())
    held = [bool(why) for why in learner.learn(stream)]
    cost = 1000 * learner.guarding / len(held)
    print(f"| {name} | {len(stream.labels):,} | {len(held) - WARM // VERSION} | {sum(held)} | {cost:.2f} ms |", flush=True)


def under_poison(name: str, stream: Stream) -> None:
    """Print what becomes of the log loss served when a good time is followed by poison."""
    start = WARM + 1_000
    good = Learner(OnlineModel(stream.spec), Guard())
    for _ in good.learn(stream.part(0, start)):
        pass
    state, guard, before = good.model.state(), good.guard.state(), good.loss(test := stream.part(start + POISONED, start + POISONED + TEST))
    for how in POISONS:
        learner = Learner(OnlineModel.from_state(stream.spec, state), Guard.from_state(guard))
        held, served = [], [before]
        for why in learner.learn(poisoned(stream.part(start, start + POISONED), how)):
            held.append(why)
            served += [] if why else [learner.loss(test)]
        unguarded, first = learner.loss(test), next((n for n, why in enumerate(held) if why), None)
        after = [bool(why) for why in learner.learn(stream.part(start + POISONED, start + POISONED + AFTER))]
        back = f"{(after.index(False) + 1) * VERSION:,}" if not all(after) else "not yet"
        found = ", ".join(held[first]) if first is not None else "nothing"
        row: list[Any] = [
            name,
            how,
            f"{before:.3f}",
            f"{unguarded:.3f}",
            f"{max(served):.3f} (+{max(served) / before - 1:.0%})",
            found,
            back,
        ]
        print(f"| {' | '.join(row)} |", flush=True)


def main(folder: Path) -> None:
    """Print both tables."""
    streams: dict[str, Callable[[], Stream]] = {
        "Avazu": lambda: recorded(folder / "avazu_sample.csv.gz", DataSettings(format="avazu"), "device_ip"),
        "Criteo": lambda: recorded(folder / "criteo_sample.tsv.gz", DataSettings(format="criteo"), "C3"),
        "simulated site": simulated,
        "the same at 10 visits a second: more drift": lambda: simulated(rate=10),
        "a sale: at once twice the odds of a click, later as before": lambda: simulated(shift=math.log(2)),
        "a sale: at once three times the odds": lambda: simulated(shift=math.log(3)),
        "a slump: at once a third of the odds": lambda: simulated(shift=-math.log(3)),
        "KuaiRand": lambda: recorded(folder / "kuairand_pure.csv.gz", DataSettings(label="click", time="time_ms"), "user_id"),
    }
    print("| stream | examples | versions judged | held | guard's time a version |\n| --- | --- | --- | --- | --- |")
    poisoned_streams: dict[str, Stream] = {}
    for name, make in streams.items():
        stream = make()
        false_holds(name, stream)
        if name in ("Avazu", "simulated site", "KuaiRand"):
            poisoned_streams[name] = stream.part(0, WARM + 1_000 + POISONED + AFTER + TEST)
    header = (
        "stream",
        "poison",
        "log loss before",
        "after it, unguarded",
        "served at worst",
        "first found",
        "honest examples until served again",
    )
    print(f"\n| {' | '.join(header)} |\n|{' --- |' * len(header)}")
    for name, stream in poisoned_streams.items():
        under_poison(name, stream)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
