"""``/metrics`` on a port of its own, for the processes that serve nothing else.

On this machine anybody may read it; on another address it takes the server's keys and tokens, with the role ``read``.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from prometheus_client import CollectorRegistry, start_http_server

from service.access.addresses import is_local
from service.access.callers import Callers, credential_of
from service.admission import callers_of
from service.settings import Settings

Start: TypeAlias = Callable[[str, list[tuple[str, str]]], Any]
Wsgi: TypeAlias = Callable[[dict[str, Any], Start], Iterable[bytes]]

logger = logging.getLogger(__name__)


class PortTakenError(Exception):
    """Another process listens on the port."""


@contextmanager
def exposed(registry: CollectorRegistry, settings: Settings, section: str) -> Iterator[None]:
    """Serve the metrics of ``registry`` where a section of the settings says, until the block ends; port 0 is any free one, and is logged.

    Raises:
        PortTakenError: another process listens there.
        SettingsError: the address is one that others reach, and it is not said who may read there.
    """
    host, port = getattr(settings, section).metrics_host, getattr(settings, section).metrics_port
    settings.access.check_address(f"{section}.metrics_host", host)
    try:
        server, thread = start_http_server(port, host, registry=registry)
    except OSError as error:
        raise PortTakenError(f"metrics_port: got {port}, expected a free port: {error.strerror}") from error
    if not settings.access.open and not is_local(host):
        server.set_app(for_readers(server.get_app(), callers_of(settings)))  # type: ignore[arg-type]  # a WSGI application is any callable
    logger.info("metrics are at http://%s:%s/metrics", host, server.server_port)
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def for_readers(app: Wsgi, callers: Callers) -> Wsgi:
    """Return the application, for those whose key or token has the role ``read``."""

    def guarded(environment: dict[str, Any], start: Start) -> Iterable[bytes]:
        given = {b"authorization": "HTTP_AUTHORIZATION", b"x-api-key": "HTTP_X_API_KEY"}
        headers = {name: environment[key].encode("latin-1") for name, key in given.items() if key in environment}
        credential = credential_of(headers)
        caller = callers.verified(credential) if credential else None
        if caller and "read" in caller.roles:
            return app(environment, start)
        start("403 Forbidden" if caller else "401 Unauthorized", [("WWW-Authenticate", 'Bearer realm="sml"'), ("Content-Length", "0")])
        return [b""]

    return guarded
