"""The server's side of a connection, with the bounds that HTTP's layers above can't set: how many, how slow, how long a head.

uvicorn bounds only the time between two requests. Here a client that takes too long over a head, over a body, or over reading the answer
is answered 408 and disconnected; nothing is timed for each request, one look at all connections a second is enough.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from starlette.types import Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from service.access.addresses import Network, is_within
from service.access.bounds.limits import client_of
from service.access.bounds.turns import Turns, route_of
from service.access.refusals import problem

MAX_HEAD = 65_536  # bytes of a request line and headers that have not ended yet
MAX_FRAMING = 1_048_576  # bytes after a head that are not the body: sizes of its chunks, their extensions, trailers
TOO_MANY = "too many requests at once: try again"
LAST_REQUEST = 1.0  # seconds that an idle connection of a server that ends has for another request


class Bounds(NamedTuple):
    """How many clients may be connected, and how slow they may be."""

    connections: int
    receive_timeout: float  # seconds: for a head, for a body, and to take the answer
    proxies: tuple[Network, ...] = ()  # who may take all connections, not half of them


class BoundedProtocol(HttpToolsProtocol):
    """A connection within :class:`Bounds`."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        *,
        bounds: Bounds,
        clients: Counter[str],
        turns: Turns,
        _loop: Any = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.bounds, self.clients, self.turns = bounds, clients, turns
        self.address, self.is_proxy = "", False
        self.shed = False  # the request that is being received is not to wait for its turn
        self.deadline: float | None = None  # when what is being received must have come
        self.stuck_since: float | None = None  # since when the client takes no more of the answer
        self.head: int | None = 0  # bytes of the head that have come; None: it is complete
        self.framing = 0  # bytes that have come since, without the body
        self.ending = False  # the next answer is the last

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Take the connection, or answer that there are too many."""
        super().connection_made(transport)
        self.address = client_of(self.client[0]) if self.client else ""
        self.clients[self.address] += 1
        self._expect_head()
        most = self.bounds.connections
        self.is_proxy = bool(self.client and is_within(self.client[0], self.bounds.proxies))
        if not self.is_proxy:
            most = min(most, max(1, self.bounds.connections // 2))
        if self.clients[self.address] > most or len(self.connections) > self.bounds.connections:
            self.refuse(503, "too many connections", b"retry-after: 1\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        self.clients[self.address] -= 1
        if self.clients[self.address] <= 0:
            del self.clients[self.address]

    def data_received(self, data: bytes) -> None:
        """Take bytes, of a head only so many."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.head is None and self.deadline is None and (self.cycle is None or self.cycle.response_complete):
            self._expect_head()  # an empty line between two requests has ended uvicorn's wait for the next
        if self.head is not None:
            self.head += len(data)
            if self.head > MAX_HEAD:
                self.refuse(431, f"the head of a request holds more than {MAX_HEAD:,} bytes")
        elif self.deadline is not None:
            self.framing += len(data)
            if self.framing > MAX_FRAMING:
                self.refuse(400, f"the body is framed by more than {MAX_FRAMING:,} bytes")

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        if self.head is None:
            self._expect_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; not one that follows the body, which nobody reads."""
        if self.head is not None:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self.framing -= len(body)
        if not self.shed:
            super().on_body(body)

    def on_headers_complete(self) -> None:
        """End a head: its body is next."""
        self.framing = 0
        self.head, self.deadline = None, time.monotonic() + self.bounds.receive_timeout
        route = route_of(self.url)
        if route and (self.cycle is None or self.cycle.response_complete):  # a pipelined one waits for the one before it
            self.shed = self.turns.is_full(self.address, alone=not self.is_proxy)
            if self.shed:
                self.turns.refused(route)
                return
        super().on_headers_complete()
        if self.ending:
            self.cycle.keep_alive = False

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Begin a request, which waits for its turn from now on; one that was pipelined may be too many only now."""
        route = route_of(cycle.scope["raw_path"])
        if route and self.turns.is_full(self.address, alone=not self.is_proxy):
            self.turns.refused(route)
            app = _busy
        elif route:
            self.turns.enter(cycle.scope, self.address)  # type: ignore[arg-type]  # a dictionary, too
        super()._start_asgi_task(cycle, app)

    def on_message_complete(self) -> None:
        """End a request: now it is the server's turn."""
        self.deadline = None
        if self.shed:
            self._shed()
        else:
            super().on_message_complete()

    def sweep(self, now: float) -> None:
        """Disconnect a client that takes too long."""
        if self.deadline is not None and now > self.deadline:
            self.refuse(408, f"the request did not come within {self.bounds.receive_timeout:g} seconds")
        if not (self.flow.write_paused or self.transport.is_closing()):
            self.stuck_since = None
        elif self.stuck_since is None:
            self.stuck_since = now
        elif now > self.stuck_since + self.bounds.receive_timeout:
            self.transport.abort()

    def shutdown(self) -> None:
        """Let the next answer be the last, and say so in it: to disconnect at once would lose a request that is on its way."""
        self.ending = True
        if self.cycle is not None:
            self.cycle.keep_alive = False
        self.loop.call_later(LAST_REQUEST, self._end_unless_asked)

    def _end_unless_asked(self) -> None:
        """Disconnect, unless a request has come: its answer does so."""
        if not self.shed and (self.cycle is None or self.cycle.response_complete):
            self.transport.close()

    def refuse(self, status: int, detail: str, headers: bytes = b"") -> None:
        """Answer what no endpoint sees, unless an answer has begun, and disconnect."""
        self.deadline = None
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self._write(status, detail, headers + b"connection: close\r\n")
        self.transport.close()

    def _shed(self) -> None:
        """Answer that there are too many requests, and stay connected: to connect again would cost both sides more than the answer."""
        keep = self.parser.should_keep_alive() and not self.ending
        self.shed = False
        if self.transport.is_closing():
            return
        self._write(503, TOO_MANY, b"retry-after: 1\r\n" + (b"" if keep else b"connection: close\r\n"))
        if keep:
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)
        else:
            self.transport.close()

    def _write(self, status: int, detail: str, headers: bytes) -> None:
        body = problem(detail)
        head = (STATUS_LINE[status], b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body), headers, b"\r\n")
        self.transport.write(b"".join((*head, body)))

    def _expect_head(self) -> None:
        self.head, self.deadline = 0, time.monotonic() + self.bounds.receive_timeout


async def _busy(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer a pipelined request that there are too many."""
    body = problem(TOO_MANY)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), (b"retry-after", b"1")]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def bounded(bounds: Bounds, turns: Turns) -> Callable[..., BoundedProtocol]:
    """Return what makes the connections of one server, for uvicorn's ``http``."""
    return partial(BoundedProtocol, bounds=bounds, clients=Counter(), turns=turns)


def sweeper(state: ServerState) -> Callable[[], None]:
    """Return what looks at all connections of a server once."""

    def sweep() -> None:
        now = time.monotonic()
        for connection in list(state.connections):
            if isinstance(connection, BoundedProtocol):
                connection.sweep(now)

    return sweep
