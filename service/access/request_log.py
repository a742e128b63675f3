"""A line for each request that was let in, if the settings ask for it: who, what, how it ended; and its body if they ask for that, too."""

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger("requests")


class RequestLog:
    """ASGI middleware that logs each request when it is answered.

    Args:
        app: What answers.
        bodies: Whether to log what was asked, features and all.
    """

    def __init__(self, app: ASGIApp, *, bodies: bool) -> None:
        self.app, self.bodies = app, bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and log it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status, body = time.perf_counter(), 500, bytearray()

        async def read() -> Message:
            message = await receive()
            body.extend(message.get("body", b""))
            return message

        async def answered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, read if self.bodies else receive, answered)
        finally:
            line = {"who": scope["caller"].name, "method": scope["method"], "path": scope["path"], "status": status}
            line |= {"seconds": round(time.perf_counter() - start, 6)} | ({"body": body.decode(errors="replace")} if self.bodies else {})
            said = f" {line['body']!r}" if self.bodies else ""
            logger.info("%s: %s %r %s%s", line["who"], line["method"], line["path"], status, said, extra=line)
