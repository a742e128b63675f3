"""``/metrics`` on a port of its own, for the processes that serve nothing else, within the bounds of the server's own port.

On this machine anybody may read it; on another address it takes the server's keys and tokens, with the role ``read``.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.access.addresses import is_local
from service.access.guard import Guard
from service.admission import access_of
from service.listen import listening, server_of
from service.server_settings import AccessSettings
from service.settings import Settings

logger = logging.getLogger(__name__)


@contextmanager
def exposed(registry: CollectorRegistry, settings: Settings, section: str) -> Iterator[None]:
    """Serve the metrics of ``registry`` where a section of the settings says, until the block ends; port 0 is any free one, and is logged.

    Raises:
        PortTakenError: another program listens there.
        SettingsError: the address is one that others reach, and it is not said who may read there.
    """
    host, port = getattr(settings, section).metrics_host, getattr(settings, section).metrics_port
    settings.access.check_address(f"{section}.metrics_host", host)
    access = AccessSettings() if is_local(host) else settings.access
    serve = settings.serve.model_copy(update={"host": host, "certfile": None, "root_path": "", "grpc_port": None})
    settings = settings.model_copy(update={"serve": serve, "access": access})
    server = server_of(Guard(_application(registry), access_of(settings)), settings)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # that it starts and ends is told below, and by the process's own end
    with listening(f"{section}.metrics_port", host, port) as listener:
        logger.info("metrics are at http://%s:%s/metrics", host, listener.getsockname()[1])
        thread = Thread(target=server.run, args=([listener],), name="metrics", daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.should_exit = True
            thread.join()


def _application(registry: CollectorRegistry) -> Starlette:
    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/metrics", metrics)])
