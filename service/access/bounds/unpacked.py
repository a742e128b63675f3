"""Bodies that come packed by gzip or zstd: unpacked, and no further than a body may be long."""

import asyncio
import zlib

from starlette.types import Message, Receive

from service.access.refusals import RefusedError

_GZIP = 16 + zlib.MAX_WBITS  # zlib's word for it


async def unpacked(receive: Receive, headers: dict[bytes, bytes], most: int) -> Receive:
    """Return what receives a body as it was before it was packed.

    Args:
        receive: Receives it as it comes.
        headers: The request's; ``Content-Encoding`` says how it is packed.
        most: How many bytes it may have.

    Raises:
        RefusedError: it is packed otherwise, is damaged, or longer.
    """
    encoding = headers.get(b"content-encoding", b"").decode("latin-1").lower()
    if not encoding:
        return receive
    if encoding not in ("gzip", "zstd"):
        raise RefusedError(415, f"Content-Encoding: got {encoding[:40]!r}, expected gzip or zstd", Accept_Encoding="gzip, zstd")
    pieces, more = list[bytes](), True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return _first(message, receive)  # the client is gone
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    try:
        body = await asyncio.to_thread(_unpack, b"".join(pieces), encoding, most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise RefusedError(400, f"the body is no {encoding}: {error}") from error
    if len(body) > most:
        raise RefusedError(413, f"the body is longer than {most:,} bytes")
    return _first({"type": "http.request", "body": body}, receive)


def _unpack(body: bytes, encoding: str, size: int) -> bytes:
    """Return the first ``size`` bytes of what was packed."""
    if encoding == "gzip":
        unpacker = zlib.decompressobj(_GZIP)
        found = unpacker.decompress(body, size)
        if len(found) < size and (not unpacker.eof or unpacker.unused_data):
            raise EOFError("it ends too soon, or goes on after its end")
        return found
    import pyarrow as pa  # noqa: PLC0415 - a server that gets no such body does without

    with pa.input_stream(pa.BufferReader(body), compression="zstd") as stream:
        return bytes(stream.read(size))


def _first(message: Message, then: Receive) -> Receive:
    messages = [message]

    async def receive() -> Message:
        return messages.pop() if messages else await then()

    return receive
