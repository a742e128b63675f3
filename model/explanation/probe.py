"""What goes on inside a network: how many neurons are silent, what each skip term adds, how long weights and gradients are.

Nothing of it is measured while learning: the activations are those of a sample, predicted one by one, and the gradients are what
Adagrad's accumulators have grown by. Names are those of :class:`~model.layout.Layout`.

Axes: K examples of the sample, L hidden layers, T skip terms.
"""

from math import prod
from typing import NamedTuple

import numpy as np

from model.encoding.features import Features
from model.kernels.network import OUT, SKIP, WIDTH
from model.online import OnlineModel
from model.terms import NO_TERM
from model.weights import Weights


class Activity(NamedTuple):
    """How a network answers to a sample."""

    silent: dict[str, float]  # layer → the share of its neurons that ReLU silences, on average
    dead: dict[str, float]  # layer → the share of its neurons that no example of the sample wakes
    terms: dict[str, tuple[float, float]]  # skip term → mean and standard deviation of what it adds to the logit


def activity(weights: Weights, features: Features) -> Activity:
    """Return how the network answers to K examples, at least one."""
    network, layout = weights.network(), weights.layout
    examples = (len(features.starts) - 1) // network.fields
    layers, terms = layout.layers, layout.terms if network.scale != NO_TERM else layout.terms[:0]
    awake = [np.zeros((examples, layer[OUT]), np.bool_) for layer in layers]
    added = np.zeros((examples, len(terms)))
    for n in range(examples):
        weights.predict(_one(features, network.fields, n))
        act = weights.activations
        for layer, of_layer in enumerate(awake):
            of_layer[n] = act.x[layer + 1, : of_layer.shape[1]] > 0
        for term, at in enumerate(terms):
            width, start = at[WIDTH], at[SKIP]
            added[n, term] = weights.dense[start : start + width] @ act.activated[term, :width]
    names = [name.removesuffix(".weight") for name in layout.parameters if _is_term(name)]
    return Activity(
        {f"tower.{layer}": 1 - float(each.mean()) for layer, each in enumerate(awake)},
        {f"tower.{layer}": 1 - float(each.any(axis=0).mean()) for layer, each in enumerate(awake)},
        {name: (float(column.mean()), float(column.std())) for name, column in zip(names, added.T, strict=True)},
    )


def _one(features: Features, fields: int, n: int) -> Features:
    times = features.times[n : n + 1]
    return Features(features.keys, features.starts[n * fields : (n + 1) * fields + 1], times)


def _is_term(name: str) -> bool:
    """Return whether a parameter is the weights of a skip term, of which each term has one."""
    return name.endswith("skip.weight") or (name.startswith("skip.") and name.endswith(".weight"))


def weight_norms(weights: Weights) -> dict[str, float]:
    """Return the Euclidean norm of each dense parameter that is learned."""
    named = weights.layout.named(weights.dense)
    return {name: float(np.linalg.norm(array)) for name, array in named.items() if _is_learned(name)}


def _is_learned(name: str) -> bool:
    return name != "defaults" and not name.endswith(".square")


class GradientNorms:
    """The root mean square of the gradient's norm, of each dense parameter, between one look and the next.

    Every square that an accumulator sums is of one example's gradient, so what the accumulators have grown by in n examples is
    n times the mean of the squared norm. A matrix has an accumulator for each row, the sum of means over the row: times its columns.
    In single precision they stop growing at about 2·10⁷ examples, as learning does, unless ``accumulator_half_life`` is set.
    """

    def __init__(self) -> None:
        self._model: OnlineModel | None = None
        self._examples = 0
        self._squares: dict[str, float] = {}

    def since(self, model: OnlineModel) -> dict[str, float]:
        """Return the norms since the last look; nothing at the first, after no example, or where the accumulators were halved."""
        before, squares = self._squares, _squares(model)
        examples, self._squares = model.examples - self._examples, squares
        begun, self._examples = model is self._model and examples > 0, model.examples
        self._model = model
        half_life = model.spec.model.accumulator_half_life
        halved = half_life and model.examples // half_life != (model.examples - examples) // half_life
        if not begun or halved:
            return {}
        return {name: (max(0.0, square - before[name]) / examples) ** 0.5 for name, square in squares.items()}


def _squares(model: OnlineModel) -> dict[str, float]:
    """Return the sum of the squared gradients of each parameter."""
    parameters = model.weights.layout.parameters
    return {
        name: float(parameter.accumulators_of(model.accumulators).sum(dtype=np.float64)) * prod(parameter.shape[1:])
        for name, parameter in parameters.items()
        if _is_learned(name)
    }
