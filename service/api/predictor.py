"""From a request to probabilities and to their terms, for each answer of the server, and for ``sml predict`` and ``sml explain``."""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.encoding.features import Column, Encoder, Examples, Features as Keys
from model.encoding.keys import FeatureError
from model.explanation.contributions import contributions
from model.weights import Weights
from service.api.answers import BadRequestError
from service.api.messages import MAX_CANDIDATES, MAX_LISTED, ExplainRequest, Explanation, Features
from stream.weights.chunks import WeightsHeader


class Predicted(NamedTuple):
    """The candidates of one request, in its order."""

    keys: Keys  # of the features that each candidate was predicted from
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

    def predict(self, request: ExplainRequest, time: int) -> Predicted:
        """Predict the click probability of each candidate at ``time`` (epoch ms).

        Raises:
            BadRequestError: a feature is not what its field takes.
        """
        keys = self._encode(request, time)
        return Predicted(keys, self.weights.probabilities(keys).tolist())

    def features(self, request: ExplainRequest) -> list[Features]:
        """Return the features that each candidate is predicted from: the context's, overridden by its own."""
        merged = [request.context | candidate for candidate in request.candidates]
        if not self._id_is_feature:
            for each in merged:
                del each["id"]
        return merged

    def predict_columns(self, columns: Mapping[str, Column], times: Sequence[int]) -> NDArray[np.float64]:
        """Predict the click probability of each candidate, whose features are given by column, at its time (epoch ms).

        Raises:
            BadRequestError: a feature is not what its field takes.
        """
        return self.weights.probabilities(self._keys_of(columns, times, "{field}[{index}]"))

    def explain(self, request: ExplainRequest, time: int) -> list[Explanation]:
        """Explain the prediction of each candidate at ``time`` (epoch ms).

        Raises:
            BadRequestError: a feature is not what its field takes, or it would take longer than any request for predictions may.
        """
        passes = len(self.weights.spec.fields) + 2
        most = max(1, MAX_CANDIDATES // passes)
        if (count := len(request.candidates)) > most:
            raise BadRequestError(
                "candidates", f"got {count:,}, expected at most {most}: to explain one takes as long as to predict {passes}"
            )
        keys = self._encode(request, time)
        logits, probabilities = self.weights.predict(keys).tolist(), self.weights.probabilities(keys).tolist()
        terms = contributions(self.weights, keys)
        return [
            self._explanation(candidate["id"], probability, logit, {name: array[n].tolist() for name, array in terms._asdict().items()})
            for n, (candidate, probability, logit) in enumerate(zip(request.candidates, probabilities, logits, strict=True))
        ]

    def _explanation(self, candidate: Any, probability: float, logit: float, terms: dict[str, Any]) -> Explanation:
        """Name the terms of one candidate, which are those of :class:`~model.explanation.contributions.Contributions`."""
        names, layers = [field.name for field in self.weights.spec.fields], len(self.weights.spec.model.hidden)
        return Explanation(
            candidate,
            probability,
            logit,
            bias=terms["bias"],
            wide=dict(zip(names, terms["wide"], strict=True)),
            skip=terms["skip"][:layers],
            main=terms["output"],
            deep=dict(zip(names, terms["deep"], strict=True)),
            cross=terms["skip"][layers:],
            branch=terms["branch"],
            records=dict(zip(names, terms["records"], strict=False)),  # without records there are none
        )

    def _encode(self, request: ExplainRequest, time: int) -> Keys:
        """Return the keys of each candidate's features.

        Raises:
            BadRequestError: a feature is not what its field takes.
        """
        examples = self._columns(request) or self.features(request)
        return self._keys_of(examples, [time] * len(request.candidates), "candidates[{index}].{field}")

    def _keys_of(self, examples: Examples, times: Sequence[int], path: str) -> Keys:
        """Return the keys of examples; ``path`` is the form of the path to a field of the one with an index.

        Raises:
            BadRequestError: a feature is not what its field takes, or crosses would make more keys than lists may hold.
        """
        try:
            keys, bad = self.encoder.encode(examples, times, MAX_LISTED)
        except FeatureError as error:
            raise BadRequestError(error.field, f"expected {error.expected}, got {error.value}") from error
        if bad:
            index, wrong = next(iter(bad.items()))  # the first: they are in the order of the examples
            where = path.format(index=index, field=wrong.field)
            raise BadRequestError(where, f"expected {wrong.expected}, got {wrong.value!r}") from wrong
        return keys

    def _columns(self, request: ExplainRequest) -> dict[str, Column] | None:
        """Return the candidates' features by column, those of the context as one value for all; None unless all name the same ones."""
        candidates = request.candidates
        names = ("id", *candidates[0])  # twice, so that there are two: of one, itemgetter returns no tuple
        if any(len(each) != len(names) - 1 for each in candidates):
            return None
        try:
            rows = list(map(itemgetter(*names), candidates))
        except KeyError:
            return None
        for_all = np.zeros(len(candidates), np.int64)
        columns = {name: Column([value], for_all) for name, value in request.context.items()}
        columns |= {name: Column(list(values)) for name, values in zip(names, zip(*rows, strict=True), strict=True)}
        if not self._id_is_feature:
            del columns["id"]
        return columns

    def spreads(self, predicted: Predicted) -> list[float]:
        """Return how uncertain the logit of each candidate is, its standard deviation."""
        spreads: list[float] = self.weights.spreads(predicted.keys, np.array(predicted.probabilities)).tolist()
        return spreads
