"""The answer to each named error."""

from collections.abc import Sequence
from functools import partial

from fastapi import FastAPI, Request
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Match, Route

from service.api.answers import Answer, BadRequestError, Problem
from service.api.served_weights import NoWeightsError
from stream.log.contract import LogError, RecordTooLargeError


def handle(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Make ``app``, which has these routes, answer errors with a :class:`~service.api.answers.Problem`."""
    app.exception_handler(BadRequestError)(_bad_request)
    app.exception_handler(RecordTooLargeError)(_too_large)
    app.exception_handler(NoWeightsError)(_unavailable)
    app.exception_handler(LogError)(_unavailable)
    app.exception_handler(ClientDisconnect)(_gone)
    app.exception_handler(405)(partial(_no_such_method, routes))


async def _bad_request(_: Request, error: BadRequestError) -> Answer:
    return Answer(Problem(error.reason, error.field), 422)


async def _too_large(_: Request, error: RecordTooLargeError) -> Answer:
    return Answer(Problem(str(error)), 413)


async def _unavailable(_: Request, error: NoWeightsError | LogError) -> Answer:
    return Answer(Problem(str(error)), 503, {"Retry-After": "1"})


async def _no_such_method(routes: Sequence[BaseRoute], request: Request, _: Exception) -> Answer:
    """Name every method that the path takes: Starlette names those of its first endpoint alone."""
    found = [route for route in routes if isinstance(route, Route) and route.matches(request.scope)[0] != Match.NONE]
    methods = sorted({method for route in found for method in route.methods or ()})
    return Answer(Problem(f"{request.method} is not among this path's methods: {', '.join(methods)}"), 405, {"Allow": ", ".join(methods)})


async def _gone(_: Request, _error: ClientDisconnect) -> Answer:
    return Answer(Problem("the client has gone before its request had come"), 400)  # nobody reads it; the metrics count it
