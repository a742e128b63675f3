"""The models of a server, each with a log, weights and an application of its own.

Nothing that one of them does, or can't do, holds up another: a log that is away when the server starts is asked for again and again, and
meanwhile that model's requests alone are refused.
"""

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from typing import NamedTuple, TypeAlias

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp, Receive, Scope, Send

from service.access.bounds.turns import Turns
from service.access.guard import path_of
from service.api.answers import NotFoundError
from service.api.dependencies import Service
from service.api.messages import ServedModel
from service.api.routes.model import unready
from stream.log.contract import LogError

logger = logging.getLogger(__name__)

RETRY = 2.0  # seconds before what could not be opened is opened again
PATIENCE = 60.0  # seconds that a server waits for models that are not ready before it says that the others are
_PATH = re.compile(r"/v([12])/models/([^/]+)(/.*)?")


class Opened(NamedTuple):
    """A model that serves."""

    app: FastAPI
    registry: CollectorRegistry  # its metrics

    @property
    def service(self) -> Service:
        """The collaborators of its endpoints."""
        service: Service = self.app.state.service
        return service


Opening: TypeAlias = Callable[[], AbstractContextManager[Opened]]


class AwayError(Exception):
    """A model can't be served now."""


class Models:
    """The models of a server, by name.

    Args:
        openings: Of each model what opens its log and makes its application; the first answers for paths that name none.
        clock: Seconds, of any beginning.
    """

    def __init__(self, openings: Mapping[str, Opening], clock: Callable[[], float] = time.monotonic) -> None:
        self._openings, self._clock, self._started = openings, clock, clock()
        self._away = dict.fromkeys(openings, "it is being opened")  # why
        self.opened: dict[str, Opened] = {}

    @property
    def first(self) -> str:
        """The model that paths without a name mean."""
        return next(iter(self._openings))

    def find(self, name: str) -> Opened:
        """Return a model.

        Raises:
            NotFoundError: there is none of this name.
            AwayError: it can't be served now.
        """
        if name not in self._openings:
            raise NotFoundError(f"model: got {name[:100]!r}, expected {' or '.join(map(repr, self._openings))}")
        if name not in self.opened:
            raise AwayError(f"model {name!r}: {self._away[name]}")
        return self.opened[name]

    def states(self) -> list[ServedModel]:
        """Return of each model whether its weights have caught up, and if not, why."""
        reasons = {name: unready(self.opened[name].service) if name in self.opened else self._away[name] for name in self._openings}
        return [ServedModel(name, reason is None, reason) for name, reason in reasons.items()]

    def unready(self) -> str | None:
        """Return why the server is not ready; models that are away are not waited for for long, where another is ready."""
        wanting = [f"{each.name}: {each.reason}" for each in self.states() if not each.ready]
        ready = len(wanting) < len(self._openings) and self._clock() - self._started > PATIENCE
        return None if ready or not wanting else "; ".join(wanting)

    @property
    def works(self) -> bool:
        """Whether a model gets new weights, or may yet."""
        return not self.opened or any(
            weights.followed for model in self.opened.values() for weights in model.service.arms.living.values()
        )  # fmt: skip

    @asynccontextmanager
    async def hosting(self) -> AsyncIterator[None]:
        """Open the models and keep them until the block ends."""
        threads = ThreadPoolExecutor(len(self._openings), "opening")  # those that all share would be taken by logs that don't answer
        async with asyncio.TaskGroup() as tasks:
            hosts = [tasks.create_task(self._host(name, opening, threads)) for name, opening in self._openings.items()]
            try:
                yield
            finally:
                for host in hosts:
                    host.cancel()
                threads.shutdown(wait=False)

    async def _host(self, name: str, opening: Opening, threads: ThreadPoolExecutor) -> None:
        while True:
            try:
                await self._serve(name, opening, threads)
            except LogError as error:
                self._note(name, str(error))
            except Exception:
                logger.exception("model %s has failed, and is opened again", name)
                self._away[name] = "it has failed; the server's log says why"
            await asyncio.sleep(RETRY)

    async def _serve(self, name: str, opening: Opening, threads: ThreadPoolExecutor) -> None:
        """Serve a model for ever.

        Raises:
            LogError: its log can't be reached, or lacks a topic.
        """
        with ExitStack() as stack:
            opened = await asyncio.get_running_loop().run_in_executor(threads, stack.enter_context, opening())
            async with opened.app.router.lifespan_context(opened.app):
                self.opened[name] = opened
                logger.info("model %s is served at /v1/models/%s and /v2/models/%s", name, name, name)
                try:
                    await asyncio.Event().wait()
                finally:
                    del self.opened[name]

    def _note(self, name: str, why: str) -> None:
        if self._away[name] != why:
            logger.warning("model %s can't be served yet: %s", name, why)
        self._away[name] = why


class ByName:
    """ASGI application that passes a request on to the model that its path names.

    ``/v1/models/NAME/predict`` is the model's ``/v1/predict``, and so on; paths of the Open Inference Protocol name their model already.

    Args:
        models: The models.
        front: What answers for all of them, and for those that are away; its own paths are ``own``.
        own: Returns whether a path is the front's.
        turns: What predictions wait for, those of all models for the same ones.
    """

    def __init__(self, models: Models, front: ASGIApp, own: Callable[[str], bool], turns: Turns) -> None:
        self._models, self._front, self._own, self.turns = models, front, own, turns

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._front(scope, receive, send)
            return
        path = path_of(scope)
        named = _PATH.fullmatch(path)
        name = named[2] if named else self._models.first
        if named and named[1] == "1":
            scope = {**scope, "path": f"{scope.get('root_path', '')}/v1{named[3] or '/model'}"}
        scope["model"] = name
        model = None if self._own(path) else self._models.opened.get(name)
        await (model.app if model else self._front)(scope, receive, send)
