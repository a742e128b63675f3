"""A queue without length: of the predictions that wait for their turn on the event loop, only so many as are answered soon.

All work of a request is done in one go, so under overload requests would wait for one another, longer and longer. Who would have to wait
for too long is answered 503 instead, before anything is read of what it asks.
"""

import time
from collections import Counter
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

MOST_WAIT = 0.02  # seconds in which all that wait have had their turn
LEAST = 8  # that may wait, however long each takes: of one client; twice as many in all
_ROUTES = {  # what a path ends with, that of a model by its name, too → the label of its metrics
    b"/predict": "/v1/predict",
    b"/explain": "/v1/explain",
    b"/infer": "/v2/models/{model}/infer",
}
_TURN = "sml.turn"  # the entry of a request's scope: whose it is
_FIRST_GUESS = 0.001  # seconds
_MEMORY = 16  # turns


def route_of(target: bytes) -> str | None:
    """Return the label of a request that waits for its turn; None for all others.

    >>> route_of(b"/v1/predict"), route_of(b"/v1/models/ctr/predict?pretty"), route_of(b"/v1/clicks")
    ('/v1/predict', '/v1/predict', None)
    """
    path = target.partition(b"?")[0]
    return next((route for end, route in _ROUTES.items() if path.endswith(end)), None)


class Turns:
    """Which requests wait for their turn.

    Args:
        refused: Called with the route of a request that is not to wait.
        clock: Seconds.
    """

    def __init__(self, refused: Callable[[str], None] = lambda _: None, clock: Callable[[], float] = time.perf_counter) -> None:
        self.refused, self._clock = refused, clock
        self._waiting: Counter[str] = Counter()  # by client
        self._count = 0
        self._each, self._last = _FIRST_GUESS, 0.0  # seconds of a turn, when the last one began
        self._follows = False  # on the last turn one followed that was waiting for it

    def is_full(self, client: str, *, alone: bool = True) -> bool:
        """Return whether a client's request would wait for too long; what stands for many clients, not ``alone``, may take all turns."""
        most = max(2 * LEAST, MOST_WAIT / self._each)
        return self._count >= most or (alone and self._waiting[client] >= most / 2)

    def enter(self, scope: Scope, client: str) -> None:
        """Let a request wait."""
        scope[_TURN] = client
        self._waiting[client] += 1
        self._count += 1

    def begin(self, scope: Scope) -> None:
        """Begin a request's turn, if it was one of those that wait."""
        client, now = scope.pop(_TURN, None), self._clock()
        if client is None:
            return
        if self._follows:
            self._each += (max(now - self._last, 1e-6) - self._each) / _MEMORY
        self._count -= 1
        self._waiting[client] -= 1
        if not self._waiting[client]:
            del self._waiting[client]
        self._last, self._follows = now, self._count > 0


class InTurn:
    """ASGI middleware that begins a request's turn."""

    def __init__(self, app: ASGIApp, turns: Turns) -> None:
        self._app, self._turns = app, turns

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        self._turns.begin(scope)
        await self._app(scope, receive, send)
