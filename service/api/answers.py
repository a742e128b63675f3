"""What every answer is: a struct as JSON, or the problem with the request."""

import msgspec
from fastapi.responses import JSONResponse


class BadRequestError(ValueError):
    """A request's body is not what the endpoint takes."""

    def __init__(self, field: str, reason: str) -> None:
        """Name the field at fault, as a path into the body, and say why."""
        super().__init__(f"{field}: {reason}")
        self.field, self.reason = field, reason


class Problem(msgspec.Struct, omit_defaults=True):
    """Why a request was not done, and which field of its body is at fault, if one is."""

    detail: str
    field: str | None = None


class Answer(JSONResponse):
    """A struct as JSON."""

    def render(self, content: msgspec.Struct) -> bytes:
        """Write the struct."""
        return msgspec.json.encode(content)
