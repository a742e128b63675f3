"""The form of every answer: a struct as JSON, or the problem with the request."""

import msgspec
from fastapi.responses import JSONResponse


class BadRequestError(ValueError):
    """The body of a request is not what the endpoint takes."""

    def __init__(self, field: str, reason: str) -> None:
        """Name the field at fault, as a path into the body, and the reason."""
        super().__init__(f"{field}: {reason}")
        # The names of JSON may hold half a surrogate pair, which no answer can.
        self.field, self.reason = (text.encode(errors="replace").decode() for text in (field, reason))


class NotFoundError(LookupError):
    """What a path names is not served."""


class Problem(msgspec.Struct, omit_defaults=True):
    """Why a request failed, and which field of its body is at fault, if one is."""

    detail: str
    field: str | None = None


class Answer(JSONResponse):
    """A struct as JSON."""

    def render(self, content: msgspec.Struct) -> bytes:
        """Encode the struct."""
        return msgspec.json.encode(content)
