"""What a server of several models says for all of them: health, metrics, the models; and why one of them can't answer."""

from collections.abc import Callable, Mapping
from typing import Annotated, NoReturn

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from service.access.bounds.turns import Turns
from service.access.guard import Access, Guard
from service.access.roles import CONSOLE
from service.api.answers import Answer, NotFoundError, Problem
from service.api.inference.messages import InferError, Live, Ready
from service.api.messages import Health, ServedModels
from service.api.monitoring.metrics import Measured, RequestMetrics
from service.api.problems import away, handle
from service.api.routes import console, inference
from service.api.several.hosting import AwayError, ByName, Models, Opening
from service.api.several.together import Together

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
OWN = CONSOLE | {"/", "/healthz", "/readyz", "/metrics", "/v1/models", "/v2", "/v2/health/live", "/v2/health/ready"}
_BROKEN = "no model gets new weights any more; the server's log says why"
_LATER = {"Retry-After": "1"}

router = APIRouter()


async def _models(request: Request) -> Models:
    models: Models = request.app.state.models
    return models


ModelsDep = Annotated[Models, Depends(_models)]


@router.get("/healthz")
async def healthz(models: ModelsDep) -> Answer:
    """Return whether the server works: a model gets new weights, or may yet."""
    return Answer(Health("alive")) if models.works else Answer(Problem(_BROKEN), 503)


@router.get("/v2/health/live")
async def live(models: ModelsDep) -> Answer:
    """Return the same, as the protocol has it."""
    return Answer(Live(live=True)) if models.works else Answer(InferError(_BROKEN), 503)


@router.get("/readyz")
async def readyz(models: ModelsDep) -> Answer:
    """Return whether every model has caught up, or has been waited for for long enough."""
    why = models.unready()
    return Answer(Problem(why), 503, _LATER) if why else Answer(Health("ready"))


@router.get("/v2/health/ready")
async def ready(models: ModelsDep) -> Answer:
    """Return the same, as the protocol has it."""
    why = models.unready()
    return Answer(InferError(why), 503, _LATER) if why else Answer(Ready(ready=True))


router.add_api_route("/v2", inference.server)


@router.get("/v1/models")
async def every(models: ModelsDep) -> Answer:
    """Return the models."""
    return Answer(ServedModels(models.states()))


@router.get("/metrics")
def metrics(request: Request) -> Response:
    """Return the metrics of all models."""
    return Response(generate_latest(request.app.state.together), media_type=CONTENT_TYPE_LATEST)


async def unserved(request: Request, models: ModelsDep) -> NoReturn:
    """Say why a model does not answer.

    Raises:
        NotFoundError: there is no such model, or no such path.
        AwayError: it can't be served now.
    """
    models.find(request.scope["model"])
    raise NotFoundError("Not Found")


def several(openings: Mapping[str, Opening], access: Access) -> ByName:
    """Return the application that serves these models, of which the first answers for paths that name none."""
    models, registry = Models(openings), CollectorRegistry()
    requests = RequestMetrics(registry)
    front = FastAPI(lifespan=lambda _: models.hosting(), openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    front.state.models, front.state.together = models, Together(registry, _registries(models, openings))
    front.add_middleware(Guard, access=access)
    front.add_middleware(Measured, metrics=requests)
    front.include_router(router)
    front.include_router(console.router)
    handle(front, [*router.routes, *console.router.routes])
    front.exception_handler(AwayError)(away)
    front.add_api_route("/{path:path}", unserved, methods=METHODS, response_model=None)  # last: what is the front's own comes before
    return ByName(models, front, OWN.__contains__, Turns(requests.count_shed))


def _registries(models: Models, names: Mapping[str, Opening]) -> Callable[[], Mapping[str, CollectorRegistry | None]]:
    return lambda: {name: models.opened[name].registry if name in models.opened else None for name in names}
