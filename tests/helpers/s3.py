"""A real S3 server, moto's, in this process, which can be told to fail."""

import threading
import time
import urllib.request
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

BUSY = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
GONE = b"<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>"


class S3:
    """The server: its faults and what it was asked.

    Attributes:
        faults: Of the requests to come: method, and what becomes of it: busy, gone, cut or slow.
        let_pass: Set while slow requests may go on.
        asked: Method, path and query of each request.
    """

    def __init__(self) -> None:
        self.faults: deque[tuple[str, str]] = deque()
        self.asked: list[tuple[str, str, str]] = []
        self.let_pass = threading.Event()
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=_Quiet)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.port}"

    def url(self, bucket: str) -> str:
        """Return the URL of a folder in a new bucket."""
        self.request("PUT", f"/{bucket}")
        return f"s3://{bucket}/models?region=us-east-1&scheme=http&endpoint_override={self.address}"

    def request(self, method: str, path: str, data: bytes | None = None) -> bytes:
        """Ask as anybody may who has the rights."""
        headers = {"Content-Type": "application/octet-stream"}
        with urllib.request.urlopen(urllib.request.Request(f"http://{self.address}{path}", data, headers, method=method)) as response:
            return bytes(response.read())

    def _answer(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        self.asked.append((method, environ["PATH_INFO"], environ.get("QUERY_STRING", "")))
        fault = self.faults.popleft()[1] if self.faults and self.faults[0][0] == method else ""
        if fault in {"busy", "gone"}:
            start("503 Slow Down" if fault == "busy" else "404 Not Found", [("Content-Type", "application/xml")])
            return [BUSY if fault == "busy" else GONE]
        if fault == "slow":
            self.let_pass.wait(10)
        answer: Iterable[bytes] = self._moto(environ, start)
        if fault == "cut":
            body = b"".join(answer)
            return [body[: len(body) // 2]]
        return answer

    def run(self) -> None:
        self._server.serve_forever(poll_interval=0.02)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        pass


@contextmanager
def s3_server() -> Iterator[S3]:
    """Run a server."""
    server = S3()
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()


def wait_for(true: Any, seconds: float = 10) -> None:
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)
