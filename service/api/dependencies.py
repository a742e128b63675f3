"""The collaborators of the endpoints, as FastAPI's dependencies."""

from collections.abc import Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute
from prometheus_client.registry import Collector

from service.api.answers import BadRequestError
from service.api.arms import Arms
from service.api.choice import Explore
from service.api.monitoring.frequent import Frequent
from service.api.monitoring.history import History
from service.api.monitoring.metrics import ServerMetrics
from service.api.served_weights import ServedWeights
from stream.inputs.event_time import FutureTimeError, TimeRule, TimeUnitError, check_unit, iso
from stream.log.contract import Log, Message
from stream.log.settings import format_duration
from stream.log.topics import Topics
from stream.traces import TRACEPARENT, Tracing


class Service(NamedTuple):
    """The collaborators of all endpoints."""

    name: str  # of the model
    arms: Arms
    log: Log
    topics: Topics
    metrics: ServerMetrics
    exported: Collector  # the metrics
    rule: TimeRule
    clock: Callable[[], float]  # epoch seconds
    history: History
    frequent: Frequent
    personal: Sequence[str]  # the fields that carry personal data
    explore: Explore
    epsilon: float  # of the choices, how many are made at random
    reports: Path | None  # where those of experiments are kept
    tracing: Tracing | None

    @property
    def served_weights(self) -> ServedWeights:
        """The weights in service: those of the arm in control."""
        return self.arms.control

    def now(self) -> int:
        """Return the time of the server's clock, in epoch ms."""
        return int(self.clock() * 1000)

    def check_times(self, events: Iterable[tuple[str, int]]) -> None:
        """Refuse events whose times the joiner would set aside.

        Args:
            events: Of each event the path of its time in the body, and the time in epoch ms.

        Raises:
            BadRequestError: a time is later than the server's clock allows, or in another unit.
        """
        self._check(events, self.rule.check)

    def time_of(self, asked: int | None) -> int:
        """Return the time that a request asks about, which may be any, or now.

        Raises:
            BadRequestError: it is in seconds.
        """
        if asked is None:
            return self.now()
        self._check([("time", asked)], check_unit)
        return asked

    def _check(self, events: Iterable[tuple[str, int]], check: Callable[[int, int], None]) -> None:
        now = self.now()
        for path, time in events:
            try:
                check(time, now)
            except FutureTimeError as error:
                latest = f"at most {format_duration(self.rule.clock_skew / 1000)} after the server's clock, {now} ({iso(now)})"
                raise BadRequestError(path, f"got {time} ({iso(time)}), expected {latest}") from error
            except TimeUnitError as error:
                clock = f"the server's clock is at {now} ({iso(now)})"
                raise BadRequestError(path, f"got {time} ({iso(time)}), expected {error.expected}; {clock}") from error

    async def append(self, topic: str, values: list[tuple[str, bytes]]) -> None:
        """Append records, given as pairs of an impression id, which becomes the key, and a value; return once the log has stored them."""
        context = self.tracing.current() if self.tracing else None
        headers = ((TRACEPARENT, context),) if context else ()
        await run_in_threadpool(self.log.append, [Message(topic, key.encode(), value, headers) for key, value in values])
        self.metrics.events.labels(topic).inc(len(values))


class Direct(APIRoute):
    """A route whose endpoint takes the request and nothing else, in which FastAPI would look for arguments for 0.06 ms."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the endpoint."""
        endpoint: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return endpoint


# Both are ``async`` though they never wait: FastAPI would run them in a thread otherwise.
async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def _body(request: Request) -> bytes:
    return await request.body()


ServiceDep = Annotated[Service, Depends(_service)]
Body = Annotated[bytes, Depends(_body)]
