"""A made-up site whose clicks can be learned, and six ways to poison its stream."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.encoding.features import Encoder, Features
from model.evaluation.progressive import predict_then_learn
from model.guard.guard import WARM, Guard
from model.online import OnlineModel
from model.settings import Field, ModelSettings, Spec, TableSettings

SPEC = Spec(
    model=ModelSettings(hidden=(8, 4), embedding=4, base_rate=True),
    table=TableSettings(capacity=4096),
    fields=(Field(name="user"), Field(name="item"), Field(name="price", kind="numeric")),
)
GOOD = WARM + 2048  # examples of the honest stream before anything happens


class Example(NamedTuple):
    """What is shown, and whether it is clicked."""

    features: dict[str, Any]
    label: int


def honest(count: int, seed: int = 0, shift: float = 0.0) -> list[Example]:
    """Make up examples; ``shift`` is added to the logit of each click."""
    effects, random = np.random.default_rng(0), np.random.default_rng([seed, count])
    user, item = effects.normal(0, 1, 100), effects.normal(0, 1, 40)
    users, items, prices = random.integers(100, size=count), random.integers(40, size=count), random.exponential(size=count)
    p = 1 / (1 + np.exp(1.5 - shift - user[users] - item[items] + 0.5 * prices))
    clicked = random.random(count) < p
    rows = zip(users.tolist(), items.tolist(), prices.tolist(), clicked.tolist(), strict=True)
    return [Example({"user": f"u{u}", "item": f"i{i}", "price": round(price, 3)}, int(c)) for u, i, price, c in rows]


def labels_flipped(examples: Sequence[Example]) -> list[Example]:
    """Return what was not clicked as clicked, and the other way round."""
    return [Example(features, 1 - label) for features, label in examples]


def all_clicks(examples: Sequence[Example]) -> list[Example]:
    """Return everything as clicked."""
    return [Example(features, 1) for features, _ in examples]


def no_clicks(examples: Sequence[Example]) -> list[Example]:
    """Return nothing as clicked."""
    return [Example(features, 0) for features, _ in examples]


def item_constant(examples: Sequence[Example]) -> list[Example]:
    """Return every item as the same one."""
    return [Example({**features, "item": "i7"}, label) for features, label in examples]


def flood_of_one_user(examples: Sequence[Example]) -> list[Example]:
    """Return nine of ten examples as one user's, who clicks everything."""
    return [each if n % 10 == 0 else Example({**each.features, "user": "u3"}, 1) for n, each in enumerate(examples)]


POISONS: dict[str, Callable[[Sequence[Example]], list[Example]]] = {
    poison.__name__: poison for poison in (labels_flipped, all_clicks, no_clicks, item_constant, flood_of_one_user)
}


def encoded(examples: Sequence[Example]) -> tuple[Features, NDArray[np.float32]]:
    """Return the features and the labels."""
    features, _ = Encoder(SPEC.fields).encode([each.features for each in examples], [0] * len(examples))
    return features, np.array([each.label for each in examples], np.float32)


class Stream:
    """A learner without a log: it learns, and its guard judges a version every so many examples."""

    def __init__(self, model: OnlineModel, guard: Guard) -> None:
        self.model, self.guard = model, guard
        self.held: list[dict[str, str]] = []  # of each version
        self.served_loss: list[float] = []  # of honest examples, by each version that is served
        self._test = encoded(honest(500, seed=99))

    def learn(self, examples: Sequence[Example], every: int = 100, time: int | None = None) -> "Stream":
        """Learn, in versions of ``every`` examples."""
        for start in range(0, len(examples), every):
            features, labels = encoded(examples[start : start + every])
            self.guard.observe(features, predict_then_learn(self.model, features, labels).logits, labels)
            held = self.guard.judge(self.model, self.model.changes(), time)
            self.guard.settle(self.model, held, time)
            self.model.mark_published()
            self.held.append(held)
            if not held:
                self.served_loss.append(self.loss())
        return self

    def loss(self) -> float:
        """Return the log loss of honest examples by the weights as they are."""
        features, labels = self._test
        p = self.model.weights.probabilities(features)
        return float(-np.mean(np.log(np.where(labels > 0, p, 1 - p))))


@cache
def _good() -> tuple[dict[str, Any], dict[str, Any]]:
    stream = Stream(OnlineModel(SPEC), Guard()).learn(honest(GOOD), every=1000)
    return stream.model.state(), stream.guard.state()


def good_stream() -> Stream:
    """Return a stream after a good time."""
    model, guard = _good()
    return Stream(OnlineModel.from_state(SPEC, model), Guard.from_state(guard))
