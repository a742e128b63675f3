"""Send requests at a fixed rate, however long the answers take, and measure each latency from when its request was due.

So a server that stalls is charged for every request that was due meanwhile (no coordinated omission).
"""

import asyncio
import statistics
import time
from collections.abc import Sequence
from typing import NamedTuple

CONNECTIONS = 16
_HEAD = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


class Latency(NamedTuple):
    """Latencies of the answers to some requests, in ms."""

    p50: float
    p99: float
    longest: float


class AnswerError(Exception):
    """The server's answer was not successful."""


def at_rate(port: int, path: str, bodies: Sequence[bytes], rate: float, seconds: float) -> Latency:
    """Send ``bodies`` in turn, ``rate`` a second, and return the latencies."""
    return asyncio.run(_at_rate(port, path, bodies, rate, seconds))


def at_most(port: int, path: str, bodies: Sequence[bytes], seconds: float, connections: int = 4) -> float:
    """Return the requests answered a second when each connection sends the next request as soon as it has the answer."""
    return asyncio.run(_at_most(port, path, bodies, seconds, connections))


async def _at_rate(port: int, path: str, bodies: Sequence[bytes], rate: float, seconds: float) -> Latency:
    free: asyncio.Queue[_Connection] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        free.put_nowait(await _Connection.open(port))
    taken: list[float] = []
    start = time.perf_counter()

    async def one(n: int) -> None:
        due = start + n / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        connection = await free.get()
        await connection.post(path, bodies[n % len(bodies)])
        taken.append((time.perf_counter() - due) * 1000)
        free.put_nowait(connection)

    await asyncio.gather(*(one(n) for n in range(int(rate * seconds))))
    while not free.empty():
        await free.get_nowait().close()
    cuts = statistics.quantiles(taken, n=100)
    return Latency(round(cuts[49], 2), round(cuts[98], 2), round(max(taken), 2))


async def _at_most(port: int, path: str, bodies: Sequence[bytes], seconds: float, connections: int) -> float:
    end = time.perf_counter() + seconds

    async def one() -> int:
        connection, answered = await _Connection.open(port), 0
        while time.perf_counter() < end:
            await connection.post(path, bodies[answered % len(bodies)])
            answered += 1
        await connection.close()
        return answered

    return sum(await asyncio.gather(*(one() for _ in range(connections)))) / seconds


class _Connection:
    """One connection, one request at a time: as little as a load needs, to leave the machine to the server."""

    def __init__(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._port, self._reader, self._writer = port, reader, writer

    @classmethod
    async def open(cls, port: int) -> "_Connection":
        """Connect to a server on this machine."""
        return cls(port, *await asyncio.open_connection("127.0.0.1", port))

    async def post(self, path: str, body: bytes) -> bytes:
        """Send a request and return the answer's body."""
        if self._reader.at_eof():  # a server closes a connection that is idle for seconds
            self._writer.close()
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(_HEAD % (path.encode(), len(body)) + body)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        answer = await self._reader.readexactly(length)
        if not head.startswith(b"HTTP/1.1 200"):
            raise AnswerError(f"expected status 200, got {head.splitlines()[0].decode()}: {answer[:200].decode(errors='replace')}")
        return answer

    async def close(self) -> None:
        """Disconnect."""
        self._writer.close()
        await self._writer.wait_closed()
