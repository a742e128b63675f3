"""Compile the kernels before they are needed, by calling each once on a small model: they are the same for every shape of a network."""

from collections.abc import Iterator
from contextlib import suppress

import numpy as np

from model.contributions import contributions
from model.evaluation import RunningScores
from model.exploration import chances
from model.features import Encoder
from model.guard.guard import Guard
from model.kernels.cache import mark
from model.online import OnlineModel
from model.quality import Quality
from model.settings import Field, ModelSettings, NetworkName, Spec, TableSettings


def compiling(network: NetworkName) -> Iterator[str]:
    """Compile all kernels that learn and serve a network; yield, before each part of the work, what it is for."""
    fields, labels = (Field(name="item"), Field(name="user")), np.array([0, 1], np.float32)
    model = OnlineModel(Spec(model=ModelSettings(network=network, records=True), fields=fields, table=TableSettings(capacity=8)))
    features, _ = Encoder(fields).encode([{"item": "a"}, {"item": "b"}], times=[0, 0])
    yield "to predict"
    probabilities = model.weights.probabilities(features)
    chances(probabilities, model.weights.spreads(features, probabilities), 1)
    yield "to learn"
    logits = model.learn(features, labels).logits
    model.learn(features, labels, np.full(2, np.inf))  # a step that is undone
    yield "to score and to publish"
    scores = RunningScores()
    scores.update(logits, labels)
    scores.recent()
    Guard().observe(features, logits, labels)
    quality = Quality(model.spec, ["item"])
    quality.observe(logits, labels, quality.look(model.weights, features, np.zeros(2, np.bool_), lambda _: {}))
    quality.window(2)
    model.digest()
    yield "to explain"
    contributions(model.weights, features)
    if marked := mark(network):
        with suppress(OSError):  # a cache that was filled for us, and is not ours to write
            marked.touch()
