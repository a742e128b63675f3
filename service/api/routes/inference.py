"""``/v2``: the Open Inference Protocol, version 2, whose clients predict as ``/v1/predict`` does, by the same weights, bit for bit."""

import time
from importlib.metadata import version as version_of
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Request, Response

from service.api.answers import Answer, BadRequestError, NotFoundError
from service.api.dependencies import Body, Service, ServiceDep
from service.api.inference.messages import (
    BINARY,
    FRAMING,
    JSON_LENGTH,
    InferError,
    InferRequest,
    InferResponse,
    Live,
    ModelMetadata,
    OutputTensor,
    Parameter,
    Parameters,
    Ready,
    ServerMetadata,
    TensorMetadata,
    answer,
    read,
)
from service.api.inference.tensors import columns_of, inputs_of
from service.api.openapi import operation
from service.api.predictor import Predictor
from service.api.routes.model import healthz, readyz
from service.api.routes.predict import FORCED, forced
from stream.records.events import Served, in_epoch_ms
from stream.records.times import Time

router = APIRouter(tags=["inference"])
DESCRIBED = (Live, Ready, ServerMetadata, ModelMetadata, InferRequest, InferResponse, InferError)

OUTPUT = "probability"
EXAMPLES = {
    "two candidates": {
        "inputs": [
            {"name": "user", "datatype": "BYTES", "shape": [1], "data": ["u17"]},
            {"name": "price", "datatype": "FP64", "shape": [2], "data": [9.5, 12]},
        ]
    }
}
_MODEL = {404: "No such model, or another version of it is in service."}
_UNAVAILABLE = {503: "No weights yet."}


async def _served(service: ServiceDep, model: str, version: str | None = None) -> Service:
    """Return the model that a path names.

    Raises:
        NotFoundError: it is not served, or not in this version.
        NoWeightsError: a version is named, and there are no weights yet.
    """
    if model != service.name:
        raise NotFoundError(f"model: got {model[:100]!r}, expected {service.name!r}")
    if version is not None and version != (served := _version(service.served_weights.predictor)):
        raise NotFoundError(f"version: got {version[:100]!r}, expected {served!r}, which is in service")
    return service


ServedDep = Annotated[Service, Depends(_served)]


@router.get("/v2/health/live", **operation(Live, problem=InferError, problems={503: "The server gets no new weights: restart it."}))
async def live(service: ServiceDep) -> Answer:
    """Return whether the server works."""
    return _as_error(await healthz(service)) or Answer(Live(live=True))


@router.get("/v2/health/ready", **operation(Ready, problem=InferError, problems={503: "The weights have not caught up yet."}))
async def ready(service: ServiceDep) -> Answer:
    """Return whether the weights are at least as new as those that the log held when the server started."""
    return _as_error(await readyz(service)) or Answer(Ready(ready=True))


@router.get("/v2", **operation(ServerMetadata, problem=InferError))
async def server() -> Answer:
    """Return what the server is."""
    return Answer(ServerMetadata("sml-online", version_of("sml-online"), ["binary_tensor_data"]))


@router.get("/v2/models/{model}", **operation(ModelMetadata, problem=InferError, problems=_MODEL | _UNAVAILABLE))  # noqa: FAST003 - the dependency takes it
@router.get("/v2/models/{model}/versions/{version}", **operation(ModelMetadata, problem=InferError, problems=_MODEL | _UNAVAILABLE))
async def metadata(service: ServedDep) -> Answer:
    """Return the name, datatype and shape of each input and output."""
    predictor = service.served_weights.predictor
    inputs, outputs = inputs_of(predictor.weights.spec.fields), [TensorMetadata(OUTPUT, "FP64", [-1])]
    return Answer(ModelMetadata(service.name, [_version(predictor)], "sml-online", inputs, outputs))


@router.get("/v2/models/{model}/ready", **operation(Ready, problem=InferError, problems=_MODEL | _UNAVAILABLE))  # noqa: FAST003 - the dependency takes it
@router.get("/v2/models/{model}/versions/{version}/ready", **operation(Ready, problem=InferError, problems=_MODEL | _UNAVAILABLE))
async def model_ready(service: ServedDep) -> Answer:
    """Return whether the model's weights have caught up."""
    return _as_error(await readyz(service)) or Answer(Ready(ready=True))


