"""``sml simulate``: send traffic from a simulated site, and compare the predictions served with the best possible.

Each visit asks ``/v1/predict`` for its candidates, which logs the impressions; each click follows after its delay.
"""

import asyncio
import heapq
import math
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import typer

from service.commands.simulated_site import CANDIDATES, Scoreboard, Site, Visit
from service.own_key import key_header
from service.settings import Settings

MAX_REQUESTS = 32  # at once
CLICKS_EVERY = 0.1  # seconds between deliveries of clicks
RETRY_EVERY = 0.5  # seconds between attempts while the server is away
ANSWER_TIMEOUT = 10.0  # seconds


def simulate(
    settings: Settings, *, url: str | None = None, rate: float = 150, seed: int = 0, duration: float | None = None
) -> dict[str, Any]:
    """Send traffic until SIGINT or SIGTERM, or for ``duration`` seconds, and return its figures.

    Args:
        settings: Where the server is, without ``url``.
        url: The server's address.
        rate: Visits a second.
        seed: The seed of the site.
        duration: Seconds.
    """
    return asyncio.run(_simulate(url or settings.serve.url, Site(seed, rate), rate, duration, settings.join.decided_after))


async def _simulate(url: str, site: Site, rate: float, duration: float | None, decided_after: float) -> dict[str, Any]:
    limits = httpx.Limits(max_connections=MAX_REQUESTS, max_keepalive_connections=MAX_REQUESTS)
    async with httpx.AsyncClient(base_url=url, timeout=ANSWER_TIMEOUT, limits=limits, headers=key_header()) as client:
        traffic = Traffic(client, site, rate, decided_after)
        with _stopped_by_signals(traffic):
            await traffic.run(duration)
    return traffic.result()


@contextmanager
def _stopped_by_signals(traffic: "Traffic") -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, traffic.stop)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


class Traffic:
    """The visits of a site, sent to the server; a label is learned ``decided_after`` seconds after its impression."""

    def __init__(self, client: httpx.AsyncClient, site: Site, rate: float, decided_after: float = 0.0) -> None:
        """Prepare; nothing is sent before :meth:`run`."""
        self._client, self._site, self._rate, self._decided_after = client, site, rate, decided_after
        self._first_decided: float | None = None  # when the first label is, by the monotonic clock
        self._scores = Scoreboard()
        self._stop = asyncio.Event()
        self._free = asyncio.Semaphore(MAX_REQUESTS)
        self._clicks: list[tuple[int, str]] = []  # a heap of (epoch ms, impression id) of the clicks to come
        self._visits = self._clicked = self._failed = 0
        self._model: dict[str, Any] = {}

    def stop(self) -> None:
        """Stop soon."""
        self._stop.set()

    def result(self) -> dict[str, Any]:
        """Return the figures of the traffic."""
        compared = self._scores.compare()
        return {
            "visits": self._visits,
            "clicks": self._clicked,
            "failed": self._failed,
            "examples": self._model.get("examples"),
            "log_loss": compared and compared.served,
            "best_log_loss": compared and compared.best,
            "mean_log_loss": compared and compared.mean,
        }

    async def run(self, duration: float | None) -> None:
        """Wait for the server, then send visits at the rate, and their clicks."""
        await self._wait_for_server()
        ends = None if duration is None else time.monotonic() + duration
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._deliver_clicks())
            tasks.create_task(self._report())
            begun, number = time.monotonic(), 0
            while not self._stop.is_set() and (ends is None or time.monotonic() < ends):
                await self._sleep(begun + number / self._rate - time.monotonic())
                await self._free.acquire()
                tasks.create_task(self._visit(self._site.visit()))
                number += 1
            self.stop()
        await self._send_clicks(until=None)

    async def _wait_for_server(self) -> None:
        waited = False
        while not self._stop.is_set():
            with suppress(httpx.TransportError):
                if (await self._client.get("/readyz")).is_success:
                    return
            if not waited:
                typer.echo(f"waiting for the server at {self._client.base_url}", err=True)
            waited = True
            await self._sleep(RETRY_EVERY)

    async def _visit(self, visit: Visit) -> None:
        try:
            response = await self._client.post("/v1/predict", json={"context": visit.context, "candidates": visit.candidates, "log": True})
            response.raise_for_status()
        except httpx.HTTPError:  # the server is away: this visitor was shown nothing
            self._failed += 1
            await self._sleep(RETRY_EVERY)
            return
        finally:
            self._free.release()
        self._visits += 1
        if self._first_decided is None:
            self._first_decided = time.monotonic() + self._decided_after
        predictions = response.json()["predictions"]
        self._scores.add([each["probability"] for each in predictions], visit)
        now = time.time()
        for each, clicked, delay in zip(predictions, visit.clicked, visit.delays, strict=True):
            if clicked:
                heapq.heappush(self._clicks, (int((now + delay) * 1000), each["impression_id"]))

    async def _deliver_clicks(self) -> None:
        while not self._stop.is_set():
            await self._send_clicks(until=int(time.time() * 1000))
            await self._sleep(CLICKS_EVERY)

    async def _send_clicks(self, until: int | None) -> None:
        """Send the clicks up to a time in epoch ms; None: all, those of the future as if they came now."""
        now = int(time.time() * 1000)
        due = []
        while self._clicks and (until is None or self._clicks[0][0] <= until):
            due.append(heapq.heappop(self._clicks))
        if not due:
            return
        clicks = [{"impression_id": impression_id, "time": min(at, now)} for at, impression_id in due]
        try:
            (await self._client.post("/v1/clicks", json=clicks)).raise_for_status()
            self._clicked += len(due)
        except httpx.HTTPError:  # a click that is sent twice counts once
            self._failed += 1
            for at, impression_id in due:
                heapq.heappush(self._clicks, (at, impression_id))

    async def _report(self) -> None:
        """Update one live line on a terminal; elsewhere print a line every few seconds."""
        live = sys.stderr.isatty()
        while not self._stop.is_set():
            await self._sleep(1 if live else 5)
            with suppress(httpx.HTTPError):
                self._model = (await self._client.get("/v1/model")).raise_for_status().json()
            if compared := self._scores.compare():
                with suppress(httpx.HTTPError):
                    await self._client.post("/v1/simulated", json={"best_log_loss": compared.best})
            # A line that wraps could not be erased.
            line = self._line()[: shutil.get_terminal_size().columns - 1] if live else self._line()
            typer.echo(f"\r\x1b[K{line}" if live else line, nl=not live, err=True)
        if live:
            typer.echo(err=True)

    def _line(self) -> str:
        compared = self._scores.compare()
        if compared is None:
            return "nobody was served yet"
        others = f"best possible {compared.best:.4f}, the mean {compared.mean:.4f}, last {compared.impressions:,} impressions"
        parts = [
            self._learned(),
            f"log loss {compared.served:.4f} ({others})",
            f"freshness {self._model.get('staleness_seconds', 0):.2f} s",
        ]
        return " | ".join(parts + ([f"{self._failed:,} failed"] if self._failed else []))

    def _learned(self) -> str:
        """Return how much is learned; until there is something, what it waits for."""
        examples = self._model.get("examples", 0)
        if examples or self._first_decided is None:
            return f"learned {examples:,}"
        left = math.ceil(self._first_decided - time.monotonic())
        when = f"in {left} s" if left > 0 else "now"
        return f"waiting for clicks: {self._visits * CANDIDATES:,} impressions, the first is decided {when}"

    async def _sleep(self, seconds: float) -> None:
        """Sleep, but no longer than until the stop."""
        if seconds > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), seconds)
