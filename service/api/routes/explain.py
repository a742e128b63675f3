"""``POST /v1/explain``: why the predictions are what they are. Nothing is logged, and nothing is counted as a prediction."""

from fastapi import APIRouter, Request

from service.api.answers import Answer
from service.api.dependencies import Body, ServiceDep
from service.api.messages import ExplainRequest, Explanations
from service.api.openapi import operation
from service.api.reading import read_explain_request
from service.api.routes.predict import FORCED, forced

router = APIRouter(tags=["predict"])

EXAMPLES = {
    "one candidate": {
        "context": {"user_id": "u17", "device": "phone"},
        "candidates": [{"id": "a", "item_id": "a", "price": 9.5}],
    }
}


@router.post(
    "/v1/explain",
    **operation(
        Explanations,
        reads=ExplainRequest,
        examples=EXAMPLES,
        problems={
            422: "The body is wrong, or it asks for more explanations than predict could take passes; the answer says where and why.",
            503: "No weights yet.",
        },
        headers={FORCED: "The arm that answers, for debugging; it needs the role operate."},
    ),
)
async def explain(body: Body, http: Request, service: ServiceDep) -> Answer:
    """Explain the prediction of each candidate: the terms that its logit is the sum of, and what each field gives the deep part.

    As `/v1/predict` predicts it at this moment: by the same weights, of the same arm. The more fields the model has, the fewer
    candidates one request can ask about: as many as 1,000 divided by the number of fields and 2.
    """
    request = read_explain_request(body)
    at = service.time_of(request.time)
    by = service.arms.select(request.context, forced(http))
    predictor = by.weights.predictor
    header = predictor.header
    explanations = predictor.explain(request, at)
    return Answer(
        Explanations(explanations, header.version, header.trained_through, by.weights.staleness(), by.served, by.stale),
    )
