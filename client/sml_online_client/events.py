"""Impressions and clicks, sent in batches by a thread in the background.

An event that was taken is sent until the server has it; since it bears its impression's id, it counts once however often it comes. Three
things lose it, and ``lost`` counts them by name: ``full`` (the buffer was, so the newest was not taken), ``refused`` (the server does
not take it; the rest of its batch is sent without it), ``exit`` (it could not be sent before the end).
"""

import atexit
import logging
import random
import re
import threading
from collections import Counter, deque
from typing import Any

import msgspec

from sml_online_client.calls import Calls
from sml_online_client.errors import RefusedError, UnavailableError

logger = logging.getLogger(__name__)

IMPRESSIONS, CLICKS = "/impressions", "/clicks"
MOST_EVENTS, MOST_BYTES = 200, 500_000  # of a batch; a server takes 1 MiB, unless it is told otherwise
LONGEST_PAUSE = 60.0  # seconds, whatever a server asks for
TOO_LARGE = 413


class Events:
    """Buffers events and sends them.

    Args:
        calls: To the server, for the thread alone, which closes it.
        most_bytes: Of the events that wait.
        interval: Seconds after which what has come is sent.
        timeout: Seconds that a flush, and the last events at the end, may take.
    """

    def __init__(self, calls: Calls, most_bytes: int, interval: float, timeout: float) -> None:
        self._calls, self._most_bytes, self._interval, self._timeout = calls, most_bytes, interval, timeout
        self.lost: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._waiting: dict[str, deque[bytes]] = {IMPRESSIONS: deque(), CLICKS: deque()}  # in the order in which to send them
        self._count = self._size = 0  # events that were taken and not settled, and their bytes
        self._hurried = self._full = self._closed = self._over = False
        self._thread: threading.Thread | None = None
        atexit.register(self.close)

    def put(self, path: str, event: dict[str, Any]) -> None:
        """Take an event, encoded now: what becomes of its features later changes nothing.

        Raises:
            TypeError: a feature can't be written as JSON.
        """
        encoded = msgspec.json.encode(event)
        with self._changed:
            why = "exit" if self._closed else "full" if self._size + len(encoded) > self._most_bytes else None
            begins, self._full = why is not None and not self._full, why is not None
            if why is not None:
                self.lost[why] += 1
            else:
                self._waiting[path].append(encoded)
                self._count, self._size = self._count + 1, self._size + len(encoded)
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="sml-events", daemon=True)
                    self._thread.start()
                self._changed.notify_all()
        if begins:
            logger.error("events are lost: %s", "the client is closed" if why == "exit" else f"{self._size:,} bytes of them wait already")

    def flush(self) -> None:
        """Send what waits, now, and return when all of it is settled.

        Raises:
            UnavailableError: it is not, when the time is over.
        """
        with self._changed:
            self._hurried = True
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: not self._count, self._timeout):
                raise UnavailableError(f"{self._count:,} events are not sent after {self._timeout} s")

    def close(self) -> None:
        """Send what waits, and end; what can't be sent in time is lost, and said."""
        atexit.unregister(self.close)
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._count, self._timeout)
            self._over, lost = True, self._count
            self.lost["exit"] += lost
            self._changed.notify_all()
        if lost:
            logger.error("%d events are lost: they could not be sent within %s s of the end", lost, self._timeout)

    def _run(self) -> None:
        while self._wait():
            for path in self._waiting:
                while batch := self._take(path):
                    self._deliver(path, batch)
        self._calls.close()

    def _wait(self) -> bool:
        """Wait until there is something to send, and return whether there is; when the client is closed, there may be nothing."""
        with self._changed:
            self._changed.wait_for(lambda: self._count or self._closed)
            self._changed.wait_for(self._due, self._interval)
            self._hurried = False
            return self._count > 0 and not self._over

    def _due(self) -> bool:
        """Return whether to send before the interval is over."""
        return self._hurried or self._closed or self._size >= MOST_BYTES or max(map(len, self._waiting.values())) >= MOST_EVENTS

    def _take(self, path: str) -> list[bytes]:
        """Return the next batch; nothing when all is sent, or over."""
        batch: list[bytes] = []
        with self._changed:
            events, size = self._waiting[path], 0
            while events and not self._over and len(batch) < MOST_EVENTS and (not batch or size + len(events[0]) <= MOST_BYTES):
                batch.append(events.popleft())
                size += len(batch[-1])
        return batch

    def _deliver(self, path: str, batch: list[bytes]) -> None:
        """Send a batch until the server has it, or all is over."""
        while batch and not self._over:
            try:
                self._calls.post(path, b"[" + b",".join(batch) + b"]")
            except UnavailableError as error:
                self._pause(error.retry_after)
            except RefusedError as error:
                if error.status == TOO_LARGE and len(batch) > 1:
                    self._deliver(path, batch[: len(batch) // 2])
                    batch = batch[len(batch) // 2 :]
                else:
                    refused = _at_fault(error, len(batch))
                    logger.error(  # noqa: TRY400 - a trace says nothing about a refusal
                        "%s refuses %d of %d events: %s", path, len(batch[refused]), len(batch), error
                    )
                    self._settle(batch[refused], refused=True)
                    del batch[refused]
            else:
                self._settle(batch)
                return

    def _pause(self, seconds: float) -> None:
        """Leave the server alone for as long as it asks, within reason, and for a random part of a second."""
        with self._changed:
            self._changed.wait_for(lambda: self._over, min(seconds, LONGEST_PAUSE) + random.random())  # noqa: S311 - it spreads clients

    def _settle(self, events: list[bytes], *, refused: bool = False) -> None:
        with self._changed:
            if not self._over:
                self._count, self._size = self._count - len(events), self._size - sum(map(len, events))
                self.lost["refused"] += len(events) if refused else 0
            self._changed.notify_all()


def _at_fault(error: RefusedError, count: int) -> slice:
    """Return which events of a batch are refused: the one that the answer names, or all of them."""
    named = re.match(r"\[(\d{1,9})\]", error.field or "")
    if named and int(named[1]) < count:
        return slice(int(named[1]), int(named[1]) + 1)
    return slice(0, count)
