"""What somebody who means harm does to a running site; each attack takes a few seconds and harms nobody else if the site holds."""

import json
import random
import resource
import socket
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.core.result import Ok

from stream.events import Click, Example, Impression, encode
from stream.log.connect import connect
from stream.log.contract import Message
from tests.site import Site

Attack = Callable[[Site, random.Random], None]
HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"


def odd_requests(site: Site, _: random.Random) -> None:
    """Send what schemathesis makes of the server's own description to every endpoint; no answer is a server's error but 503."""
    url = f"http://127.0.0.1:{site.ports['serve']}"
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    for operation in (result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)):

        @settings(max_examples=4, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def send(case: schemathesis.Case[Any]) -> None:
            answer = case.call(timeout=10)
            assert answer.status_code < 500 or answer.status_code == 503, f"{case.method} {case.path}: {answer.status_code} {answer.text}"

        send()


def odd_records(site: Site, chance: random.Random) -> None:
    """Write broken records into every topic that people write to, and among the weights."""
    now = int(time.time() * 1000)
    name = f"odd-{chance.getrandbits(40)}"
    good = {
        site.topics.impressions: encode(Impression(name, now, {"user": "u1", "price": 1})),
        site.topics.clicks: encode(Click(name, now)),
        site.topics.examples: encode(Example(name, now, {"user": "u1", "price": 1}, 1)),
    }
    messages = [Message(topic, name.encode(), broken(value, chance)) for topic, value in good.items() for _ in range(20)]
    messages += [Message(topic, None, chance.randbytes(50)) for topic in (site.topics.dead_letters, site.topics.weights)]
    with connect(site.url) as log:
        log.append(messages)


def broken(value: bytes, chance: random.Random) -> bytes:
    """Return a record that is cut, flipped, or says something else than it should in one of its fields."""
    how = chance.randrange(3)
    if how == 0:
        return value[: chance.randrange(len(value))]
    if how == 1:
        at = chance.randrange(len(value))
        return value[:at] + bytes([value[at] ^ (1 << chance.randrange(8))]) + value[at + 1 :]
    record = json.loads(value)
    odd: list[Any] = [None, -1, 1e308, "", "x" * 5000, [], {}, [[[[]]]], True, 10**30, 4_102_444_800_000]
    return json.dumps(record | {chance.choice(list(record)): chance.choice(odd)}).encode()


def slow_connections(site: Site, _: random.Random) -> None:
    """Open connections that say nothing, say it byte by byte, break in the middle, or are reset."""
    address = ("127.0.0.1", site.ports["serve"])
    with ExitStack() as stack:
        opened = [stack.enter_context(socket.create_connection(address, timeout=5)) for _ in range(40)]
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


def flood(site: Site, _: random.Random) -> None:
    """Open many connections at once, and close them."""
    with ExitStack() as stack:
        for _each in range(200):
            with suppress(OSError):
                stack.enter_context(socket.create_connection(("127.0.0.1", site.ports["serve"]), timeout=1))


def few_files(site: Site, chance: random.Random) -> None:
    """Let the server open no more than 64 files while connections flood in, then as many as before."""
    server = site.processes["serve"].pid
    before = resource.prlimit(server, resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    try:
        flood(site, chance)
    finally:
        resource.prlimit(server, resource.RLIMIT_NOFILE, before)


def damaged_checkpoint(site: Site, chance: random.Random) -> None:
    """Kill the learner, cut its newest checkpoint or flip a bit of it, and start the learner again."""
    site.kill("learn")
    files = [path for path in (site.folder / "data" / "checkpoints").rglob("*") if path.is_file() and path.stat().st_size]
    assert files, "no checkpoint was written"
    newest = max(files, key=lambda path: path.stat().st_mtime)
    content = newest.read_bytes()
    at = chance.randrange(len(content))
    newest.write_bytes(content[:at] if chance.random() < 0.5 else content[:at] + bytes([content[at] ^ 16]) + content[at + 1 :])
    site.start("learn")
    site.wait_for(lambda: site.get("learn", "/metrics").is_success, "the learner", 60)


ATTACKS: tuple[Attack, ...] = (odd_requests, odd_records, slow_connections, flood, few_files, damaged_checkpoint)
