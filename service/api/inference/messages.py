"""The requests and the answers of the Open Inference Protocol, as JSON and with its extension for binary tensors.

With the extension, a header says how many bytes of a body are JSON; the bytes of its tensors follow, in their order. Keys that a request
does not have here are passed over: clients send some.
"""

from collections.abc import Mapping
from typing import Annotated, NamedTuple, TypeAlias

import msgspec
from fastapi import Response
from msgspec import Meta, Struct

from service.api.answers import BadRequestError
from service.api.messages import MAX_FIELDS, Scalar, Text
from service.api.strict import check_keys
from stream.records.events import UNREADABLE

JSON_LENGTH = "inference-header-content-length"
BINARY = "application/octet-stream"
FRAMING = "sml.framing"  # the entry of a request's scope with the header above, where it is known only once the body has been read

Parameter: TypeAlias = bool | int | float | str
Parameters: TypeAlias = Annotated[dict[str, Parameter], Meta(max_length=100)]


class InputTensor(Struct, frozen=True):
    """The values of one field, of one candidate or of all: as JSON, or as ``binary_data_size`` bytes."""

    name: Text
    shape: Annotated[list[int], Meta(max_length=8)]
    datatype: Annotated[str, Meta(max_length=100)]
    parameters: Parameters = {}
    data: list[Scalar | list[Scalar]] | None = None


class RequestedOutput(Struct, frozen=True):
    """An output that is asked for."""

    name: Text
    parameters: Parameters = {}


class InferRequest(Struct, frozen=True):
    """A request for predictions: a tensor for each field.

    Its parameter ``time``, in epoch ms or ISO 8601, is what hour and weekday are derived from; default: now.
    """

    inputs: Annotated[list[InputTensor], Meta(min_length=1, max_length=MAX_FIELDS)]
    id: Annotated[str, Meta(max_length=1_000)] = ""
    parameters: Parameters = {}
    outputs: Annotated[list[RequestedOutput], Meta(max_length=MAX_FIELDS)] = []


class OutputTensor(Struct, frozen=True, omit_defaults=True):
    """The click probability of each candidate: as JSON, or as ``binary_data_size`` bytes."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Parameter] = {}
    data: list[float] | None = None


class InferResponse(Struct, frozen=True, omit_defaults=True):
    """Predictions for all candidates, in their order, all from one version of the weights."""

    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    id: str = ""
    parameters: dict[str, Parameter] = {}


class TensorMetadata(Struct, frozen=True):
    """A tensor that a model takes or gives; a size of -1 may be any."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(Struct, frozen=True):
    """What a model takes and gives. Every input may be left out: the feature is missing then."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ServerMetadata(Struct, frozen=True):
    """The server."""

    name: str
    version: str
    extensions: list[str]


class Live(Struct, frozen=True):
    """Whether the server works."""

    live: bool


class Ready(Struct, frozen=True):
    """Whether the server's weights, or a model's, have caught up."""

    ready: bool


class InferError(Struct, frozen=True):
    """Why a request failed: the field, what it was and what was expected."""

    error: str


class Received(NamedTuple):
    """A request, and the bytes of each of its tensors; None: its values are JSON."""

    request: InferRequest
    raw: list[bytes | None]


_request = msgspec.json.Decoder(InferRequest)


def read(body: bytes, headers: Mapping[str, str]) -> Received:
    """Decode a request.

    Raises:
        BadRequestError: the body is no such request; the message says where and why.
    """
    length = _json_length(headers, len(body))
    try:
        request = _request.decode(memoryview(body)[:length])
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at ")
        raise BadRequestError(path.strip("`").removeprefix("$").removeprefix(".") or "body", reason) from error
    except UNREADABLE as error:
        raise BadRequestError("body", str(error)) from error
    check_keys(body[:length], _known_keys(request))
    return Received(request, _cut(request, body[length:]))


def answer(response: InferResponse, raw: bytes = b"") -> Response:
    """Return the answer; ``raw`` are the bytes of its tensors, if they are not JSON."""
    content = msgspec.json.encode(response)
    if not raw:
        return Response(content, media_type="application/json")
    return Response(content + raw, media_type=BINARY, headers={JSON_LENGTH: str(len(content))})


def _json_length(headers: Mapping[str, str], body: int) -> int:
    """Return how many bytes of the body are JSON.

    Raises:
        BadRequestError: the header is no such number.
    """
    given = headers.get(JSON_LENGTH)
    if given is None:
        return body
    if not (given.isascii() and given.isdigit() and len(given) <= len(str(body)) and int(given) <= body):
        raise BadRequestError("Inference-Header-Content-Length", f"got {given[:40]!r}, expected a number of bytes up to {body}, the body's")
    return int(given)


def _known_keys(request: InferRequest) -> int:
    """Return how many keys the JSON is known to hold, at most as many as it does."""
    of_inputs = sum(3 + (each.data is not None) + _of_parameters(each.parameters) for each in request.inputs)
    of_outputs = sum(1 + _of_parameters(each.parameters) for each in request.outputs)
    return 1 + bool(request.id) + bool(request.outputs) + _of_parameters(request.parameters) + of_inputs + of_outputs


def _of_parameters(parameters: Mapping[str, Parameter]) -> int:
    return len(parameters) + bool(parameters)


def _cut(request: InferRequest, rest: bytes) -> list[bytes | None]:
    """Cut what follows the JSON into the bytes of each tensor.

    Raises:
        BadRequestError: there are more or fewer bytes than the tensors say.
    """
    raw: list[bytes | None] = []
    start = 0
    for index, tensor in enumerate(request.inputs):
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            raw.append(None)
            continue
        left = len(rest) - start
        if type(size) is not int or not 0 <= size <= left or tensor.data is not None:
            expected = f"a number of bytes up to {left}, which are left in the body, and no data"
            raise BadRequestError(f"inputs[{index}].parameters.binary_data_size", f"got {size!r}, expected {expected}")
        raw.append(rest[start : start + size])
        start += size
    if start < len(rest):
        raise BadRequestError(
            "body", f"got {len(rest)} bytes after the JSON, expected {start}, the binary_data_size of all inputs together"
        )
    return raw
