"""The gRPC server: beside HTTP, on the same event loop, for as long as the application runs.

Each call becomes a request to the application, so keys, roles, limits, metrics and errors are those of HTTP. What gRPC itself must
bound: a message is as long as a body may be, nothing packed is unpacked, and what a client has begun it must end in time.
"""

import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, NoReturn
from urllib.parse import unquote

import grpc
import msgspec
from starlette.types import ASGIApp, Message, Receive
from tritonclient.grpc import service_pb2 as messages, service_pb2_grpc as services

from service.access.certificates import CertificateError, Certificates, Files
from service.api.inference.messages import FRAMING, JSON_LENGTH
from service.grpc.translation import STATUS, body_of, reply_of

logger = logging.getLogger(__name__)

# Of a call's metadata, what is a header of the request; what frames a body, or names a host, is ours to say.
HEADERS = frozenset({"authorization", "x-api-key", "x-request-id", "x-sml-arm", "x-forwarded-for", "x-forwarded-proto", "traceparent"})
OK = 200
GRACE = 10.0  # seconds that calls have to end


class Endpoint(NamedTuple):
    """Where the server listens, and within which bounds."""

    address: str  # host:port
    files: Files | None  # of TLS; None: without
    max_message: int  # bytes
    timeout: float  # seconds that a connection has to end what it has begun, once it is three times as old


class Answered(NamedTuple):
    """The application's answer."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


class Inference(services.GRPCInferenceServiceServicer):  # type: ignore[misc]  # published without types
    """The protocol's service, which asks the application."""

    def __init__(self, app: ASGIApp, scheme: str) -> None:
        self._app, self._scheme = app, scheme

    async def ServerLive(self, _: Any, context: Any) -> Any:  # noqa: N802 - the protocol's names
        """Return whether the server works."""
        return messages.ServerLiveResponse(live=await self._holds("/v2/health/live", context))

    async def ServerReady(self, _: Any, context: Any) -> Any:  # noqa: N802
        """Return whether the weights have caught up."""
        return messages.ServerReadyResponse(ready=await self._holds("/v2/health/ready", context))

    async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Return whether a model's weights have caught up."""
        return messages.ModelReadyResponse(ready=await self._holds(f"{_path(request.name, request.version)}/ready", context))

    async def ServerMetadata(self, _: Any, context: Any) -> Any:  # noqa: N802
        """Return what the server is."""
        return messages.ServerMetadataResponse(**await self._read("/v2", context))

    async def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Return what a model takes and gives."""
        return messages.ModelMetadataResponse(**await self._read(_path(request.name, request.version), context))

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Predict the click probability of each candidate."""
        path = f"{_path(request.model_name, request.model_version)}/infer"
        answer = await self._ask("POST", path, context, request)
        if answer.status != OK:
            await _refuse(answer, context)
        return reply_of(answer.body, int(answer.headers[JSON_LENGTH.encode()]))

    async def _holds(self, path: str, context: Any) -> bool:
        """Return whether the application says yes, or that it can't yet."""
        answer = await self._ask("GET", path, context)
        if answer.status not in (OK, 503):
            await _refuse(answer, context)
        return answer.status == OK

    async def _read(self, path: str, context: Any) -> dict[str, Any]:
        answer = await self._ask("GET", path, context)
        if answer.status != OK:
            await _refuse(answer, context)
        found: dict[str, Any] = msgspec.json.decode(answer.body)
        return found

    async def _ask(self, method: str, path: str, context: Any, request: Any = None) -> Answered:
        """Send a request to the application. Its body is translated only once it is read: whoever may not ask costs nothing."""
        given = [(name.encode(), _bytes(value)) for name, value in context.invocation_metadata() or () if name in HEADERS]
        length = 0 if request is None else request.ByteSize()
        headers = [(b"host", b"localhost"), (b"content-length", str(length).encode()), *given]
        framing: dict[str, str] = {}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "2",
            "scheme": self._scheme,
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": headers,
            "client": _client(context.peer()),
            "server": None,
            FRAMING: framing,
        }

        async def receive() -> Message:
            body, json = (b"", 0) if request is None else body_of(request)
            framing[JSON_LENGTH] = str(json)
            return {"type": "http.request", "body": body}

        return await _answer(self._app, scope, receive)


