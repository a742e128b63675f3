"""What somebody who means harm sends to a running server; each attack takes a few seconds and harms nobody else if the server holds."""

import random
import resource
import secrets
import socket
import struct
import time
from contextlib import ExitStack, suppress
from typing import Any

import httpx
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.core.result import Ok

from tests.hostile.keyed_site import SECOND, KeyedSite

HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
ELSEWHERE = ("127.0.0.2", 0)  # the attackers' address: what one address may do is bounded for it alone
MANY = 4 * SECOND  # requests at once


def odd_requests(site: KeyedSite, _: random.Random) -> None:
    """Send what schemathesis makes of the server's own description to every endpoint, with a key; no answer is a server's error but 503."""
    schema = schemathesis.openapi.from_url(f"{site.server}/openapi.json")
    for operation in (result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)):

        @settings(max_examples=3, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def send(case: schemathesis.Case[Any]) -> None:
            answer = case.call(timeout=10, headers={"Authorization": f"Bearer {site.other}"})
            assert answer.status_code < 500 or answer.status_code == 503, f"{case.method} {case.path}: {answer.status_code} {answer.text}"
            assert case.method != "DELETE" or answer.status_code >= 400, "who may not operate has forgotten a value"

        send()


def wrong_keys(site: KeyedSite, _: random.Random) -> None:
    """Come without a key, with made-up ones, with the id of the honest key and another secret, and with a key that lacks the role."""
    stolen = f"{site.honest.rsplit('_', 1)[0][:12]}_{secrets.token_urlsafe(32)}"
    tried = [None, "x", "sml_00000000_" + "A" * 43, *[stolen] * 20, "eyJhbGciOiJub25lIn0.e30."]
    with httpx.Client(base_url=site.server, timeout=30) as client:
        for key in tried:
            headers = {} if key is None else {"Authorization": f"Bearer {key}"}
            answer = client.post("/v1/predict", json={"candidates": [{"id": "a", "user": "u1"}]}, headers=headers)
            assert answer.status_code in {401, 429}, f"{key}: {answer.status_code} {answer.text}"
            site.answered_429 += answer.status_code == 429
        for method, path in (("GET", "/metrics"), ("GET", "/v1/model"), ("DELETE", "/v1/users/u1")):
            assert client.request(method, path, headers={"X-API-Key": site.other}).status_code in {403, 429}


def other_sites(site: KeyedSite, _: random.Random) -> None:
    """Come as a web page does: under the name of another host, or from another site, with the key that a browser might have."""
    key = {"Authorization": f"Bearer {site.other}"}
    with httpx.Client(base_url=site.server, timeout=30) as client:
        for host in ("evil.example", "127.0.0.1.evil.example", "localhost@evil.example"):
            assert client.post("/v1/predict", json={}, headers=key | {"Host": host}).status_code in {400, 421}
        for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
            assert client.post("/v1/impressions", json=[], headers=key | headers).status_code == 403


def slow_connections(site: KeyedSite, _: random.Random) -> None:
    """Open connections that say nothing, say it byte by byte, break in the middle, or are reset."""
    address = ("127.0.0.1", site.ports["serve"])
    with ExitStack() as stack:
        opened = [stack.enter_context(socket.create_connection(address, timeout=5, source_address=ELSEWHERE)) for _ in range(40)]
        for byte in HEAD[:60]:
            for each in opened[:20]:
                with suppress(OSError):
                    each.send(bytes([byte]))
            time.sleep(0.02)
        for each in opened[20:30]:
            with suppress(OSError):
                each.send(HEAD + b"{")
        for each in opened[30:]:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closes by a reset


def flood_of_connections(site: KeyedSite, _: random.Random) -> None:
    """Open more connections at once than one address may have, and close them."""
    with ExitStack() as stack:
        for _each in range(600):
            with suppress(OSError):
                stack.enter_context(socket.create_connection(("127.0.0.1", site.ports["serve"]), timeout=1, source_address=ELSEWHERE))


def flood_of_requests(site: KeyedSite, _: random.Random) -> None:
    """Ask with one key for more than it may, all at once: each is answered, and some are refused."""
    body = b'{"candidates": [{"id": "a", "user": "u1"}]}'
    head = f"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: {site.other}\r\nContent-Length: {len(body)}\r\n"
    requests = (head.encode() + b"Content-Type: application/json\r\n\r\n" + body) * (MANY - 1)
    requests += head.encode() + b"Content-Type: application/json\r\nConnection: close\r\n\r\n" + body
    with socket.create_connection(("127.0.0.1", site.ports["serve"]), timeout=60, source_address=ELSEWHERE) as connection:
        connection.sendall(requests)
        answers = b"".join(iter(lambda: connection.recv(65_536), b""))
    codes = [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]]
    assert len(codes) == MANY, f"{MANY} requests had {len(codes)} answers"
    assert set(codes) <= {b"200", b"429"}, set(codes)
    site.answered_429 += codes.count(b"429")


def large_bodies(site: KeyedSite, _: random.Random) -> None:
    """Send bodies that are too long, too deep, say a thing twice, or hold a number of a million digits."""
    key = {"Authorization": f"Bearer {site.other}", "Content-Type": "application/json"}
    digits, deep = b'{"candidates": [{"price": 1' + b"0" * 1_000_000 + b"}]}", b'{"candidates": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    bodies = (b" " * 3_000_000, digits, deep, b'{"candidates": [], "candidates": [{}]}', b"\xff" * 100, b"")
    with httpx.Client(base_url=site.server, timeout=30) as client:
        for body in bodies:
            with suppress(httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):  # refused while the body still comes
                assert 400 <= client.post("/v1/predict", content=body, headers=key).status_code < 500


def few_files(site: KeyedSite, chance: random.Random) -> None:
    """Let the server open no more than 64 files while connections flood in, then as many as before."""
    server = site.processes["serve"].pid
    before = resource.prlimit(server, resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    try:
        flood_of_connections(site, chance)
    finally:
        resource.prlimit(server, resource.RLIMIT_NOFILE, before)
