"""Compile the kernels into numba's cache while the image is built, so that a container starts with compiled kernels.

They are the same for every shape of a network and every CPU that runs the image, so one small model of each network is enough.
"""

# ruff: noqa: INP001 - a script for the image, in no package

import numpy as np

from model.evaluation import RunningScores
from model.features import Encoder
from model.guard.guard import Guard
from model.online import OnlineModel
from model.registry import NETWORKS
from model.settings import Field, ModelSettings, Spec, TableSettings

if __name__ == "__main__":
    fields, labels = (Field(name="item"), Field(name="user")), np.array([0, 1], np.float32)
    features, _ = Encoder(fields).encode([{"item": "a"}, {"item": "b"}], times=[0, 0])
    for network in NETWORKS:
        spec = Spec(model=ModelSettings.model_validate({"network": network}), fields=fields, table=TableSettings(capacity=8))
        model, scores = OnlineModel(spec), RunningScores()
        model.weights.predict(features)
        logits = model.learn(features, labels).logits
        scores.update(logits, labels)
        Guard().observe(features, logits, labels)
        scores.recent()
        model.digest()
