"""A call of the protocol's gRPC service as a request of its HTTP side, with tensors as bytes, and the answer as a reply.

So there is one place for what is asked of a request: whatever holds over HTTP holds here, too.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import grpc
import msgspec
import numpy as np
from tritonclient.grpc import service_pb2 as messages

from service.api.answers import BadRequestError
from service.api.inference.messages import InferResponse, Parameter
from service.api.inference.tensors import BYTES, DATATYPES
from service.api.messages import MAX_FIELDS

# What a status of HTTP is here; another is INTERNAL.
STATUS = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    431: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}

_CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    **{name: f"{name.lower()}_contents" for name in ("INT64", "UINT64", "FP32", "FP64", BYTES)},
}


def body_of(request: Any) -> tuple[bytes, int]:
    """Return a ``ModelInferRequest`` as a body, and how many bytes of it are JSON.

    Raises:
        BadRequestError: there are too many tensors, or they and what they hold do not fit each other.
    """
    for name in ("inputs", "outputs"):
        if (found := len(getattr(request, name))) > MAX_FIELDS:
            raise BadRequestError(name, f"got {found:,}, expected at most {MAX_FIELDS:,}")
    raw = list(request.raw_input_contents)
    if raw and len(raw) != len(request.inputs):
        raise BadRequestError("raw_input_contents", f"got {len(raw)}, expected {len(request.inputs)}, one of each input")
    raw = raw or [_raw(tensor) for tensor in request.inputs]
    inputs = [
        {
            "name": tensor.name,
            "shape": list(tensor.shape),
            "datatype": tensor.datatype,
            "parameters": parameters_of(tensor.parameters) | {"binary_data_size": len(data)},
        }
        for tensor, data in zip(request.inputs, raw, strict=True)
    ]
    outputs = [{"name": output.name} for output in request.outputs]
    parameters = parameters_of(request.parameters) | {"binary_data_output": True}
    content = msgspec.json.encode({"id": request.id, "inputs": inputs, "outputs": outputs, "parameters": parameters})
    return b"".join((content, *raw)), len(content)


def reply_of(body: bytes, length: int) -> Any:
    """Return the ``ModelInferResponse`` of an answer whose first ``length`` bytes are JSON, and the others those of its one tensor."""
    answer = msgspec.json.decode(body[:length], type=InferResponse)
    reply = messages.ModelInferResponse(model_name=answer.model_name, model_version=answer.model_version, id=answer.id)
    for name, value in answer.parameters.items():
        _set(reply.parameters[name], value)
    for output in answer.outputs:
        reply.outputs.add(name=output.name, datatype=output.datatype, shape=output.shape)
    reply.raw_output_contents.append(body[length:])
    return reply


def parameters_of(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of each parameter; None where it has none."""
    chosen = {name: parameter.WhichOneof("parameter_choice") for name, parameter in parameters.items()}
    return {name: getattr(parameters[name], choice) if choice else None for name, choice in chosen.items()}


def _set(parameter: Any, value: Parameter) -> None:
    kinds = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}
    setattr(parameter, kinds[type(value)], value)


def _raw(tensor: Any) -> bytes:
    """Return the values of a tensor that come one by one as bytes.

    Raises:
        BadRequestError: the values of its datatype do not come so, or one is out of its bounds.
    """
    if tensor.datatype not in _CONTENTS:
        expected = f"one of {', '.join(_CONTENTS)}; others as raw_input_contents"
        raise BadRequestError(f"{tensor.name}.datatype", f"got {tensor.datatype[:100]!r}, expected {expected}")
    values = getattr(tensor.contents, _CONTENTS[tensor.datatype])
    if tensor.datatype == BYTES:
        return b"".join(_framed(values))
    try:
        return np.array(values, DATATYPES[tensor.datatype]).tobytes()
    except OverflowError as error:
        raise BadRequestError(f"{tensor.name}.contents", f"{error}, expected {tensor.datatype}") from error


def _framed(texts: Sequence[bytes]) -> Iterable[bytes]:
    for text in texts:
        yield len(text).to_bytes(4, "little")
        yield text
