"""The answers of the guard itself: why a request was refused, in the form of the service's other problems."""

import json

from starlette.responses import Response


class RefusedError(Exception):
    """A request is refused before its endpoint sees it."""

    def __init__(self, status: int, detail: str, **headers: str) -> None:
        """Say why; the names of headers are written with underscores."""
        super().__init__(detail)
        self.status, self.detail = status, detail
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def answer(self, path: str = "") -> Response:
        """Return the answer to a request for ``path``."""
        return Response(problem(self.detail, path), self.status, self.headers, media_type="application/json")


def problem(detail: str, path: str = "") -> bytes:
    """Return the body of an answer that says why."""
    return json.dumps({"error" if has_error_objects(path) else "detail": detail}).encode()


def has_error_objects(path: str) -> bool:
    """Return whether a path is of the Open Inference Protocol, whose answers say ``error`` where ours say ``detail``."""
    return f"{path}/".startswith("/v2/")


def retry_after(seconds: float) -> str:
    """Return the value of Retry-After: whole seconds, at least one.

    >>> retry_after(0.2)
    '1'
    """
    return str(max(1, int(seconds + 0.999)))
