"""``sml explain``: why the newest checkpoint predicts what it predicts, without a log or a server; equal to a server's by that version."""

import time
from typing import Any

import msgspec

from service.api.reading import read_explain_request
from service.commands.models.predict import newest_predictor, origin
from service.settings import Settings


def explain(body: bytes, settings: Settings) -> dict[str, Any]:
    """Answer a request for ``/v1/explain``.

    Raises:
        BadRequestError: the body is wrong; the message says where and why.
        NoCheckpointError: no checkpoint can be read.
    """
    request = read_explain_request(body)
    predictor = newest_predictor(settings)
    explanations = predictor.explain(request, int(time.time() * 1000) if request.time is None else request.time)
    return {"explanations": msgspec.to_builtins(explanations), **origin(predictor)}
