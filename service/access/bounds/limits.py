"""How much one caller may ask for: a token bucket, and the requests in flight. A flood is answered 429, and is nobody else's."""

import functools
import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass

MAX_CALLERS = 10_000  # remembered at once; the longest known that asks for nothing now is forgotten first


@dataclass(slots=True)
class _Allowance:
    left: float  # requests that may come at once
    at: float  # when that was so
    in_flight: int = 0


class Allowances:
    """What is left to each caller.

    Args:
        rate: Requests a second.
        burst: Requests at once.
        in_flight: Requests that are being answered at one time.
        clock: Seconds.
    """

    def __init__(self, rate: float, burst: float, in_flight: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._in_flight, self._clock = rate, burst, in_flight, clock
        self._callers: dict[str, _Allowance] = {}

    def enter(self, name: str) -> float:
        """Begin a request, which :meth:`leave` ends, and return 0; or return the seconds after which to try again, never 0."""
        allowance, now = self._callers.get(name), self._clock()
        if allowance is None:
            allowance = self._new(name, now)
        left = min(self._burst, allowance.left + (now - allowance.at) * self._rate)
        allowance.left, allowance.at = left, now
        if left < 1:
            return (1 - left) / self._rate
        if allowance.in_flight >= self._in_flight:
            return 1.0
        allowance.left = left - 1
        allowance.in_flight += 1
        return 0.0

    def leave(self, name: str, *, refund: bool = False) -> None:
        """End a request; with ``refund`` as if it had not come."""
        allowance = self._callers.get(name)
        if allowance:
            allowance.in_flight -= 1
            allowance.left += refund

    def _new(self, name: str, now: float) -> _Allowance:
        if len(self._callers) >= MAX_CALLERS:
            idle = next((each for each, allowance in self._callers.items() if not allowance.in_flight), None)
            if idle is not None:
                del self._callers[idle]
        self._callers[name] = allowance = _Allowance(self._burst, now)
        return allowance


@functools.lru_cache(4096)
def client_of(address: str) -> str:
    """Return what counts as one client: an IPv4 address, or the /64 of an IPv6 address, for one subscriber has all of those.

    >>> client_of("2001:db8::1") == client_of("2001:db8::2"), client_of("192.0.2.1")
    (True, '192.0.2.1')
    """
    if ":" not in address:
        return address
    try:
        return str(ipaddress.ip_network((address.partition("%")[0], 64), strict=False))
    except ValueError:
        return address
