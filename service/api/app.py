"""The HTTP service, built by one function from its collaborators.

Predictions are made on the event loop, each answer from one version of the weights; what waits for the log waits in threads.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from service.access.bounds.turns import Turns
from service.access.guard import Access, Guard
from service.api.arms import Arms
from service.api.choice import Explore
from service.api.dependencies import Service
from service.api.in_thread import in_thread
from service.api.messages import (
    Accepted,
    ExplainRequest,
    Explanations,
    Freshness,
    Health,
    ModelState,
    Predictions,
    PredictRequest,
    ServedModels,
)
from service.api.monitoring.experiment_metrics import ExperimentMetrics
from service.api.monitoring.frequent import Frequent
from service.api.monitoring.history import History
from service.api.monitoring.log_watch import EVERY, LogWatch
from service.api.monitoring.metrics import Measured, ServerMetrics
from service.api.openapi import schemas
from service.api.problems import handle
from service.api.routes import (
    console,
    docs,
    events,
    experiments,
    explain,
    freshness,
    history as history_route,
    inference,
    metrics as metrics_route,
    model,
    predict,
    users,
)
from service.api.served_weights import Follow
from stream.inputs.event_time import TimeRule
from stream.log.contract import Log
from stream.log.topics import Topics
from stream.settings import JoinSettings
from stream.traces import Tracing

ABOUT = """\
Click probabilities from weights that learn while they serve. Every answer names the version of the weights that gave it.

Ask `/v1/predict` for the candidates of one page and show what you like. Then send an impression for each one shown (or let `"log": true`
send it), and a click for each one clicked, both with the `impression_id` of the answer.
"""

_READING = (model, freshness, history_route, experiments, console, docs, metrics_route)
ROUTERS = [part.router for part in (predict, explain, events, users, *_READING, inference)]  # in the order of the document


def build(
    log: Log,
    topics: Topics,
    follow: Follow,
    registry: CollectorRegistry | None = None,
    *,
    rule: TimeRule | None = None,
    clock: Callable[[], float] = time.time,
    personal: Sequence[str] = (),
    access: Access | None = None,
    arms: Arms | None = None,
    explore: Explore = "epsilon",
    epsilon: float = 0.0,
    reports: Path | None = None,
    watch: LogWatch | None = None,
    first: Callable[[], None] | None = None,
    exported: Collector | None = None,
    name: str | None = None,
    tracing: Tracing | None = None,
) -> FastAPI:
    """Build the application.

    Args:
        log: Where impressions and clicks are written.
        topics: The topics of the model.
        follow: Hands new weights over; it runs in a thread for as long as the application.
        registry: The metrics of ``/metrics``; the server's own are added.
        rule: Which times of events are accepted; default: the rule of the default settings.
        clock: Returns epoch seconds, to compare those times with.
        personal: The fields that carry personal data: what is forgotten if a request names none.
        access: Who may do what, and how much; default: everybody everything, up to a body's size.
        arms: The models in service; default: one.
        explore: How choices explore.
        epsilon: Of the choices, how many are made at random; 0 unless ``explore`` is epsilon.
        reports: The folder in which reports of experiments are kept.
        watch: Looks at the log, in a thread, for the console; default: nothing does.
        first: Called in a thread while ``follow`` runs; requests come once it has returned.
        exported: What ``/metrics`` answers with; default: ``registry``.
        name: The model's; default: the prefix of its topics.
        tracing: Where spans go; default: nothing is traced.
    """
    arms, registry = arms or Arms(clock=clock), registry or CollectorRegistry()
    metrics = ServerMetrics(registry, arms)
    history = History(arms, metrics, watch, clock)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watching = in_thread(watch.run, "log watch", EVERY) if watch else nullcontext()  # it may be waiting for Kafka
        async with arms.following(follow), watching, history.sampling():
            if first:
                await asyncio.to_thread(first)
            yield

    app = FastAPI(
        title="SML Online",
        version=version("sml-online"),
        description=ABOUT,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    if reports is not None:
        registry.register(ExperimentMetrics(reports))
    app.state.service = Service(
        name=name or topics.prefix,
        arms=arms,
        log=log,
        topics=topics,
        metrics=metrics,
        exported=exported or registry,
        rule=rule or TimeRule.of(JoinSettings()),
        clock=clock,
        history=history,
        frequent=Frequent(log, topics.examples, personal),
        personal=personal,
        explore=explore,
        epsilon=epsilon,
        reports=reports,
        tracing=tracing,
    )
    app.state.turns = Turns(metrics.count_shed)
    app.add_middleware(Guard, access=access or Access.unlimited())
    app.add_middleware(Measured, metrics=metrics)
    if tracing:
        app.add_middleware(tracing.around)
    _add_routes(app, needs_key=access is not None and not access.callers.open)
    return app


def _add_routes(app: FastAPI, *, needs_key: bool) -> None:
    """Add the endpoints, the answers to what goes wrong in them, and the OpenAPI document of both."""
    for router in ROUTERS:
        app.include_router(router)
    handle(app, [route for router in ROUTERS for route in router.routes])
    app.openapi = cache(lambda: _described(app, needs_key=needs_key))  # type: ignore[method-assign]  # FastAPI's own way to extend it


def _described(app: FastAPI, *, needs_key: bool) -> dict[str, Any]:
    """Return the OpenAPI document, with the schemas of our structs, and how a client says who it is."""
    document = FastAPI.openapi(app)
    of_events, of_users = (events.Impressions, events.Clicks, Accepted), (users.Forgetting, users.Known)
    document.setdefault("components", {}).setdefault("schemas", {}).update(
        schemas(
            PredictRequest,
            Predictions,
            ExplainRequest,
            Explanations,
            *of_events,
            ModelState,
            history_route.Recorded,
            history_route.Values,
            history_route.Simulated,
            Freshness,
            experiments.Experiments,
            Health,
            ServedModels,
            *of_users,
            *inference.DESCRIBED,
        )
    )
    if needs_key:
        document["components"]["securitySchemes"] = {"key or token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key or token": []}]
    return document
