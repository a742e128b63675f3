"""A double of a schema registry: as much of Confluent's REST API as a writer and a reader of records ask for.

The real ones take a minute to fetch and to start. ``SML_TEST_REGISTRY`` names one, to run on it the tests that need no double: with
Apicurio 2.6.13, ``http://127.0.0.1:8080/apis/ccompat/v7``, they pass.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr


class FakeRegistry:
    """Keeps schemas: an id for each, and versions of each subject.

    Attributes:
        status: What it answers with instead, if anything.
        broken: The ids of schemas at which it fails.
        asked: The paths of all requests.
    """

    def __init__(self) -> None:
        self.schemas: list[dict[str, Any]] = []
        self.status: int | None = None
        self.broken: set[int] = set()
        self.asked: list[str] = []
        self.port = 0
        self.real: str | None = None  # another's address, to test with that

    @property
    def url(self) -> str:
        """Where it answers."""
        return self.real or f"http://127.0.0.1:{self.port}"

    def settings(self) -> dict[str, Any]:
        """Return the joiner's settings for it."""
        return {"schema_registry": self.url, "schema_registry_user": "user", "schema_registry_password": SecretStr("secret")}

    def answer(self, path: str, body: dict[str, Any] | None) -> tuple[int, Any]:
        """Return the status and the body of an answer."""
        self.asked.append(path)
        broken = urlsplit(path).path in {f"/schemas/ids/{each}" for each in self.broken}
        if status := self.status or broken * 500:
            return status, {"error_code": status, "message": "as the test says"}
        match [unquote(part) for part in urlsplit(path).path.strip("/").split("/")]:
            case ["schemas", "ids", number] if 0 < int(number) <= len(self.schemas):
                return 200, self.schemas[int(number) - 1]
            case ["schemas", "ids", _]:
                return 404, {"error_code": 40403, "message": "Schema not found"}
            case ["subjects", subject, *_] if body is not None:
                found = next((each for each in self.schemas if each["schema"] == body["schema"] and each["subject"] == subject), None)
                if found is None:
                    version = 1 + sum(each["subject"] == subject for each in self.schemas)
                    found = {"references": [], **body, "subject": subject, "version": version, "id": len(self.schemas) + 1}
                    self.schemas.append(found)
                return 200, found
            case ["subjects", subject, "versions", version]:
                return 200, next(each for each in self.schemas if (each["subject"], each["version"]) == (subject, int(version)))
        return 404, {"error_code": 404, "message": "no such path"}


@contextmanager
def running() -> Iterator[FakeRegistry]:
    """Run a registry."""
    registry = FakeRegistry()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(None)

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _answer(self, body: dict[str, Any] | None) -> None:
            status, answer = registry.answer(self.path, body)
            if self.headers["Authorization"] != "Basic dXNlcjpzZWNyZXQ=":
                status, answer = 401, {"error_code": 401, "message": "Unauthorized"}
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    registry.port = server.server_port
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
