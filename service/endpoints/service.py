"""What the endpoints work with, and how they get it."""

from typing import Annotated, NamedTuple

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from prometheus_client import CollectorRegistry

from service.live import Live
from service.metrics import ServerMetrics
from stream.log import Log, Message
from stream.topics import Topics


class Service(NamedTuple):
    """The collaborators of all endpoints."""

    live: Live
    log: Log
    topics: Topics
    metrics: ServerMetrics
    registry: CollectorRegistry

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
