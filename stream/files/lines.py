"""Text as blocks of whole lines, so that memory is bounded by a block whatever the text holds."""

import codecs
from collections.abc import Iterator

from stream.files.opened import Stream

BLOCK, _PIECE = 1 << 20, 1 << 13  # bytes of lines in a block; bytes read at once, so that an error comes after the rows before it
LONGEST = 1 << 22  # bytes of a line, and of those that one row of CSV goes on over: a file that never ends one takes no more memory


def whole_lines(stream: Stream, decoder: codecs.IncrementalDecoder | None = None) -> Iterator[bytes]:
    """Yield blocks of whole lines, what comes before an error first; ``decoder`` checks the encoding."""
    pieces: list[bytes] = []
    size = 0
    try:
        while piece := stream.read(_PIECE):
            if decoder:
                decoder.decode(piece)
            pieces.append(piece)
            size += len(piece)
            if size >= BLOCK and (end := _end_of_lines(piece)):
                yield b"".join([*pieces[:-1], piece[:end]])
                pieces, size = [piece[end:]], len(piece) - end
            check_length(size - BLOCK)
        if decoder:
            decoder.decode(b"", final=True)
    except (OSError, ValueError):
        raw = b"".join(pieces)
        if end := _end_of_lines(raw):
            yield raw[:end]
        raise
    if pieces:
        yield b"".join(pieces)


def check_length(size: int) -> None:
    """Refuse a row that goes on for more than the longest."""
    if size > LONGEST:
        raise ValueError(f"a row of more than {LONGEST:,} bytes")


def _end_of_lines(raw: bytes) -> int:
    """Return where the last whole line ends; a carriage return at the very end may be half a line end."""
    return raw.rfind(b"\n") + 1 or raw.rfind(b"\r", 0, -1) + 1
