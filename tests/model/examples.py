"""Made-up examples and models for the tests of the step."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.encoding.features import Features
from model.kernels.step import Rates
from model.online import OnlineModel
from model.registry import NETWORKS
from model.settings import Field, ModelSettings, Spec, TableSettings
from model.terms import TERMS
from tests.model.reference import Keys, ReferenceModel

EVERY = [(network, skip) for network in NETWORKS for skip in TERMS]  # each network with each skip term


class Examples(NamedTuple):
    """The same examples for the kernels (features) and for the reference (keys)."""

    keys: list[Keys]
    features: Features
    labels: NDArray[np.float64]


def spec(fields: int = 3, capacity: int = 4096, **model: Any) -> Spec:
    """Return a model of ``fields`` categorical fields; labels are known after three milliseconds."""
    named = tuple(Field(name=f"field {f}") for f in range(fields))
    return Spec(model=ModelSettings(**model), table=TableSettings(capacity=capacity), fields=named, label_delay=3)


def examples(random: np.random.Generator, n: int, fields: int = 3, values: int = 50, most: int = 1) -> Examples:
    """Draw ``n`` examples, each field with 1 to ``most`` of ``values`` values; a list may name a value twice."""
    keys: list[Keys] = [
        [[_key(f, int(v)) for v in random.integers(values, size=random.integers(1, most + 1))] for f in range(fields)] for _ in range(n)
    ]
    return Examples(keys, pack(keys), (random.random(n) < 0.3).astype(np.float64))


def pack(keys: list[Keys]) -> Features:
    """Return the features of examples given as keys; each comes a millisecond after the one before."""
    flat = [key for example in keys for of_field in example for key in of_field]
    counts = [len(of_field) for example in keys for of_field in example]
    return Features(np.array(flat, np.uint64), np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), np.arange(len(keys)))


def _key(field: int, value: int) -> int:
    return (value + 1 + (field << 40)) * 0x9E3779B97F4A7C15 % 2**64


def learn_both(
    online: OnlineModel, reference: ReferenceModel, stream: Examples, importance: NDArray[np.float64] | None = None
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Learn a stream on both sides; return each side's logits."""
    weights = np.ones_like(stream.labels) if importance is None else importance
    ours = online.learn(stream.features, stream.labels, importance).logits
    theirs = [reference.learn(*example) for example in zip(stream.keys, stream.labels, weights, stream.features.times, strict=True)]
    return ours, np.array(theirs)


class Unbounded(OnlineModel):
    """A model whose step can overflow: the derivative by the logit may be anything."""

    def _rates(self) -> Rates:
        return super()._rates()._replace(clip=np.inf)
