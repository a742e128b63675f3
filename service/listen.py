"""The server's process: the application on its address, with TLS, behind a proxy or not, and within its bounds."""

import logging
import socket
import ssl
from collections.abc import Awaitable, Callable

import uvicorn
from starlette.types import ASGIApp

from service.access.addresses import networks, split
from service.access.certificates import CertificateError, Certificates, Files
from service.access.protocol import Bounds, bounded, sweeper
from service.access.turns import InTurn, Turns
from service.settings import Settings, SettingsError

SHUTDOWN_TIMEOUT = 10  # seconds for running requests to end, even while the log is away


class PortTakenError(Exception):
    """Another process listens on the port."""


def listening(host: str, port: int, setting: str) -> socket.socket:
    """Return a socket that listens, on any free port if it is 0; ``setting`` names the port in an error.

    Raises:
        PortTakenError: another process listens there.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, dualstack_ipv6=host == "::")
    except OSError as error:
        raise PortTakenError(f"{setting}: got {port}, expected a free port: {error.strerror}") from error


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
    server = uvicorn.Server(config)
    config.callback_notify = _each_second(sweeper(server.server_state), certificates)
    return server


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
