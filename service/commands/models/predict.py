"""``sml predict``: one answer from the newest checkpoint, without a log or a server; equal to a server's by that version."""

import time
from pathlib import Path
from typing import Any

from service.api.predictor import Predictor
from service.api.reading import read_predict_request
from service.settings import Settings
from stream.learn.saving.checkpoint import Checkpoints
from stream.weights.chunks import WeightsHeader


class NoCheckpointError(Exception):
    """There is no checkpoint to predict from."""


def predict(body: bytes, settings: Settings) -> dict[str, Any]:
    """Answer a request for ``/v1/predict``.

    Raises:
        BadRequestError: the body is wrong; the message says where and why.
        NoCheckpointError: no checkpoint can be read.
    """
    request = read_predict_request(body)
    predictor = newest_predictor(settings)
    scored = predictor.predict(request, int(time.time() * 1000) if request.time is None else request.time)
    predictions = [
        {"id": candidate["id"], "probability": probability}
        for candidate, probability in zip(request.candidates, scored.probabilities, strict=True)
    ]
    ignored = {"ignored": predictor.encoder.names_ignored(predictor.features(request))} if request.debug else {}
    return {"predictions": predictions, **origin(predictor), **ignored}


def origin(predictor: Predictor) -> dict[str, Any]:
    """Return which weights have answered."""
    header = predictor.header
    return {"version": header.version, "trained_through": header.trained_through, "digest": header.digest}


def newest_predictor(settings: Settings) -> Predictor:
    """Return what predicts by the newest checkpoint.

    Raises:
        NoCheckpointError: no checkpoint can be read.
    """
    directory = Path(settings.learn.directory)
    checkpoint = next(Checkpoints(directory, keep=1).newest_first(), None)
    if checkpoint is None:
        every = f"one every {settings.learn.checkpoint_every:g} s"
        raise NoCheckpointError(f"{directory}: got no checkpoint that can be read, expected those of `sml learn`, which writes {every}")
    version = checkpoint.version
    header = WeightsHeader(version.version, None, version.digest, version.examples, version.trained_through, version.published_at)
    return Predictor(header, checkpoint.restore().model.weights)
