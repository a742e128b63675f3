"""Messages between processes of this machine: each with its length before it."""

import socket
import struct

LENGTH = struct.Struct("!I")


def framed(data: bytes) -> bytes:
    """Return a message as it is sent."""
    return LENGTH.pack(len(data)) + data


def received(connection: socket.socket) -> bytes:
    """Return the next message.

    Raises:
        OSError: the other side has ended, or does not go on.
    """
    return exactly(connection, LENGTH.unpack(exactly(connection, LENGTH.size))[0])


def exactly(connection: socket.socket, count: int) -> bytes:
    """Return the next ``count`` bytes.

    Raises:
        OSError: the other side has ended, or does not go on.
    """
    data = bytearray()
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise ConnectionError("the other side has ended")
        data += part
    return bytes(data)
