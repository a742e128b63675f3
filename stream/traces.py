"""Traces: the way of a request's impressions to the weights that have learned them, hop by hop.

    request → impressions → join → examples → learn → weights → serve

Each hop reads whose successor it is from the headers of a record, W3C's trace context, and writes its own into those of the next record.
A hop begins when the log took the record that it reads. Where nothing is traced no record has such a header, and nothing is done.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from stream.log.contract import Headers, Record

TRACEPARENT = "traceparent"
MOST_WAITING = 10_000  # impressions whose context the joiner keeps; those before them are no longer traced
_LONGEST_KEY = 4_000  # bytes: of 1,000 characters
MOST_LEARNED = 100  # contexts that go on with a version
_SAMPLED = re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-0[13]")


class Tracing(Protocol):
    """Where spans go."""

    def hop(self, name: str, parent: bytes, since: int, **attributes: str | int) -> bytes:
        """Record a hop that began at ``since`` (epoch ms), and ends now; return its context."""
        ...

    def current(self) -> bytes | None:
        """Return the context of the request that is being answered, if it is traced."""
        ...

    def around(self, app: Any) -> Callable[..., Any]:
        """Return an ASGI application whose requests are traced."""
        ...


def contexts_of(record: Record) -> Iterator[bytes]:
    """Return the contexts among a record's headers that are traced; whatever else a header holds is none."""
    return (value for name, value in record.headers if name == TRACEPARENT and _SAMPLED.fullmatch(value))


def context_of(record: Record) -> bytes | None:
    """Return the context of one impression or example, if it is traced."""
    return next(contexts_of(record), None) if record.headers else None


class Waiting:
    """The contexts of impressions that wait for their label.

    Args:
        tracing: Where spans go; None: nothing is traced.

    Attributes:
        contexts: An impression's key → its context, and when the log took it.
    """

    def __init__(self, tracing: Tracing | None) -> None:
        self._tracing = tracing
        self.contexts: dict[bytes, tuple[bytes, int]] = {}

    def note(self, record: Record) -> None:
        """Take note of a record's context, if it has one; a key that is too long for an id takes no memory."""
        if self._tracing is None or not record.key or len(record.key) > _LONGEST_KEY or (context := context_of(record)) is None:
            return
        self.contexts[record.key] = context, record.timestamp
        if len(self.contexts) > MOST_WAITING:
            del self.contexts[next(iter(self.contexts))]

    def joined(self, key: bytes) -> Headers:
        """Return the header of the example of an impression, which is joined now; none where it was not traced."""
        if self._tracing is None or (found := self.contexts.pop(key, None)) is None:
            return ()
        return ((TRACEPARENT, self._tracing.hop("join", *found)),)
