"""``sml simulate``: send traffic from a simulated site, and compare the predictions served with the best possible."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from service.commands.own_key import key_header
from service.commands.simulation.site import SCENARIOS, Site
from service.commands.simulation.traffic import ANSWER_TIMEOUT, MAX_REQUESTS, Traffic
from service.settings import Settings


def simulate(
    settings: Settings,
    *,
    url: str | None = None,
    rate: float = 150,
    seed: int = 0,
    duration: float | None = None,
    scenario: str = "page",
) -> dict[str, Any]:
    """Send traffic until SIGINT or SIGTERM, or for ``duration`` seconds, and return its figures.

    Args:
        settings: Where the server is, without ``url``.
        url: The server's address.
        rate: Visits a second, in the mean of a day.
        seed: The seed of the site.
        duration: Seconds.
        scenario: What site it is.
    """
    site = Site(seed, rate, SCENARIOS[scenario])
    return asyncio.run(_simulate(url or settings.serve.url, site, duration, settings.join.decided_after))


async def _simulate(url: str, site: Site, duration: float | None, decided_after: float) -> dict[str, Any]:
    limits = httpx.Limits(max_connections=MAX_REQUESTS, max_keepalive_connections=MAX_REQUESTS)
    async with httpx.AsyncClient(base_url=url, timeout=ANSWER_TIMEOUT, limits=limits, headers=key_header()) as client:
        traffic = Traffic(client, site, decided_after)
        with _stopped_by_signals(traffic):
            await traffic.run(duration)
    return traffic.result()


@contextmanager
def _stopped_by_signals(traffic: Traffic) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, traffic.stop)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
