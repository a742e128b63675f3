"""What the endpoints work with, and how they get it."""

from collections.abc import Callable, Iterable
from typing import Annotated, NamedTuple

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from prometheus_client import CollectorRegistry

from service.api.answers import BadRequestError
from service.api.metrics import ServerMetrics
from service.api.served_weights import ServedWeights
from stream.event_time import FutureTimeError, TimeRule, TimeUnitError, iso
from stream.log.contract import Log, Message
from stream.log.topics import Topics
from stream.settings import format_duration


class Service(NamedTuple):
    """The collaborators of all endpoints."""

    live: ServedWeights
    log: Log
    topics: Topics
    metrics: ServerMetrics
    registry: CollectorRegistry
    rule: TimeRule
    clock: Callable[[], float]  # epoch seconds

    def now(self) -> int:
        """Return the time of the server's clock, in epoch ms."""
        return int(self.clock() * 1000)

    def check_times(self, events: Iterable[tuple[str, int]]) -> None:
        """Refuse events whose times the joiner would set aside: each has the path of its time in the body, and the time.

        Raises:
            BadRequestError: one is later than the server's clock allows, or in seconds.
        """
        now = self.now()
        for path, time in events:
            try:
                self.rule.check(time, now)
            except FutureTimeError as error:
                most = f"at most {format_duration(self.rule.clock_skew / 1000)} after the server's clock, {now} ({iso(now)})"
                raise BadRequestError(path, f"got {time} ({iso(time)}), expected {most}") from error
            except TimeUnitError as error:
                here = f"the server's clock is at {now} ({iso(now)})"
                raise BadRequestError(path, f"got {time} ({iso(time)}), expected {error.expected}; {here}") from error

    async def append(self, topic: str, values: list[tuple[str, bytes]]) -> None:
        """Write records, each with the impression id that is its key; return once the log has them for good."""
        await run_in_threadpool(self.log.append, [Message(topic, key.encode(), value) for key, value in values])
        self.metrics.events.labels(topic).inc(len(values))


# Both are ``async`` though they need not wait: FastAPI would run them in a thread otherwise.
async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def _body(request: Request) -> bytes:
    return await request.body()


ServiceDep = Annotated[Service, Depends(_service)]
Body = Annotated[bytes, Depends(_body)]
