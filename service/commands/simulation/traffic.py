"""The traffic of a simulated site: its visits, what they show, and the clicks on it.

Each visit asks ``/v1/predict`` for its candidates. Where all are shown, that logs the impressions; else the site writes those of the ones
that it shows, as they were served. Each click follows after its delay, with what it is worth.
"""

import asyncio
import heapq
import math
import random
import secrets
import shutil
import sys
import time
from contextlib import suppress
from typing import Any

import httpx
import typer

from service.commands.simulation.site import Comparison, Scoreboard, Site, Visit

MAX_REQUESTS = 32  # at once
CLICKS_EVERY = 0.1  # seconds between deliveries of clicks
RETRY_EVERY = 0.5  # seconds between attempts while the server is away
TRIES = 5  # of a request that the server is too busy for, each as late as Retry-After says
TOO_BUSY = {429, 503}
ANSWER_TIMEOUT = 10.0  # seconds


class Traffic:
    """The visits of a site, sent to the server; a label is learned ``decided_after`` seconds after its impression."""

    def __init__(self, client: httpx.AsyncClient, site: Site, decided_after: float = 0.0) -> None:
        """Prepare; nothing is sent before :meth:`run`."""
        self._client, self._site, self._decided_after = client, site, decided_after
        self._first_decided: float | None = None  # when the first label is, by the monotonic clock
        self._scores = Scoreboard()
        self._arms: dict[str, Scoreboard] = {}  # of what each arm has served
        self._stop = asyncio.Event()
        self._free = asyncio.Semaphore(MAX_REQUESTS)
        self._clicks: list[tuple[int, str, float]] = []  # a heap of (epoch ms, impression id, value) of the clicks to come
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
            "arms": {arm: {"log_loss": each.served, "value_per_impression": each.value} for arm, each in self._by_arm()},
        }

    async def run(self, duration: float | None) -> None:
        """Wait for the server, then send visits at the rate, and their clicks."""
        await self._wait_for_server()
        ends = None if duration is None else time.monotonic() + duration
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._deliver_clicks())
            tasks.create_task(self._report())
            begun = time.monotonic()
            while not self._stop.is_set() and (ends is None or time.monotonic() < ends):
                visit = self._site.visit()
                await self._sleep(begun + visit.time - time.monotonic())
                await self._free.acquire()
                tasks.create_task(self._visit(visit))
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
            answer, shown = await self._show(visit)
        except httpx.HTTPError:  # the server is away: this visitor was shown nothing
            self._failed += 1
            await self._sleep(RETRY_EVERY)
            return
        finally:
            self._free.release()
        self._visits += 1
        if self._first_decided is None:
            self._first_decided = time.monotonic() + self._decided_after
        predictions, visit = [answer["predictions"][c] for c in shown], visit.only(shown)
        for scores in (self._scores, *self._of_arm(answer)):
            scores.add([each["probability"] for each in predictions], visit)
        now = time.time()
        for each, clicked, delay, value in zip(predictions, visit.clicked, visit.delays, visit.values, strict=True):
            if clicked:
                heapq.heappush(self._clicks, (int((now + delay) * 1000), each["impression_id"], float(value)))

    async def _show(self, visit: Visit) -> tuple[dict[str, Any], list[int]]:
        """Ask for predictions, and log what is shown; return the answer, and which candidates that are."""
        log = self._site.scenario.shown == self._site.scenario.candidates
        body = {"context": visit.context, "candidates": visit.candidates, "log": log}
        answer = (await self._post("/v1/predict", body)).json()
        shown = self._site.show(visit, [each["probability"] for each in answer["predictions"]])
        if not log:
            now = int(time.time() * 1000)
            impressions = [_impression(answer, visit, candidate, now) for candidate in shown]
            await self._post("/v1/impressions", impressions)
        return answer, shown

    async def _post(self, path: str, body: Any) -> httpx.Response:
        """Send a request, and again while the server is too busy for it, as it asks.

        Raises:
            httpx.HTTPError: the server is away, too busy for too long, or refuses.
        """
        key = {"Idempotency-Key": secrets.token_hex(8)}  # of a visit that is asked for again, the impressions are the same
        for left in reversed(range(TRIES)):
            answer = await self._client.post(path, json=body, headers=key)
            if answer.status_code not in TOO_BUSY or not left or self._stop.is_set():
                break
            asked = answer.headers.get("Retry-After", "")
            wait = min(float(asked), ANSWER_TIMEOUT) if asked.isdecimal() else RETRY_EVERY
            await self._sleep(wait * random.uniform(1, 1.5))  # noqa: S311 - it spreads those that came together
        return answer.raise_for_status()

    def _of_arm(self, answer: dict[str, Any]) -> list[Scoreboard]:
        arm = answer.get("served", {}).get("arm")
        return [self._arms.setdefault(arm, Scoreboard())] if arm else []

    def _by_arm(self) -> list[tuple[str, Comparison]]:
        return [(arm, compared) for arm, scores in sorted(self._arms.items()) if (compared := scores.compare())]

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
        clicks = [{"impression_id": impression_id, "time": min(at, now), "value": value} for at, impression_id, value in due]
        try:
            await self._post("/v1/clicks", clicks)
            self._clicked += len(due)
        except httpx.HTTPError:  # a click that is sent twice counts once
            self._failed += 1
            for click in due:
                heapq.heappush(self._clicks, click)

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
            *(f"{arm} {each.served:.4f}, worth {each.value:.3f} an impression" for arm, each in self._by_arm()),
            f"freshness {self._model.get('staleness_seconds', 0):.2f} s",
        ]
        return " | ".join(parts + ([f"failed requests: {self._failed:,}"] if self._failed else []))

    def _learned(self) -> str:
        """Return how much is learned; until there is something, what it waits for."""
        examples = self._model.get("examples", 0)
        if examples or self._first_decided is None:
            return f"learned {examples:,}"
        left = math.ceil(self._first_decided - time.monotonic())
        when = f"in {left} s" if left > 0 else "now"
        return f"waiting for clicks: {self._visits * self._site.scenario.shown:,} impressions, the first is decided {when}"

    async def _sleep(self, seconds: float) -> None:
        """Sleep, but no longer than until the stop."""
        if seconds > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), seconds)


def _impression(answer: dict[str, Any], visit: Visit, candidate: int, now: int) -> dict[str, Any]:
    """Return the impression of a candidate, as it was served."""
    prediction, shown = answer["predictions"][candidate], visit.context | visit.candidates[candidate]
    served = answer.get("served", {}) | {"version": answer["version"], "probability": prediction["probability"]}
    features = {name: value for name, value in shown.items() if name != "id"}
    return {"impression_id": prediction["impression_id"], "time": now, "features": features, "served": served}
