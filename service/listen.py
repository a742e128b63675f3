"""The server's process: the application on its address, with TLS, behind a proxy or not, within its bounds; and over gRPC, if asked."""

import errno
import logging
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import uvicorn
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from service.access.addresses import networks, split
from service.access.bounds.connections import Bounds, bounded, sweeper
from service.access.bounds.turns import InTurn, Turns
from service.access.certificates import CertificateError, Certificates, Files
from service.settings import Settings, SettingsError

SHUTDOWN_TIMEOUT = 10  # seconds for running requests to end, even while the log is away


class PortTakenError(Exception):
    """Another program listens on the port, or the address is not this machine's."""


def listening(setting: str, host: str, port: int) -> socket.socket:
    """Listen on a port, which ``setting`` names; 0 is any free one.

    Raises:
        PortTakenError: that is not possible.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, dualstack_ipv6=host == "::")
    except OSError as error:
        why = str(error.strerror).partition(" (while ")[0]  # what Python adds to it says the address again
        at = f"{setting}: got {port} at {host}, expected a free port of this machine: {why}"
        table, _, name = setting.partition(".")
        other = f"; end the program that listens there, or choose another by SML_{table.upper()}__{name.upper()}"
        raise PortTakenError(at + other * (error.errno == errno.EADDRINUSE)) from error


def server_of(app: ASGIApp, settings: Settings, turns: Turns | None = None) -> uvicorn.Server:
    """Return the server of an application, which is yet to be run; ``turns`` are those that its predictions wait for.

    Raises:
        SettingsError: the certificate can't be used.
    """
    serve, limits = settings.serve, settings.limits
    certificates, turns = _certificates(settings), turns or Turns()
    proxies = split(serve.forwarded_allow_ips)
    config = uvicorn.Config(
        InTurn(app, turns),
        serve.host,
        serve.port,
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT,
        http=bounded(Bounds(limits.connections, limits.receive_timeout, networks(proxies)), turns),  # type: ignore[arg-type]  # what makes one
        ws="none",
        server_header=False,
        forwarded_allow_ips=proxies,
        root_path=serve.root_path,
        ssl_context_factory=(lambda _config, _default: certificates.context) if certificates else None,
        timeout_notify=0,  # at each of its ticks, which are a second apart
    )
    logging.getLogger("uvicorn.error").addFilter(_is_no_clients_fault)
    logging.getLogger("asyncio").addFilter(_is_no_clients_fault)
    server = _Server(config, _grpc(app, settings)) if serve.grpc_port is not None else uvicorn.Server(config)
    config.callback_notify = _each_second(sweeper(server.server_state), certificates)
    return server


class _Server(uvicorn.Server):
    """uvicorn's, and what runs beside it on its event loop.

    Raises:
        SettingsError: from ``run``: the port is taken.
    """

    def __init__(self, config: uvicorn.Config, beside: AbstractAsyncContextManager[None]) -> None:
        super().__init__(config)
        self._beside, self._running = beside, AsyncExitStack()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.started:
            return
        try:
            await self._running.enter_async_context(self._beside)
        except RuntimeError as error:
            await super().shutdown(sockets)
            raise SettingsError(f"serve.grpc_port: got {error}, expected a free port") from error

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._running.aclose()
        await super().shutdown(sockets)


def _grpc(app: ASGIApp, settings: Settings) -> AbstractAsyncContextManager[None]:
    """Return what serves the application over gRPC.

    Raises:
        SettingsError: what it needs is not installed.
    """
    serve, limits = settings.serve, settings.limits
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # it would log a line for what any client sends wrong
    try:
        from service.grpc.server import Endpoint, serving  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise SettingsError(f"serve.grpc_port: got {serve.grpc_port}, expected the extra sml-online[grpc]: {error}") from error
    host = f"[{serve.host}]" if ":" in serve.host else serve.host
    files = Files(serve.certfile, serve.keyfile, serve.client_ca) if serve.certfile else None
    proxied = ProxyHeadersMiddleware(app, trusted_hosts=split(serve.forwarded_allow_ips))  # type: ignore[arg-type]  # an ASGI app of Starlette
    endpoint = Endpoint(f"{host}:{serve.grpc_port}", files, limits.body, limits.receive_timeout)
    return serving(proxied, endpoint)  # type: ignore[arg-type]


def _is_no_clients_fault(record: logging.LogRecord) -> bool:
    """Return whether a line is worth its place: whoever sends rubbish must not be able to fill the log; the answer tells the client."""
    failed = record.exc_info[1] if record.exc_info else None
    return record.levelno != logging.WARNING and not isinstance(failed, ssl.SSLError | ConnectionError)


def _each_second(sweep: Callable[[], None], certificates: Certificates | None) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        sweep()
        if certificates:
            certificates.reload()

    return run


def _certificates(settings: Settings) -> Certificates | None:
    serve = settings.serve
    if serve.certfile is None:
        return None
    try:
        return Certificates(Files(serve.certfile, serve.keyfile, serve.client_ca))
    except CertificateError as error:
        raise SettingsError(f"serve.certfile: {error}") from error
