"""Which web pages may send requests: those of this server only.

A page elsewhere reaches a server on the visitor's own machine in two ways, both refused here: by a form or script that posts across sites,
and by giving its own name this server's address (DNS rebinding), which the Host header betrays.
"""

import functools
import ipaddress
from collections.abc import Iterable

from service.access.refusals import RefusedError

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
LONGEST_HOST = 260  # characters: of a name, a colon and a port
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


def allowed_hosts(listen: str, more: Iterable[str]) -> frozenset[str]:
    """Return the names under which a server is known that listens on ``listen``."""
    return frozenset(name.lower() for name in (*LOCAL_NAMES, listen, *more))


def check_host(headers: dict[bytes, bytes], allowed: frozenset[str]) -> None:
    """Refuse a request to a name that is not this server's. An address is nobody's name: it can't be pointed elsewhere.

    Raises:
        RefusedError: the header is missing or names another host.
    """
    host = headers.get(b"host", b"")
    if len(host) > LONGEST_HOST or not _is_ours(host, allowed):
        raise RefusedError(421, f"Host: got {host[:100].decode('latin-1')!r}, which is not this server; [serve] hosts lists its names")


def check_site(headers: dict[bytes, bytes]) -> None:
    """Refuse what a page of another site sends.

    Raises:
        RefusedError: the browser says so.
    """
    site, origin = headers.get(b"sec-fetch-site"), headers.get(b"origin")
    if site is not None and site not in {b"same-origin", b"none"}:
        raise RefusedError(403, "a page of another site can't send this")
    if origin is not None and origin.partition(b"://")[2].lower() != headers.get(b"host", b"").lower():
        raise RefusedError(403, "a page of another origin can't send this")


def host_name(host: str) -> str:
    """Return a Host header's name, without its port.

    >>> host_name("Localhost:8000"), host_name("[::1]:8000"), host_name("example.org.")
    ('localhost', '::1', 'example.org')
    """
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return name.lower().rstrip(".")


@functools.lru_cache(1024)
def _is_ours(host: bytes, allowed: frozenset[str]) -> bool:
    name = host_name(host.decode("latin-1"))
    return name in allowed or _is_address(name)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
