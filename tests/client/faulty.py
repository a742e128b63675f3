"""A server between client and site that fails as it is told: one fault for each request, until none is left."""

import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

SLOW = 30.0  # seconds
ANSWERS: Mapping[str, tuple[int, dict[str, str]]] = {
    "busy": (429, {"retry-after": "0"}),
    "away": (503, {}),
    "away for a second": (503, {"retry-after": "1"}),
    "too large": (413, {}),
}


class Faulty(ThreadingHTTPServer):
    """Passes requests on to ``behind``; each fault in ``faults`` meets one request.

    Faults: those of ``ANSWERS``, which nobody behind hears of; ``reset``, the same, without an answer; ``lost``, passed on, and the answer
    lost; ``slow``, no answer within seconds.
    """

    daemon_threads = True

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind, self.faults, self.requests = httpx.Client(base_url=behind), list[str](), list[tuple[str, float]]()
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.ended = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Faulty

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.requests.append((self.path, time.monotonic()))
        fault = self.server.faults.pop(0) if self.server.faults else ""
        if fault in ANSWERS:
            self._answer(*ANSWERS[fault], b'{"detail": "as told"}')
        elif fault == "slow":
            self.server.ended.wait(SLOW)
            self.close_connection = True
        else:
            answer = None if fault == "reset" else self._ask(body)
            if answer is None or fault == "lost":
                self._reset()
            else:
                self._answer(answer.status_code, {}, answer.content)

    def _ask(self, body: bytes) -> httpx.Response:
        passed = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "content-length")}
        return self.server.behind.post(self.path, content=body, headers=passed)

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass

    def finish(self) -> None:
        if self.connection.fileno() >= 0:
            super().finish()


@contextmanager
def faulty(behind: str) -> Iterator[Faulty]:
    """Run one."""
    with Faulty(behind) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.ended.set()
        server.shutdown()
        thread.join()
        server.behind.close()
