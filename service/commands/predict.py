"""``sml predict``: one answer from the newest checkpoint, without a log or a server; equal to a server's by that version."""

import time
from pathlib import Path
from typing import Any

from service.api.messages import read_predict_request
from service.api.predictor import Predictor
from service.settings import Settings
from stream.learn.checkpoint import Checkpoint, Checkpoints
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
    checkpoint = _newest(Path(settings.learn.directory))
    version = checkpoint.version
    header = WeightsHeader(version.version, None, version.digest, version.examples, version.trained_through, version.published_at)
    predictor = Predictor(header, checkpoint.restore().model.weights)
    scored = predictor.predict(request, int(time.time() * 1000) if request.time is None else request.time)
    predictions = [
        {"id": candidate["id"], "probability": probability}
        for candidate, probability in zip(request.candidates, scored.probabilities, strict=True)
    ]
    return {
        "predictions": predictions,
        "version": version.version,
        "trained_through": version.trained_through,
        "digest": version.digest,
    }


def _newest(directory: Path) -> Checkpoint:
    checkpoint = next(Checkpoints(directory, keep=1).newest_first(), None)
    if checkpoint is None:
        raise NoCheckpointError(f"{directory}: got no checkpoint that can be read, expected those of `sml learn`")
    return checkpoint
