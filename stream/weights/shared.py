"""One copy of the weights for many processes: a follower offers them in shared memory, workers serve from them.

A worker that is told of weights puts them into service, then answers. Only when all have answered does the follower write to the copy
that was in service before. A worker that does not answer is ended by the system before that, or it would predict from torn weights; so a
worker that can't take what it is told of ends itself, and does not disconnect before. Without a follower, workers keep the copy that
they have.
"""

import logging
import os
import select
import signal
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from model.settings import Spec
from model.weights import Weights
from stream.log.reading import sleep_unless
from stream.records.heartbeat import Heartbeat
from stream.records.version import LearnerState, Version
from stream.weights.chunks import WeightsHeader
from stream.weights.frames import LENGTH, exactly, framed, received
from stream.weights.shared_memory import SharedMemory

logger = logging.getLogger(__name__)

HEARTBEATS = 120  # that are remembered: two minutes
COPIES = 2  # of the weights, in shared memory
_PATIENCE = 0.25  # seconds that a worker waits for news; then it checks whether to stop
_ANSWER_TIMEOUT = 30.0  # seconds that the other side may take
_RETRY = 0.2  # seconds before a worker looks for a follower again
_ACK = b"+"
_PEER = struct.Struct("3i")  # of SO_PEERCRED: process, user, group


class News(Struct):
    """What a worker is told: how things stand and, with a descriptor of their memory, which weights are the newest."""

    caught_up: bool
    held: Version | None
    learner: LearnerState | None
    heartbeats: list[Heartbeat]
    header: WeightsHeader | None = None  # None: the weights are still those of before
    memory: int = 0  # its number, of this follower's
    spec: dict[str, Any] | None = None