async def _answer(app: ASGIApp, scope: dict[str, Any], receive: Receive) -> Answered:
    status, headers, pieces = 500, dict[bytes, bytes](), list[bytes]()

    async def send(message: Message) -> None:
        nonlocal status, headers
        if message["type"] == "http.response.start":
            status, headers = message["status"], dict(message["headers"])
        else:
            pieces.append(message.get("body", b""))

    await app(scope, receive, send)
    return Answered(status, headers, b"".join(pieces))


async def _refuse(answer: Answered, context: Any) -> NoReturn:
    """End a call as the application has answered it."""
    trailing = tuple((name.decode(), value.decode()) for name, value in answer.headers.items() if name in {b"retry-after", b"x-request-id"})
    said = msgspec.json.decode(answer.body)["error"] if answer.body.startswith(b"{") else ""
    await context.abort(STATUS.get(answer.status, grpc.StatusCode.INTERNAL), said, trailing)
    raise AssertionError  # abort does


def _path(model: str, version: str) -> str:
    """Return the path of a model; what a name holds leads to no other.

    >>> _path("ctr", "7"), _path("ctr/ready", "")
    ('/v2/models/ctr/versions/7', '/v2/models/ctr%2Fready')
    """
    return "/".join(["/v2/models", _one_part(model), *(["versions", _one_part(version)] if version else [])])


def _one_part(name: str) -> str:
    return name.replace("/", "%2F")


def _client(peer: str) -> tuple[str, int] | None:
    """Return the address of a peer, as gRPC names it.

    >>> _client("ipv4:10.1.2.3:5000"), _client("ipv6:%5B::1%5D:5000"), _client("unix:/run/x")
    (('10.1.2.3', 5000), ('::1', 5000), None)
    """
    kind, _, rest = unquote(peer).partition(":")
    host, _, port = rest.rpartition(":")
    return (host.strip("[]"), int(port)) if kind in {"ipv4", "ipv6"} and port.isdigit() else None


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


@asynccontextmanager
async def serving(app: ASGIApp, endpoint: Endpoint) -> AsyncIterator[None]:
    """Serve until the block ends.

    Raises:
        CertificateError: the files can't be used.
        RuntimeError: the address can't be listened on.
    """
    server = grpc.aio.server(options=_options(endpoint))
    services.add_GRPCInferenceServiceServicer_to_server(Inference(app, "https" if endpoint.files else "http"), server)
    if endpoint.files:
        server.add_secure_port(endpoint.address, _credentials(endpoint.files))
    else:
        server.add_insecure_port(endpoint.address)
    await server.start()
    logger.info("gRPC listens on %s", endpoint.address)
    try:
        yield
    finally:
        await server.stop(GRACE)


def _options(endpoint: Endpoint) -> Iterable[tuple[str, int]]:
    """Return gRPC's options: https://grpc.github.io/grpc/core/group__grpc__arg__keys.html."""
    ms = round(1000 * endpoint.timeout)
    return (
        ("grpc.so_reuseport", 0),  # or two servers would share the port in silence
        ("grpc.max_receive_message_length", endpoint.max_message),
        ("grpc.compression_enabled_algorithms_bitset", 1),  # none: a small message could unpack to a large one
        ("grpc.max_concurrent_streams", 100),  # of a connection
        ("grpc.max_metadata_size", 16_384),
        ("grpc.server_handshake_timeout_ms", ms),
        ("grpc.max_connection_idle_ms", 3 * ms),
        ("grpc.max_connection_age_ms", 3 * ms),  # it may then connect anew,
        ("grpc.max_connection_age_grace_ms", ms),  # and a call that it never ends is cut off
    )


def _credentials(files: Files) -> Any:
    """Return TLS as HTTP has it: the files are read again when they change, and stay as they were where they can't be used."""
    before = files.states()

    def renewed() -> Any:
        nonlocal before
        if (now := files.states()) == before:
            return None
        before = now
        try:
            return _configuration(files)
        except CertificateError as error:
            logger.error("gRPC's certificate stays as it was: %s", error)  # noqa: TRY400 - the message says it all
            return None

    return grpc.dynamic_ssl_server_credentials(_configuration(files), renewed, require_client_authentication=files.client_ca is not None)


def _configuration(files: Files) -> Any:
    """Read the files.

    Raises:
        CertificateError: they can't be used.
    """
    Certificates(files)  # says what is wrong
    chain, key, authorities = (path and _read(path) for path in files)
    return grpc.ssl_server_certificate_configuration([(key or chain, chain)], authorities)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return file.read()
    except OSError as error:
        raise CertificateError(f"{path}: {error.strerror}") from error
