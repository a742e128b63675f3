"""Free ports of this machine."""

import secrets
import socket
from contextlib import ExitStack, suppress

_PORTS = range(20_000, 32_000)  # below those that connections take


def free_port() -> int:
    """Return a free port."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Return several free ports, all different."""
    with ExitStack() as stack:
        found: list[int] = []
        while len(found) < count:
            listening = stack.enter_context(socket.socket())
            port = secrets.choice(_PORTS)
            with suppress(OSError):
                listening.bind(("", port))
                found.append(port)
        return found
