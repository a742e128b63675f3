"""Under overload a server answers as many predictions as it can, soon, and the rest at once that there are too many."""

import contextlib
import socket
import time
from asyncio import AbstractEventLoop
from typing import cast

import httpx
import pytest
from starlette.types import Scope

from service.access.bounds.turns import LEAST, MOST_WAIT, Turns
from tests.service.access.serving import serving

BODY = b'{"candidates": [{"id": "a"}]}'
REQUEST = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return its time, in seconds."""
        return self.now


def queued(turns: Turns, client: str) -> int:
    """Let a client's requests wait until there are enough; return how many wait."""
    count = 0
    while not turns.is_full(client):
        turns.enter({}, client)
        count += 1
    return count


def after(each: float) -> Turns:
    """Return turns that have taken ``each`` seconds lately."""
    clock = Clock()
    turns, scopes = Turns(clock=clock), [{} for _ in range(200)]  # type: tuple[Turns, list[dict[str, object]]]
    for scope in scopes:
        turns.enter(scope, "a")
    for scope in scopes:
        turns.begin(scope)
        clock.now += each
    return turns


def test_as_many_wait_as_have_had_their_turn_within_the_bound() -> None:
    waiting = queued(after(0.0002), "a") + queued(after(0.0002), "b")

    assert abs(waiting * 0.0002 - MOST_WAIT) < 0.002


def test_however_long_a_turn_takes_a_few_may_wait() -> None:
    assert queued(after(0.5), "a") == LEAST


def test_one_client_takes_half_of_the_turns_and_what_stands_for_many_all() -> None:
    turns = after(0.002)

    assert queued(turns, "flood") == LEAST
    assert not turns.is_full("other")
    assert not turns.is_full("flood", alone=False)
    assert queued(turns, "other") == LEAST
    assert turns.is_full("third")
    assert turns.is_full("flood", alone=False)


def test_what_is_shed_is_answered_at_once_and_counted_and_its_connection_goes_on() -> None:
    with serving() as (port, site), contextlib.ExitStack() as opened:
        clients = [opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10)) for _ in range(60)]
        time.sleep(0.1)
        cast("AbstractEventLoop", site.app.state.service.served_weights._loop).call_soon_threadsafe(time.sleep, 0.5)
        time.sleep(0.1)
        for client in clients:
            client.sendall(REQUEST)
        answers = [client.recv(65_536) for client in clients]
        shed = [client for client, answer in zip(clients, answers, strict=True) if answer.startswith(b"HTTP/1.1 503 ")]

        assert 0 < len(shed) < len(clients) - LEAST + 1
        assert all(b"retry-after: 1\r\n" in answer for answer in answers if answer.startswith(b"HTTP/1.1 503 "))
        assert sum(answer.startswith(b"HTTP/1.1 200 ") for answer in answers) == len(clients) - len(shed)
        shed[0].sendall(REQUEST)
        assert shed[0].recv(65_536).startswith(b"HTTP/1.1 200 ")
        metrics = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        assert f'sml_server_requests_total{{route="/v1/predict",status="503"}} {len(shed)}.0' in metrics
        assert not site.app.state.turns._count


def test_requests_that_are_pipelined_wait_for_their_turns_too_and_are_shed_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    entered = 0
    enter = Turns.enter

    def count(turns: Turns, scope: Scope, client: str) -> None:
        nonlocal entered
        entered += 1
        enter(turns, scope, client)

    monkeypatch.setattr(Turns, "enter", count)
    monkeypatch.setattr(Turns, "is_full", lambda *_, **__: entered == 2)
    with serving() as (port, site), socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(REQUEST * 3 + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answers = b"".join(iter(lambda: client.recv(65_536), b""))
        statuses = [int(answer[:3]) for answer in answers.split(b"HTTP/1.1 ")[1:]]

        assert statuses == [200, 200, 503, 200]
        assert b"retry-after: 1\r\n" in answers
        assert not site.app.state.turns._count
        metrics = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        assert 'sml_server_requests_total{route="/v1/predict",status="503"} 1.0' in metrics
