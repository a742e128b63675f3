"""Requests that are tried again, until the time of the call is over, where that can do no harm.

A request that surely did not reach its endpoint (no connection, or 429) is always tried again; one that may have (503, a connection
that was reset), only where it counts once however often it comes. One that got no answer in time had all the time that was left. Between
two tries lies what ``Retry-After`` asks for, and a random part of a time that doubles, so that clients which failed together do not come
back together.
"""

import asyncio
import random
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import quote

import httpx2
import msgspec

from sml_online_client.errors import RefusedError, UnavailableError
from sml_online_client.messages import Problem

FIRST_WAIT, LONGEST_WAIT = 0.05, 2.0  # seconds, of which a random part is waited
IN_DOUBT = (httpx2.NetworkError, httpx2.RemoteProtocolError)
TOO_MANY_REQUESTS = 429
AWAY = frozenset({502, 503, 504})

Outcome = httpx2.Response | httpx2.RequestError


class Attempts:
    """When one call is tried again.

    Args:
        timeout: Seconds until it is given up.
        repeatable: Whether it counts once however often it comes.
    """

    def __init__(self, timeout: float, *, repeatable: bool) -> None:
        self._end, self._repeatable, self._wait = time.monotonic() + timeout, repeatable, FIRST_WAIT

    def left(self) -> float:
        """Return the seconds that are left."""
        return max(self._end - time.monotonic(), 0.001)

    def wait_after(self, outcome: Outcome) -> float:
        """Return the seconds after which to try again.

        Raises:
            RefusedError: the server does not take the request.
            UnavailableError: it can't be tried again, or not within the time that is left.
        """
        if isinstance(outcome, httpx2.Response):
            again, asked, why = self._of_answer(outcome)
        else:
            sure, doubtful = isinstance(outcome, httpx2.ConnectError), isinstance(outcome, IN_DOUBT)
            again, asked, why = sure or (doubtful and self._repeatable), 0.0, str(outcome) or type(outcome).__name__
        wait = asked + random.uniform(0, self._wait)  # noqa: S311 - it spreads clients
        if not again or wait >= self.left():
            raise UnavailableError(why, asked) from (outcome if isinstance(outcome, httpx2.RequestError) else None)
        self._wait = min(2 * self._wait, LONGEST_WAIT)
        return wait

    def _of_answer(self, answer: httpx2.Response) -> tuple[bool, float, str]:
        problem = _problem(answer)
        if answer.status_code != TOO_MANY_REQUESTS and answer.status_code not in AWAY:
            raise RefusedError(answer.status_code, problem.detail, problem.field)
        again = answer.status_code == TOO_MANY_REQUESTS or self._repeatable
        return again, _retry_after(answer.headers.get("retry-after", "")), f"{answer.status_code}: {problem.detail}"


class Calls:
    """Posts to a server.

    Args:
        url: Of the server.
        key: Of the API, or a token; None: the server is open.
        model: One of the server's models; None: its first.
        timeout: Seconds that a call may take, retries included.

    Raises:
        ValueError: the URL is none of HTTP.
    """

    def __init__(self, url: str, key: str | None, model: str | None, timeout: float) -> None:
        self._http, self._timeout = httpx2.Client(base_url=_base(url, model), headers=_headers(key)), timeout

    def post(self, path: str, body: bytes, headers: Mapping[str, str] | None = None, *, repeatable: bool = True) -> bytes:
        """Return the body of the answer.

        Raises:
            RefusedError: the server does not take the request.
            UnavailableError: there was no answer in time.
        """
        attempts = Attempts(self._timeout, repeatable=repeatable)
        while True:
            try:
                outcome: Outcome = self._http.post(path, content=body, headers=headers, timeout=attempts.left())
            except httpx2.RequestError as error:
                outcome = error
            if isinstance(outcome, httpx2.Response) and outcome.is_success:
                return outcome.content
            time.sleep(attempts.wait_after(outcome))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


class AsyncCalls:
    """:class:`Calls` for asyncio."""

    def __init__(self, url: str, key: str | None, model: str | None, timeout: float) -> None:
        self._http, self._timeout = httpx2.AsyncClient(base_url=_base(url, model), headers=_headers(key)), timeout

    async def post(self, path: str, body: bytes, headers: Mapping[str, str] | None = None, *, repeatable: bool = True) -> bytes:
        """Return the body of the answer.

        Raises:
            RefusedError: the server does not take the request.
            UnavailableError: there was no answer in time.
        """
        attempts = Attempts(self._timeout, repeatable=repeatable)
        while True:
            try:
                outcome: Outcome = await self._http.post(path, content=body, headers=headers, timeout=attempts.left())
            except httpx2.RequestError as error:
                outcome = error
            if isinstance(outcome, httpx2.Response) and outcome.is_success:
                return outcome.content
            await asyncio.sleep(attempts.wait_after(outcome))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


def _base(url: str, model: str | None) -> str:
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"url: got {url!r}, expected http://… or https://…")
    return f"{url.rstrip('/')}/v1" + ("" if model is None else f"/models/{quote(model, safe='')}")


def _headers(key: str | None) -> dict[str, str]:
    return {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key is not None else {})


def _problem(answer: httpx2.Response) -> Problem:
    """Return the server's reason; a proxy's answer is shown as it is."""
    try:
        return msgspec.json.decode(answer.content, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Problem(answer.text[:200] or answer.reason_phrase)


def _retry_after(value: str) -> float:
    """Return seconds: the header has them, or a date.

    >>> _retry_after("7"), _retry_after("Fri, 31 Dec 1999 23:59:59 GMT"), _retry_after("soon")
    (7.0, 0.0, 0.0)
    """
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return 0.0
    return max((at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds(), 0.0)
