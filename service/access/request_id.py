"""The id of the request that is being answered, for what is logged meanwhile."""

from contextvars import ContextVar

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
