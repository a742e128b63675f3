"""``GET /v1/model``, ``/healthz`` and ``/readyz``: what is in service, and whether it is."""

from fastapi import APIRouter

from service.api.answers import Answer, Problem
from service.api.dependencies import ServiceDep
from service.api.messages import Health, ModelState
from service.api.openapi import operation

router = APIRouter(tags=["state"])


@router.get("/v1/model", **operation(ModelState, problems={503: "No weights yet."}))
async def model(service: ServiceDep) -> Answer:
    """Return which weights are in service, what they have learned and what they read."""
    live = service.live
    header, spec = live.predictor.header, live.predictor.weights.spec
    state = ModelState(
        version=header.version,
        digest=header.digest,
        examples=header.examples,
        trained_through=header.trained_through,
        published_at=header.published_at,
        staleness_seconds=live.staleness(),
        caught_up=live.caught_up,
        network=spec.model.model_dump(mode="json"),
        table=spec.table.model_dump(mode="json"),
        fields=[field.model_dump(mode="json") for field in spec.fields],
    )
    return Answer(state)


@router.get("/healthz", **operation(Health, problems={503: "Nothing brings new weights any more: restart the server."}))
async def healthz(service: ServiceDep) -> Answer:
    """Return whether the server works: it answers, and something brings it new weights."""
    if not service.live.followed:
        return Answer(Problem("the follower has ended; the server's log says why"), 503)
    return Answer(Health("alive"))


@router.get("/readyz", **operation(Health, problems={503: "No weights yet, or older ones than the log held at the server's start."}))
async def readyz(service: ServiceDep) -> Answer:
    """Return whether the weights have caught up with what the log held when the server started."""
    version = service.live.predictor.header.version
    if not service.live.caught_up:
        return Answer(Problem(f"catching up: version {version} so far"), 503)
    return Answer(Health("ready"))
