"""From a request to probabilities, for each answer of the server and for ``sml predict``."""

from typing import NamedTuple

import numpy as np

from model.features import Encoder, Features as Keys
from model.weights import Weights
from service.api.answers import BadRequestError
from service.api.messages import Features, PredictRequest
from stream.weights.chunks import WeightsHeader


class Predicted(NamedTuple):
    """The candidates of one request, in its order."""

    features: list[Features]  # that each candidate was predicted from
    keys: Keys  # of those features
    probabilities: list[float]


class Predictor:
    """Predicts by one version of the weights."""

    def __init__(self, header: WeightsHeader, weights: Weights, encoder: Encoder | None = None) -> None:
        """Predict by ``weights``; an encoder of the same fields may be reused."""
        self.header, self.weights = header, weights
        self.encoder = encoder or Encoder(weights.spec.fields)
        self._id_is_feature = any(field.name == "id" for field in weights.spec.fields)

    def next(self, header: WeightsHeader, weights: Weights) -> "Predictor":
        """Return the predictor of the weights that come after these."""
        return Predictor(header, weights, self.encoder if weights.spec == self.weights.spec else None)

    def predict(self, request: PredictRequest, time: int) -> Predicted:
        """Predict the click probability of each candidate at ``time`` (epoch ms).

        Raises:
            BadRequestError: a feature is not what its field takes.
        """
        features = [self._merged(request.context, candidate) for candidate in request.candidates]
        keys, bad = self.encoder.encode(features, [time] * len(features))
        for index, error in sorted(bad.items()):
            path = f"candidates[{index}].{error.field}"
            raise BadRequestError(path, f"expected {error.expected}, got {error.value!r}") from error
        return Predicted(features, keys, self.weights.probabilities(keys).tolist())

    def spreads(self, predicted: Predicted) -> list[float]:
        """Return how uncertain the logit of each candidate is, its standard deviation."""
        spreads: list[float] = self.weights.spreads(predicted.keys, np.array(predicted.probabilities)).tolist()
        return spreads

    def _merged(self, context: Features, candidate: Features) -> Features:
        merged = context | candidate
        if not self._id_is_feature:
            del merged["id"]
        return merged
