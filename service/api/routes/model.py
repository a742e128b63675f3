"""``GET /v1/model``, ``/healthz`` and ``/readyz``: the weights in service, and whether the server works and is ready."""

import msgspec
from fastapi import APIRouter

from service.api.answers import Answer, Problem
from service.api.arms import Arms, Split
from service.api.dependencies import Service, ServiceDep
from service.api.messages import ArmState, Health, Held, ModelState, ServedModel, ServedModels
from service.api.openapi import operation
from service.api.served_weights import NoWeightsError, ServedWeights

router = APIRouter(tags=["state"])


@router.get("/v1/model", **operation(ModelState, problems={503: "No weights yet."}))
async def model(service: ServiceDep) -> Answer:
    """Return the version of the weights in service, what they have learned, and what the model reads."""
    return Answer(state_of(service))


def state_of(service: Service) -> ModelState:
    """Return the state of the weights in service.

    Raises:
        NoWeightsError: there are none yet.
    """
    served, split = service.served_weights, service.arms.split
    header, spec = served.predictor.header, served.predictor.weights.spec
    return ModelState(
        version=header.version,
        digest=header.digest,
        examples=header.examples,
        trained_through=header.trained_through,
        published_at=header.published_at,
        staleness_seconds=served.staleness(),
        caught_up=served.caught_up,
        held=Held(served.held.version, served.held.held) if served.held else None,
        network=spec.model.model_dump(mode="json"),
        table=spec.table.model_dump(mode="json"),
        fields=[field.model_dump(mode="json") for field in spec.fields],
        experiment=split.traffic.experiment if split else None,
        arms=[_state(service.arms, weights, split) for weights in service.arms.weights.values()] if split else [],
    )


def _state(arms: Arms, weights: ServedWeights, split: Split) -> ArmState:
    name, share = weights.arm, split.shares.get(weights.arm, 0.0)
    state = ArmState(name, split.traffic.role(name), share, stale=not arms.answers(name, arms.control))
    if not weights.has_weights:
        return state
    header, staleness = weights.predictor.header, weights.staleness()
    return msgspec.structs.replace(
        state,
        version=header.version,
        digest=header.digest,
        examples=header.examples,
        trained_through=header.trained_through,
        staleness_seconds=staleness,
    )


@router.get("/healthz", **operation(Health, problems={503: "The server gets no new weights any more: restart it."}))
async def healthz(service: ServiceDep) -> Answer:
    """Return whether the server works: it answers, and its follower runs."""
    if not all(weights.followed for weights in service.arms.living.values()):
        return Answer(Problem("the follower has ended; the server's log says why"), 503)
    return Answer(Health("alive"))


@router.get("/readyz", **operation(Health, problems={503: "No weights yet, or older ones than the log held when the server started."}))
async def readyz(service: ServiceDep) -> Answer:
    """Return whether the weights are at least as new as those that the log held when the server started."""
    why = unready(service)
    return Answer(Problem(why), 503, {"Retry-After": "1"}) if why else Answer(Health("ready"))


def unready(service: Service) -> str | None:
    """Return why a model is not ready; None: it is."""
    try:
        version = service.served_weights.predictor.header.version
    except NoWeightsError as error:
        return str(error)
    return None if service.arms.caught_up() else f"catching up: version {version} so far"


@router.get("/v1/models", **operation(ServedModels))
async def models(service: ServiceDep) -> Answer:
    """Return the models of the server: this one."""
    why = unready(service)
    return Answer(ServedModels([ServedModel(service.name, why is None, why)]))
