"""The answer to each named error."""

from collections.abc import Sequence
from functools import partial

from fastapi import FastAPI, Request
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Match, Route

from service.access.guard import path_of
from service.access.refusals import has_error_objects
from service.api.answers import Answer, BadRequestError, NotFoundError, Problem
from service.api.inference.messages import InferError
from service.api.served_weights import NoWeightsError
from stream.log.contract import LogError, RecordTooLargeError


def handle(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Make ``app``, which has these routes, answer errors with a :class:`~service.api.answers.Problem`."""
    app.exception_handler(BadRequestError)(_bad_request)
    app.exception_handler(NotFoundError)(_not_found)
    app.exception_handler(404)(_no_such_path)
    app.exception_handler(RecordTooLargeError)(_too_large)
    app.exception_handler(NoWeightsError)(away)
    app.exception_handler(LogError)(away)
    app.exception_handler(ClientDisconnect)(_gone)
    app.exception_handler(405)(partial(_no_such_method, routes))


async def _bad_request(request: Request, error: BadRequestError) -> Answer:
    if has_error_objects(path_of(request.scope)):
        return Answer(InferError(str(error)), 400)
    return Answer(Problem(error.reason, error.field), 422)


async def _not_found(request: Request, error: NotFoundError) -> Answer:
    return _problem(request, str(error), 404)


async def _no_such_path(request: Request, _: Exception) -> Answer:
    return _problem(request, "Not Found", 404)


async def _too_large(_: Request, error: RecordTooLargeError) -> Answer:
    return Answer(Problem(str(error)), 413)


async def away(request: Request, error: Exception) -> Answer:
    """Return the answer where what is asked for is not there now: weights, the log, a model."""
    return _problem(request, str(error), 503, {"Retry-After": "1"})


async def _no_such_method(routes: Sequence[BaseRoute], request: Request, _: Exception) -> Answer:
    """Name every method that the path takes: Starlette names those of its first endpoint alone."""
    found = [route for route in routes if isinstance(route, Route) and route.matches(request.scope)[0] != Match.NONE]
    methods = sorted({method for route in found for method in route.methods or ()})
    said = f"{request.method} is not among this path's methods: {', '.join(methods)}"
    return _problem(request, said, 405, {"Allow": ", ".join(methods)})


async def _gone(_: Request, _error: ClientDisconnect) -> Answer:
    return Answer(Problem("the client has gone before its request had come"), 400)  # nobody reads it; the metrics count it


def _problem(request: Request, detail: str, status: int, headers: dict[str, str] | None = None) -> Answer:
    content = InferError(detail) if has_error_objects(path_of(request.scope)) else Problem(detail)
    return Answer(content, status, headers)
