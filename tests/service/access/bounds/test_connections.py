"""Slow, silent and too many clients, on real sockets: each is answered and let go, and honest ones are served meanwhile."""

import contextlib
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.server_settings import LimitSettings
from tests.service.access.serving import serving

LIMITS = LimitSettings(receive_timeout=1.0, connections=10)
BODY = b'{"candidates": [{"id": "a"}]}'


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving(limits=LIMITS) as (port, _):
        yield port


@contextlib.contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        yield connection


def rest(connection: socket.socket) -> bytes:
    """Return what comes until the server disconnects."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65_536):
            received += piece
    return received


def ok(port: int) -> bool:
    return httpx.post(f"http://127.0.0.1:{port}/v1/predict", content=BODY).status_code == 200


def test_a_client_that_says_nothing_is_let_go(port: int) -> None:
    with connected(port) as silent:
        start = time.monotonic()

        assert rest(silent).startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - start < 4


@pytest.mark.parametrize(
    "sent",
    [
        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nX-",
        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n",
    ],
)
def test_a_client_that_drips_a_head_or_a_body_is_let_go(port: int, sent: bytes) -> None:
    with connected(port) as slow:
        slow.sendall(sent)
        start = time.monotonic()
        slow.settimeout(0.2)
        received = b""
        while not received and time.monotonic() - start < 6:
            with contextlib.suppress(TimeoutError):
                received = slow.recv(65_536)
            with contextlib.suppress(OSError):
                slow.sendall(b"x")

        assert received.startswith(b"HTTP/1.1 408 ")
        assert b"did not come within 1 seconds" in received
    assert ok(port)


def test_a_client_that_stays_connected_between_requests_is_not_slow(port: int) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        for _ in range(3):
            assert client.post("/v1/predict", content=BODY).status_code == 200
            time.sleep(1.2)


def test_an_empty_line_after_an_answer_is_the_beginning_of_a_head(port: int) -> None:
    with connected(port) as quiet:
        quiet.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert quiet.recv(65_536).startswith(b"HTTP/1.1 ")
        time.sleep(0.2)
        quiet.sendall(b"\r\n")
        start = time.monotonic()

        assert rest(quiet).startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - start < 4


def test_an_empty_line_before_the_next_request_does_no_harm(port: int) -> None:
    with connected(port) as odd:
        for _ in range(3):
            odd.sendall(b"\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert odd.recv(65_536).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_never_takes_its_answers_is_let_go(port: int) -> None:
    many = b'{"candidates": [' + b",".join(b'{"id": "%d"}' % n for n in range(1000)) + b"]}"
    request = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(many), many)
    with connected(port) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.settimeout(0.5)
        start, gone = time.monotonic(), False
        while not gone and time.monotonic() - start < 15:
            try:
                deaf.send(request)
            except TimeoutError:
                pass
            except OSError:
                gone = True

    assert gone
    assert ok(port)


def test_one_address_takes_half_of_the_connections_at_most(port: int) -> None:
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connected(port)) for _ in range(6)]

        assert rest(connections[5]).startswith(b"HTTP/1.1 503 ")
        connections[0].sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connections[0].recv(1000).startswith(b"HTTP/1.1 200 ")


def test_a_head_without_an_end_is_refused(port: int) -> None:
    with connected(port) as endless:
        endless.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        with contextlib.suppress(OSError):
            for _ in range(40):
                endless.sendall(b"X-A: " + b"a" * 8_000 + b"\r\n")
                time.sleep(0.002)

        assert b"HTTP/1.1 431 " in rest(endless)
    assert ok(port)


CHUNKED = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (b"0\r\n", (b"X-A: " + b"a" * 60 + b"\r\n") * 1_000),
        (b"0\r\nX-A: ", b"a" * 65_536),
        (b"5;a=", b"a" * 65_536),
        (b"", b"1;a\r\n \r\n" * 8_192),
    ],
    ids=["trailers", "one trailer", "an extension", "small chunks"],
)
def test_what_frames_a_body_without_an_end_is_refused_and_kept_nowhere(port: int, begin: bytes, piece: bytes) -> None:
    def memory() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    before = memory()
    with connected(port) as endless:
        endless.sendall(CHUNKED + begin)
        sent = 0
        with contextlib.suppress(OSError):
            while sent < 200_000_000:
                endless.sendall(piece)
                sent += len(piece)

        assert sent < 20_000_000  # what the sockets of both ends hold, too
        assert memory() - before < 20_000_000
    assert ok(port)


def test_a_body_in_chunks_is_read_and_headers_after_it_count_for_nothing(port: int) -> None:
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY)
    with connected(port) as client:
        for trailer in (b"", b"Content-Type: text/plain\r\nX-A: b\r\n"):
            client.sendall(CHUNKED + chunks + b"0\r\n" + trailer + b"\r\n")
            assert client.recv(65_536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01",
        b"GET /%ff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_an_odd_request_is_answered_with_a_clients_error(port: int, request_line: bytes) -> None:
    with connected(port) as odd:
        odd.sendall(request_line)

        status = odd.recv(1000).split()[1]
    assert status[:1] == b"4" or status == b"204"
    assert ok(port)


def test_a_body_that_is_too_long_is_answered_while_it_comes(port: int) -> None:
    answer = httpx.post(f"http://127.0.0.1:{port}/v1/impressions", content=b" " * 20_000_000)

    assert (answer.status_code, answer.json()) == (413, {"detail": "the body is longer than 1,048,576 bytes"})


def test_head_has_no_body_on_the_wire(port: int) -> None:
    with connected(port) as client:
        client.sendall(b"HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")

        head, _, body = rest(client).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert body == b""


def test_rubbish_does_not_fill_the_log(port: int, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(20):
        with connected(port) as client:
            client.sendall(b"\x00\x01rubbish\r\n\r\n")
            rest(client)

    assert [line for line in caplog.messages if "Invalid HTTP request" in line] == []


@pytest.mark.parametrize(
    "hosts", [(b"localhost", b"rebound.example.org"), (b"rebound.example.org", b"localhost"), (b"localhost", b"localhost")]
)
def test_a_request_that_names_two_hosts_is_refused(port: int, hosts: tuple[bytes, bytes]) -> None:
    with connected(port) as connection:
        connection.sendall(b"GET /v1/model HTTP/1.1\r\nhost: %s\r\nHost: %s\r\nConnection: close\r\n\r\n" % hosts)

        assert rest(connection).startswith(b"HTTP/1.1 400 ")
