"""``/metrics`` on a port of its own, for the processes that serve nothing else."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server

logger = logging.getLogger(__name__)


class PortTakenError(Exception):
    """Another process listens on the port."""


@contextmanager
def exposed(registry: CollectorRegistry, port: int) -> Iterator[None]:
    """Serve the metrics of ``registry`` on ``port`` until the block ends; 0 takes any free port, which is logged.

    Raises:
        PortTakenError: another process listens there.
    """
    try:
        server, thread = start_http_server(port, registry=registry)
    except OSError as error:
        raise PortTakenError(f"metrics_port: got {port}, expected a free port: {error.strerror}") from error
    logger.info("metrics are at http://127.0.0.1:%s/metrics", server.server_port)
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
