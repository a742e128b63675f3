"""A server as ``sml serve`` runs it, on a free port of this machine, for tests with real sockets."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

from service.admission import access_of
from service.listen import server_of
from service.server_settings import AccessSettings, LimitSettings, ServeSettings
from service.settings import Settings
from tests.service.fakes import Site, trained


@contextlib.contextmanager
def serving(
    serve: ServeSettings | None = None, access: AccessSettings | None = None, limits: LimitSettings | None = None
) -> Iterator[tuple[int, Site]]:
    """Serve a site with weights of version 7 by these settings; yield its port, and the site."""
    settings = Settings(serve=serve or ServeSettings(), access=access or AccessSettings(), limits=limits or LimitSettings())
    site = Site(access=access_of(settings))
    server = server_of(site.app, settings, site.app.state.turns)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        site.follower.publish(7, trained())
        try:
            yield listening.getsockname()[1], site
        finally:
            server.should_exit = True
            thread.join()
