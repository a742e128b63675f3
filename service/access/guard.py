"""What every request passes before its endpoint: host, site, credential, role, allowance, size; and what every answer carries.

Plain ASGI: the way of a request that is let in costs some microseconds, and nothing is awaited on it.
"""

import itertools
import re
import secrets
from collections import Counter
from typing import Literal, NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access.bounds.limits import Allowances, client_of
from service.access.bounds.unpacked import unpacked
from service.access.callers import ANYBODY, Callers, TooManyAttemptsError, credential_of
from service.access.origin import SAFE, check_host, check_site
from service.access.refusals import RefusedError, retry_after
from service.access.request_id import REQUEST_ID
from service.access.request_log import RequestLog
from service.access.roles import PROBES, Caller, Role, needed

MAX_HEAD = 32_768  # bytes of the names and values of all headers
MIB = 1_048_576
ONCE = {b"host": "Host", b"authorization": "Authorization", b"x-api-key": "X-API-Key"}  # what a proxy might read otherwise than we do
_FIRST = secrets.token_hex(6)  # of this process
_COUNT = itertools.count()
_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

# Of every answer; few, since each costs a microsecond. What only pages need, and their own policy, comes on top for them.
SECURITY = [
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]
POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
OF_PAGES = [
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
]
HTTPS_ONLY = (b"strict-transport-security", b"max-age=31536000")
PAGES = frozenset({"/", "/docs"})
BODILESS = frozenset({"HEAD", "OPTIONS"})


class Access(NamedTuple):
    """Who may do what, and how much."""

    callers: Callers
    allowances: Allowances
    hosts: frozenset[str] | None = None  # the names of this server; None: any
    max_body: int = MIB  # bytes
    log_requests: Literal["none", "lines", "bodies"] = "none"

    @classmethod
    def unlimited(cls) -> "Access":
        """Return what lets in everybody, for programs that reach the application without a network."""
        return cls(Callers(), Allowances(1e9, 1e9, in_flight=1_000_000))


class Guard:
    """ASGI middleware that lets in what :class:`Access` allows, and answers the rest."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.access = access
        self.app = app if access.log_requests == "none" else RequestLog(app, bodies=access.log_requests == "bodies")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        request_id, path, method = _request_id(headers), path_of(scope), scope["method"]
        REQUEST_ID.set(request_id.decode())
        added = _added(path, scope["scheme"], request_id)

        async def answered(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *added]
                if method == "OPTIONS":
                    _say_methods(message)
            elif method in BODILESS:
                message = {**message, "body": b""}
            await send(message)

        try:
            await self._admit(scope, headers, path, receive, answered)
        except RefusedError as refusal:
            await refusal.answer(path)(scope, receive, answered)

    async def _admit(self, scope: Scope, headers: dict[bytes, bytes], path: str, receive: Receive, send: Send) -> None:
        """Let a request in.

        Raises:
            RefusedError: it may not come in; nothing was answered yet.
        """
        method = scope["method"]
        _check_headers(scope, headers)
        if self.access.hosts is not None and path not in PROBES:
            check_host(headers, self.access.hosts)
        if method not in SAFE:
            check_site(headers)
        caller = await self._caller(scope, headers, needed(method, path))
        scope["caller"] = caller
        name = f"client:{_client(scope)}" if caller is ANYBODY else caller.name
        if wait := 0.0 if path in PROBES else self.access.allowances.enter(name):
            raise RefusedError(429, "too many requests: send fewer, or fewer at once", retry_after=retry_after(wait))
        try:
            body = _Body(receive, headers, self.access.max_body)
            inner = {**scope, "method": "GET"} if method == "HEAD" else scope
            receive = body.receive if method in SAFE else await unpacked(body.receive, headers, self.access.max_body)
            try:
                await self.app(inner, receive, send)
            finally:
                if inner is not scope and "route" in inner:
                    scope["route"] = inner["route"]
        finally:
            if path not in PROBES:
                self.access.allowances.leave(name)

    async def _caller(self, scope: Scope, headers: dict[bytes, bytes], role: Role | None) -> Caller:
        """Return who sent a request, if that caller has the role that it needs.

        Raises:
            RefusedError: nobody knows the caller, or it lacks the role.
        """
        callers = self.access.callers
        if callers.open or role is None:
            return ANYBODY
        credential = credential_of(headers)
        if credential is None:
            raise RefusedError(401, "a key or token is needed", WWW_Authenticate='Bearer realm="sml"')
        caller = callers.known(credential)
        if caller is None:
            try:
                caller = await callers.verify(credential, _client(scope))
            except TooManyAttemptsError as error:
                raise RefusedError(429, str(error), retry_after=retry_after(error.wait)) from error
        if caller is None:
            raise RefusedError(401, "the key or token is not valid", WWW_Authenticate='Bearer realm="sml", error="invalid_token"')
        caller.check_role(role)
        return caller


class _Body:
    """A request's body, of which no more is read than may come."""

    def __init__(self, receive: Receive, headers: dict[bytes, bytes], most: int) -> None:
        """Refuse at once what says that it is too long.

        Raises:
            RefusedError: it is.
        """
        self._receive, self._most, self._read = receive, most, 0
        length = headers.get(b"content-length")
        if length is not None and int(length) > most:
            raise self._too_long()
        # The length that is announced is the length that comes: HTTP's parser sees to that.
        self.receive = receive if length is not None or b"transfer-encoding" not in headers else self._counted

    async def _counted(self) -> Message:
        message = await self._receive()
        self._read += len(message.get("body", b""))
        if self._read > self._most:
            raise self._too_long()
        return message

    def _too_long(self) -> RefusedError:
        return RefusedError(413, f"the body is longer than {self._most:,} bytes")