_INFER = operation(
    InferResponse,
    reads=InferRequest,
    examples=EXAMPLES,
    problem=InferError,
    problems={400: "The body is wrong; the answer says where and why."} | _MODEL | _UNAVAILABLE,
    headers={
        FORCED: "The arm that answers, for debugging; it needs the role operate.",
        JSON_LENGTH: "How many bytes of the body are JSON; those of binary tensors follow.",
    },
    also=BINARY,
)


@router.post("/v2/models/{model}/infer", **_INFER)  # noqa: FAST003 - the dependency takes it
@router.post("/v2/models/{model}/versions/{version}/infer", **_INFER)
async def infer(body: Body, http: Request, service: ServedDep) -> Response:
    """Predict the click probability of each candidate, all from the same weights.

    The unit of an experiment counts where all candidates have the same. Nothing is logged: send an impression of what was shown.
    """
    received = read(body, http.scope.get(FRAMING, http.headers))
    request = received.request
    binary = _wants_binary(request)
    at = _time(request.parameters, service.now())
    arm = forced(http)
    columns = columns_of(received, service.arms.control.predictor.weights.spec.fields)
    by = service.arms.select(columns.context() if service.arms.split else {}, arm)
    predictor, start = by.weights.predictor, time.perf_counter()
    probabilities = predictor.predict_columns(columns.features, [at] * columns.candidates)
    service.metrics.record_prediction(by, probabilities.tolist(), time.perf_counter() - start)
    raw = probabilities.astype("<f8").tobytes() if binary else b""
    values = {"parameters": {"binary_data_size": len(raw)}} if binary else {"data": probabilities.tolist()}
    output = OutputTensor(OUTPUT, "FP64", [columns.candidates], **values)
    said = _said(predictor, by.weights.staleness(), by.served, by.stale)
    return answer(InferResponse(service.name, _version(predictor), [output], request.id, said), raw)


def _wants_binary(request: InferRequest) -> bool:
    """Return whether the output is asked for as bytes.

    Raises:
        BadRequestError: another output is asked for.
    """
    binary = request.parameters.get("binary_data_output", False)
    for index, output in enumerate(request.outputs):
        if output.name != OUTPUT:
            raise BadRequestError(f"outputs[{index}].name", f"got {output.name[:100]!r}, expected {OUTPUT!r}")
        binary = output.parameters.get("binary_data", binary)
    return binary is True


class _Timed(msgspec.Struct):
    time: Time


def _time(parameters: Parameters, now: int) -> int:
    """Return the time of a request, epoch ms.

    Raises:
        BadRequestError: it is no time.
    """
    if "time" not in parameters:
        return now
    said = msgspec.json.encode({"time": parameters["time"]})
    try:
        return msgspec.json.decode(in_epoch_ms(said) or said, type=_Timed).time
    except msgspec.ValidationError as error:
        expected = "epoch milliseconds, or ISO 8601"
        raise BadRequestError("parameters.time", f"got {str(parameters['time'])[:100]!r}, expected {expected}") from error


def _said(predictor: Predictor, staleness: float, served: Served | None, stale: list[str]) -> dict[str, Parameter]:
    """Return what an answer says of its weights; of arms, as ``served`` in the answer of ``/v1/predict``."""
    said: dict[str, Parameter] = {"staleness_seconds": staleness}
    if predictor.header.trained_through is not None:
        said["trained_through"] = predictor.header.trained_through
    if stale:
        said["stale_arms"] = ",".join(stale)
    return said | (msgspec.to_builtins(served) if served else {})


def _version(predictor: Predictor) -> str:
    return str(predictor.header.version)


def _as_error(found: Answer) -> Answer | None:
    """Return an answer of ``/healthz`` or ``/readyz`` as the protocol has it, if it is a problem."""
    if found.status_code == 200:  # noqa: PLR2004 - good
        return None
    return Answer(InferError(msgspec.json.decode(found.body)["detail"]), found.status_code)
