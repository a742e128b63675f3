"""The bodies of requests for predictions and explanations, decoded; of a wrong one, the error names the field at fault."""

import json
from typing import TypeVar

import msgspec

from service.api.answers import BadRequestError
from service.api.messages import MAX_LISTED, ExplainRequest, Feature, PredictRequest, Top
from service.api.strict import check_keys
from stream.records.events import UNREADABLE, in_epoch_ms
from stream.records.times import LATEST_TIME, expected_time

MAX_READ_AGAIN = 65_536  # bytes of a wrong body that is read again, to name the feature at fault: it holds up everybody else
_predict_request = msgspec.json.Decoder(PredictRequest)
_explain_request = msgspec.json.Decoder(ExplainRequest)
_R = TypeVar("_R", bound=ExplainRequest)


def read_predict_request(body: bytes) -> PredictRequest:
    """Decode a request for predictions.

    >>> read_predict_request(b'{"candidates": [{"price": 9.5}]}')
    Traceback (most recent call last):
    ...
    service.api.answers.BadRequestError: candidates[0].id: expected a string or an integer

    Raises:
        BadRequestError: the body is no such request; the message says where and why.
    """
    request = _read(_predict_request, body)
    more = (request.choose is not None, request.log is not False, isinstance(request.log, Top), request.debug)
    _check_keys(body, request, sum(more))
    return request


def read_explain_request(body: bytes) -> ExplainRequest:
    """Decode a request for explanations.

    Raises:
        BadRequestError: the body is no such request; the message says where and why.
    """
    request = _read(_explain_request, body)
    _check_keys(body, request, 0)
    return request


def _read(decoder: msgspec.json.Decoder[_R], body: bytes) -> _R:
    try:
        request = decoder.decode(body)
    except msgspec.ValidationError as error:
        again = body if len(body) <= MAX_READ_AGAIN else b""
        check_keys(again, -1)  # of a key that stands twice, two readers see two values
        if timed := in_epoch_ms(again):
            return _read(decoder, timed)
        raise _fault(again, error) from error
    except UNREADABLE as error:
        raise BadRequestError("body", str(error)) from error
    for index, candidate in enumerate(request.candidates):
        if type(candidate.get("id")) not in (str, int):
            raise BadRequestError(f"candidates[{index}].id", "expected a string or an integer")
    listed = len(request.candidates) * sum(len(value) for value in request.context.values() if isinstance(value, list))
    if listed > MAX_LISTED:
        raise BadRequestError("context", f"its lists hold {listed:,} values for all candidates together, expected at most {MAX_LISTED:,}")
    return request


def _check_keys(body: bytes, request: ExplainRequest, more: int) -> None:
    """Refuse a body that holds a key twice; ``more`` keys are known to stand in it beside candidates, context and time."""
    named = 1 + bool(request.context) + (request.time is not None) + more  # there may be more, with their defaults
    check_keys(body, named + len(request.context) + sum(map(len, request.candidates)))


def _fault(body: bytes, error: msgspec.ValidationError) -> BadRequestError:
    """Return the error with the path of the field at fault: msgspec's own path ends before the name of a feature."""
    reason, _, path = str(error).partition(" - at ")
    name, unnamed, _ = path.strip("`").removeprefix("$.").partition("[...]")
    if name == "time" and (f"<= {LATEST_TIME}" in reason or "got `float`" in reason):
        return BadRequestError(name, _expected_time(body, reason))
    if unnamed:
        try:
            request = json.loads(body)
        except (ValueError, RecursionError):  # malformed further on
            return BadRequestError(name, reason)
        features = request["context"] if name == "context" else request["candidates"][int(name[len("candidates[") : -1])]
        name = ".".join([name, *[feature for feature, value in features.items() if not _is_feature(value)][:1]])
    return BadRequestError(name.removeprefix("$") or "body", reason)


def _expected_time(body: bytes, reason: str) -> str:
    try:
        time = json.loads(body)["time"]
    except (ValueError, RecursionError):  # malformed further on
        return reason
    return f"got {time}, expected {expected_time(time)}"


def _is_feature(value: object) -> bool:
    try:
        msgspec.convert(value, Feature)
    except msgspec.ValidationError:
        return False
    return value not in (float("inf"), float("-inf"))
