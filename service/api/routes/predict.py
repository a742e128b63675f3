"""``POST /v1/predict``: one context, many candidates, one answer from one version of the weights."""

import random
import re
import secrets
import time
from collections.abc import Sequence

import msgspec
from fastapi import APIRouter, Request
from msgspec.structs import replace

from service.api.answers import Answer, BadRequestError
from service.api.arms import Selected
from service.api.choice import Pick, epsilon_greedy, logged, thompson
from service.api.dependencies import Direct, Service
from service.api.messages import Choice, Features, Prediction, Predictions, PredictRequest
from service.api.openapi import operation
from service.api.predictor import Predicted, Predictor
from service.api.reading import read_predict_request
from stream.log.contract import RecordTooLargeError
from stream.records.events import Impression, Served, encode

router = APIRouter(tags=["predict"], route_class=Direct)

FORCED = "x-sml-arm"
IDEMPOTENT = "idempotency-key"
_KEY = re.compile(r"[A-Za-z0-9_-]{8,64}")
_chance = random.Random()  # noqa: S311 - it explores
MOST_LOGGED = 4_194_304  # bytes of context in the impressions of one request

EXAMPLES = {
    "three candidates": {
        "context": {"user_id": "u17", "device": "phone"},
        "candidates": [{"id": "a", "item_id": "a", "price": 9.5}, {"id": "b", "item_id": "b", "price": 12}, {"id": "c", "item_id": "c"}],
    },
    "chosen and logged": {"candidates": [{"id": "a", "item_id": "a"}, {"id": "b", "item_id": "b"}], "choose": 1, "log": "chosen"},
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
        headers={
            FORCED: "The arm that answers, for debugging; it needs the role operate, and is left out of reports.",
            IDEMPOTENT: "8 to 64 letters, digits, _ and -, new for each request: the impression ids begin with it. "
            "Sent again with the same one, a request whose answer was lost logs no impression that counts twice.",
        },
    ),
)
async def predict(http: Request) -> Answer:
    """Predict the click probability of each candidate, all from the same weights.

    With `log`, which also needs the role `ingest`, the answer comes once the log has stored the impressions, with the features as served;
    a `time` that the joiner would set aside is then refused. With `choose` it says which candidates to show, and with which chance each
    was chosen. With `debug` it names the features that no field of the model has.
    """
    service: Service = http.app.state.service
    request, request_id = read_predict_request(await http.body()), _request_id(http)
    if request.log:
        http.scope["caller"].check_role("ingest")
        if request.time is not None:
            service.check_times([("time", request.time)])
    at = service.time_of(request.time)
    by = service.arms.select(request.context, forced(http))
    predictor, start = by.weights.predictor, time.perf_counter()
    scored = predictor.predict(request, at)
    service.metrics.record_prediction(by, scored.probabilities, time.perf_counter() - start)
    chosen = _choose(service, predictor, scored, request.choose) if request.choose is not None else []
    shown = logged(request, scored.probabilities, chosen)
    if shown:
        _check_size(request, len(shown))
    answer = _answer(request, request_id, by, predictor, scored, chosen)
    if shown:
        impressions = _impressions(answer, shown, predictor.features(request), at, chosen)
        await service.append(service.topics.impressions, [(each.impression_id, encode(each)) for each in impressions])
    return Answer(answer)


def _request_id(http: Request) -> str:
    """Return what the impression ids of a request begin with.

    Raises:
        BadRequestError: its key is none.
    """
    key = http.headers.get(IDEMPOTENT)
    if key is None:
        return secrets.token_hex(12)
    if not _KEY.fullmatch(key):
        raise BadRequestError(IDEMPOTENT, f"got {key[:100]!r}, expected 8 to 64 letters, digits, _ and -")
    return key


def _choose(service: Service, predictor: Predictor, scored: Predicted, count: int) -> list[Pick]:
    """Choose candidates as the settings say."""
    if service.explore == "thompson":
        return thompson(scored.probabilities, predictor.spreads(scored), count, _chance)
    return epsilon_greedy(scored.probabilities, count, service.epsilon, _chance)


def _answer(
    request: PredictRequest, request_id: str, by: Selected, predictor: Predictor, scored: Predicted, chosen: Sequence[Pick]
) -> Predictions:
    """Return the answer to a request, by these weights."""
    predictions = [
        Prediction(candidate["id"], probability, f"{request_id}-{index}")  # type: ignore[arg-type]  # checked when read
        for index, (candidate, probability) in enumerate(zip(request.candidates, scored.probabilities, strict=True))
    ]
    header = predictor.header
    return Predictions(
        predictions,
        header.version,
        header.trained_through,
        by.weights.staleness(),
        by.served,
        [Choice(predictions[index].id, predictions[index].impression_id, propensity) for index, propensity in chosen],
        by.stale,
        predictor.encoder.names_ignored(predictor.features(request)) if request.debug else None,
    )


def _impressions(
    answer: Predictions, shown: Sequence[int], features: Sequence[Features], at: int, chosen: Sequence[Pick]
) -> list[Impression]:
    """Return the impressions of the candidates ``shown``, each with its ``features`` as the answer predicts it."""
    served, propensities = replace(answer.served or Served(), version=answer.version), dict(chosen)
    return [
        Impression(
            answer.predictions[index].impression_id,
            at,
            features[index],
            replace(served, probability=answer.predictions[index].probability, choice=propensities.get(index)),
        )
        for index in shown
    ]


def forced(http: Request) -> str | None:
    """Return the arm that a request asks for.

    Raises:
        RefusedError: its caller may not.
    """
    arm = http.headers.get(FORCED)
    if arm is not None:
        http.scope["caller"].check_role("operate")
    return arm


def _check_size(request: PredictRequest, impressions: int) -> None:
    """Refuse a request whose ``impressions``, each with a copy of the context, would be far larger than itself.

    Raises:
        RecordTooLargeError: they would be.
    """
    size = impressions * len(msgspec.json.encode(request.context))
    if size > MOST_LOGGED:
        raise RecordTooLargeError(f"the impressions would hold {size:,} bytes of context, expected at most {MOST_LOGGED:,}")