class Offer:
    """What a follower hands its weights to: all workers that have joined. Its weights lie in the memory that :meth:`memory` returned."""

    def __init__(self) -> None:
        self.caught_up = False
        self.held: Version | None = None
        self.learner: LearnerState | None = None
        self.heartbeats: deque[Heartbeat] = deque(maxlen=HEARTBEATS)
        self._lock = threading.Lock()
        self._workers: list[socket.socket] = []
        self._current: tuple[WeightsHeader, Weights] | None = None
        self._told: News | None = None

    def memory(self) -> SharedMemory:
        """Return the memory of a new copy."""
        return SharedMemory()

    def join(self, worker: socket.socket) -> None:
        """Add a worker, which first learns how things stand."""
        worker.settimeout(_ANSWER_TIMEOUT)
        with self._lock:
            self._workers.append(worker)
            self._tell([worker], self._news(weights=True))

    def hand_over(self, header: WeightsHeader, weights: Weights) -> None:
        """Put ``weights`` into service everywhere; on return, no worker reads the previous ones any more."""
        with self._lock:
            self._current = header, weights
            self._tell(self._workers, self._news(weights=True))

    def tell(self) -> None:
        """Tell all workers how things stand, if that has changed."""
        with self._lock:
            if (news := self._news(weights=False)) != self._told:
                self._told = news
                self._tell(self._workers, news)

    def end(self) -> None:
        """Offer nothing any more, and forget the weights."""
        with self._lock:
            for worker in self._workers:
                worker.close()
            self._workers, self._current = [], None

    def _news(self, *, weights: bool) -> News:
        news = News(self.caught_up, self.held, self.learner, list(self.heartbeats))
        if weights and self._current:
            news.header, newest = self._current
            news.memory, news.spec = self._memory_of(newest).number, newest.spec.model_dump(mode="json")
        return news

    @staticmethod
    def _memory_of(weights: Weights) -> SharedMemory:
        if not isinstance(weights.memory, SharedMemory):
            raise TypeError("only weights in shared memory can be offered")
        return weights.memory

    def _tell(self, workers: list[socket.socket], news: News) -> None:
        """Send news to workers, then wait until each has taken the weights that it tells of."""
        descriptors = [self._memory_of(self._current[1]).descriptor] if news.header and self._current else []
        told = [worker for worker in workers if self._reach(worker, lambda worker: _send(worker, news, descriptors))]
        if news.header:
            for worker in told:
                self._reach(worker, _take_ack)

    def _reach(self, worker: socket.socket, act: Callable[[socket.socket], None]) -> bool:
        """Return whether a worker is there; one that is, but does not answer, is ended."""
        try:
            act(worker)
        except OSError as error:
            if isinstance(error, TimeoutError):
                process, _, _ = _PEER.unpack(worker.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
                logger.warning("worker %s has not taken the weights within %g s and is ended", process, _ANSWER_TIMEOUT)
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            worker.close()
            self._workers = [each for each in self._workers if each is not worker]
            return False
        return True


class Taker(Protocol):
    """Serves predictions from what it is handed."""

    arm: str
    caught_up: bool
    held: Version | None
    learner: LearnerState | None
    heartbeats: deque[Heartbeat]

    def hand_over(self, header: WeightsHeader, weights: Weights) -> None:
        """Put ``weights`` into service; when this returns, nothing reads the earlier weights any more."""
        ...


class SharedFollower:
    """Hands a worker the weights that a follower offers at ``path``, whichever follower is there.

    Attributes:
        told: Released once for each arm, when it is known how things stand.
    """

    def __init__(self, path: Path) -> None:
        self._path, self.told = path, threading.Semaphore(0)

    def __call__(self, taker: Taker, should_stop: Callable[[], bool]) -> None:
        """Follow until told to stop. Once caught up, a taker stays so: a follower that takes another's place has yet to catch up."""
        first = True
        while not should_stop():
            with suppress(OSError), socket.socket(socket.AF_UNIX) as follower:  # it has ended; another one takes its place
                follower.settimeout(_ANSWER_TIMEOUT)
                follower.connect(str(self._path))
                follower.sendall(framed(taker.arm.encode()))
                follower.settimeout(None)  # one that stands still within a message may go on
                copies: dict[int, Weights] = {}
                while not should_stop():
                    if select.select([follower], [], [], _PATIENCE)[0]:
                        self._take(follower, taker, copies)
                        if first:
                            self.told.release()
                        first = False
            sleep_unless(should_stop, _RETRY)

    @staticmethod
    def _take(follower: socket.socket, taker: Taker, copies: dict[int, Weights]) -> None:
        news, descriptor = _receive(follower)
        taker.held, taker.learner = news.held, news.learner
        taker.heartbeats = deque(news.heartbeats, HEARTBEATS)
        if news.header:
            try:
                taker.hand_over(news.header, _weights_of(news, descriptor, copies))
            except Exception:
                logger.exception("the weights can't be put into service: this worker ends, as those that it has will be written to")
                os._exit(1)
            follower.sendall(_ACK)
        taker.caught_up = taker.caught_up or news.caught_up


def _weights_of(news: News, descriptor: int | None, copies: dict[int, Weights]) -> Weights:
    """Return the weights that news tell of: one of the copies, which are those told of last, or what is new in the memory handed over.

    Raises:
        MemoryError: there is no address left for the memory.
        OSError: there was no descriptor left for it.
    """
    memory = None if descriptor is None else SharedMemory(descriptor)
    weights = copies.pop(news.memory, None)
    if weights is None:
        if memory is None:
            raise OSError("expected a descriptor of the weights' memory, got none: are too many files open?")
        weights = Weights(Spec.model_validate(news.spec), memory=memory)
    copies[news.memory] = weights
    for stale in list(copies)[:-COPIES]:
        del copies[stale]
    return weights


def joining(worker: socket.socket) -> str:
    """Return which arm's weights a worker wants that has connected.

    Raises:
        OSError: it has gone.
    """
    worker.settimeout(_ANSWER_TIMEOUT)
    return received(worker).decode()


def _take_ack(worker: socket.socket) -> None:
    exactly(worker, len(_ACK))


def _send(worker: socket.socket, news: News, descriptors: list[int]) -> None:
    data = msgspec.msgpack.encode(news)
    socket.send_fds(worker, [LENGTH.pack(len(data))], descriptors)
    worker.sendall(data)


def _receive(follower: socket.socket) -> tuple[News, int | None]:
    length, descriptors, _, _ = socket.recv_fds(follower, LENGTH.size, 1)
    length += exactly(follower, LENGTH.size - len(length)) if length else b""
    if not length:
        raise ConnectionError("the follower has ended")
    data = exactly(follower, LENGTH.unpack(length)[0])
    return msgspec.msgpack.decode(data, type=News), next(iter(descriptors), None)
