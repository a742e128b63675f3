"""Compile the kernels into numba's cache, while the image is built, so that a container starts with them.

They are the same for every network and every CPU that runs the image, so one small model is enough.
"""

# ruff: noqa: INP001 - a script for the image, in no package

import numpy as np

from model.evaluation import Progressive
from model.features import Encoder, pack
from model.online import OnlineModel
from model.settings import Field, Spec, TableSettings

if __name__ == "__main__":
    spec = Spec(fields=(Field(name="item"),), table=TableSettings(capacity=8))
    model, scores = OnlineModel(spec), Progressive()
    features = pack([Encoder(spec.fields).encode({"item": item}, time=0) for item in "ab"])
    labels = np.array([0, 1], np.float32)
    model.weights.predict(features)
    scores.update(model.learn(features, labels).logits, labels)
    scores.recent()
    model.digest()