def path_of(scope: Scope) -> str:
    """Return the path below the one at which a proxy serves this server."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path.removeprefix(root) or "/" if root else path


def _request_id(headers: dict[bytes, bytes]) -> bytes:
    """Return the id that a request brings, or a new one."""
    given = headers.get(b"x-request-id")
    return given if given and _ID.fullmatch(given) else f"{_FIRST}-{next(_COUNT):x}".encode()


def _added(path: str, scheme: str, request_id: bytes) -> list[tuple[bytes, bytes]]:
    """Return the headers that whatever is answered at a path carries."""
    of_path = OF_PAGES if path in PAGES else [POLICY]
    return [*SECURITY, (b"x-request-id", request_id), *of_path, *([HTTPS_ONLY] if scheme == "https" else [])]


def _check_headers(scope: Scope, headers: dict[bytes, bytes]) -> None:
    """Refuse headers that are too long, or of which one that may come once comes again.

    Raises:
        RefusedError: they are.
    """
    if sum(map(len, headers)) + sum(map(len, headers.values())) > MAX_HEAD:
        raise RefusedError(431, f"the headers hold more than {MAX_HEAD:,} bytes")
    if len(headers) < len(scope["headers"]):
        for name, count in Counter(name for name, _ in scope["headers"]).items():
            if name in ONCE and count > 1:
                raise RefusedError(400, f"{ONCE[name]}: got {count}, expected one")


def _client(scope: Scope) -> str:
    client = scope.get("client")
    return client_of(client[0]) if client else ""


def _say_methods(message: Message) -> None:
    """Turn what is answered to a method that no endpoint has into the answer to OPTIONS: the methods that a path takes.

    There is no CORS in it, so a browser lets no page of another site go on from here.
    """
    headers = dict(message["headers"])
    allow = headers.pop(b"allow", None)
    if message["status"] == 405 and allow is not None:  # noqa: PLR2004 - method not allowed
        methods = {*allow.decode().split(", "), "OPTIONS"} | ({"HEAD"} if b"GET" in allow else set())
        kept = [(name, value) for name, value in headers.items() if name not in {b"content-length", b"content-type"}]
        message["status"], message["headers"] = 204, [*kept, (b"allow", ", ".join(sorted(methods)).encode())]
    else:
        message["headers"] = [(name, b"0" if name == b"content-length" else value) for name, value in message["headers"]]
