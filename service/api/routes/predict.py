"""``POST /v1/predict``: one context, many candidates, one answer from one version of the weights."""

import secrets

import msgspec
from fastapi import APIRouter, Request

from service.api.answers import Answer
from service.api.dependencies import Body, ServiceDep
from service.api.messages import Prediction, Predictions, PredictRequest, read_predict_request
from service.api.openapi import operation
from stream.events import Impression, Served, encode
from stream.log.contract import RecordTooLargeError

router = APIRouter(tags=["predict"])

MOST_LOGGED = 4_194_304  # bytes of context in the impressions of one request

EXAMPLES = {
    "three candidates": {
        "context": {"user_id": "u17", "device": "phone"},
        "candidates": [{"id": "a", "item_id": "a", "price": 9.5}, {"id": "b", "item_id": "b", "price": 12}, {"id": "c", "item_id": "c"}],
    },
    "logged": {"context": {"user_id": "u17"}, "candidates": [{"id": 1, "item_id": 1, "tags": ["new", "red"]}], "log": True},
}


@router.post(
    "/v1/predict",
    **operation(
        Predictions,
        reads=PredictRequest,
        examples=EXAMPLES,
        problems={
            413: "An impression is larger than the log accepts.",
            422: "The body is wrong; the answer says where and why.",
            503: "No weights yet; or the log is away and the impressions could not be logged.",
        },
    ),
)
async def predict(http: Request, body: Body, service: ServiceDep) -> Answer:
    """Predict the click probability of each candidate, all from the same weights.

    With `"log": true`, which also needs the role `ingest`, the answer comes once the log has stored the impressions, with the features as
    served. A `time` that the joiner would set aside is then refused.
    """
    request = read_predict_request(body)
    if request.log:
        http.scope["caller"].check_role("ingest")
        _check_size(request)
        if request.time is not None:
            service.check_times([("time", request.time)])
    at = service.now() if request.time is None else request.time
    predictor = service.served_weights.predictor
    with service.metrics.predict_seconds.time():
        scored = predictor.predict(request, at)
    service.metrics.candidates.inc(len(request.candidates))
    request_id = secrets.token_hex(12)
    predictions = [
        Prediction(candidate["id"], probability, f"{request_id}-{index}")  # type: ignore[arg-type]  # checked when read
        for index, (candidate, probability) in enumerate(zip(request.candidates, scored.probabilities, strict=True))
    ]
    header = predictor.header
    answer = Predictions(predictions, header.version, header.trained_through, service.served_weights.staleness())
    if request.log:
        served = zip(predictions, scored.features, strict=True)
        impressions = [Impression(each.impression_id, at, features, Served(header.version, each.probability)) for each, features in served]
        await service.append(service.topics.impressions, [(each.impression_id, encode(each)) for each in impressions])
    return Answer(answer)


def _check_size(request: PredictRequest) -> None:
    """Refuse a request whose impressions, each with a copy of the context, would be far larger than itself.

    Raises:
        RecordTooLargeError: they would be.
    """
    size = len(request.candidates) * len(msgspec.json.encode(request.context))
    if size > MOST_LOGGED:
        raise RecordTooLargeError(f"the impressions would hold {size:,} bytes of context, expected at most {MOST_LOGGED:,}")
