"""Weights that processes share: a worker serves what the follower offers, and nothing is written to what a worker may be reading."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from msgspec.structs import replace

from model.weights import Weights
from stream.records.heartbeat import Heartbeat
from stream.records.version import LearnerState, Version
from stream.weights import shared
from stream.weights.chunks import WeightsHeader
from stream.weights.shared import Offer, SharedFollower, joining
from stream.weights.shared_memory import SharedMemory
from tests.stream.learning import SPEC

HEADER = WeightsHeader(3, 2, "digest", 100, None, 1_000)
SILENT = """
import socket, sys, time
follower = socket.socket(socket.AF_UNIX)
follower.connect(sys.argv[1])
follower.sendall(b"\\0\\0\\0\\7control")
time.sleep(60)
"""

WORKER = """
import os, resource, sys, threading, time
from pathlib import Path
from stream.weights.shared import SharedFollower

class Taker:
    arm, caught_up, held, learner = "control", False, None, None

    def hand_over(self, header, weights):
        if header.version == 6:
            raise MemoryError
        print(header.version, float(weights.dense[0]), flush=True)
        if header.version == 4:  # from now on there is no descriptor left
            lowest = os.dup(0)
            os.close(lowest)
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

threading.Thread(target=SharedFollower(Path(sys.argv[1])), args=(Taker(), lambda: False)).start()
time.sleep(60)
"""


class Taker:
    """Takes weights, and reads them when it is let."""

    def __init__(self) -> None:
        self.arm = "control"
        self.caught_up = False
        self.held: Version | None = None
        self.learner: LearnerState | None = None
        self.heartbeats: deque[Heartbeat] = deque()
        self.taken: list[tuple[int, float]] = []  # version, first parameter
        self.may_read = threading.Event()
        self.may_read.set()

    def hand_over(self, header: WeightsHeader, weights: Weights) -> None:
        """Read the first parameter."""
        assert self.may_read.wait(10)
        self.taken.append((header.version, float(weights.dense[0])))


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Yield a socket that workers connect to; its path is short, as such paths must be."""
    with TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{folder}/weights")
        listening.listen()
        listening.settimeout(10)
        yield listening


def offered(offer: Offer, value: float) -> Weights:
    """Return weights in shared memory whose parameters all have one value."""
    weights = Weights(SPEC, memory=offer.memory())
    weights.dense[...] = value
    return weights


def test_memory_that_another_process_is_handed_holds_the_same_arrays() -> None:
    memory = SharedMemory()
    weights = Weights(SPEC, memory=memory)
    weights.dense[...], weights.keys[5], weights.rows[5], weights.records.counts[-1] = 0.5, 77, 1.5, 2.5

    other = Weights(SPEC, memory=SharedMemory(os.dup(memory.descriptor)))

    for mine, theirs in zip((weights.dense, weights.keys, weights.rows), (other.dense, other.keys, other.rows), strict=True):
        assert np.array_equal(mine, theirs)
    weights.rows[6] = 3.5
    assert other.rows[6].tolist() == [3.5] * 5
    assert other.records.counts[-1].tolist() == weights.records.counts[-1].tolist()


def test_what_the_system_has_no_memory_for_is_a_memory_error() -> None:
    with pytest.raises(MemoryError, match="bytes of shared memory"):
        SharedMemory()(2**60, np.uint64)


def test_weights_are_handed_over_only_once_every_worker_has_taken_them(listener: socket.socket) -> None:
    offer, taker, stop = Offer(), Taker(), threading.Event()
    follow = SharedFollower(Path(listener.getsockname()))
    thread = threading.Thread(target=follow, args=(taker, stop.is_set))
    thread.start()
    worker = listener.accept()[0]
    assert joining(worker) == "control"
    offer.join(worker)
    assert follow.told.acquire(timeout=10)

    taker.may_read.clear()
    handing = threading.Thread(target=offer.hand_over, args=(HEADER, offered(offer, 0.25)))
    handing.start()
    handing.join(0.2)
    assert handing.is_alive()
    taker.may_read.set()
    handing.join(10)
    offer.caught_up = True
    offer.tell()
    offer.hand_over(HEADER, offered(offer, 0.5))

    assert taker.taken == [(3, 0.25), (3, 0.5)]
    assert taker.caught_up
    stop.set()
    offer.end()
    thread.join(10)


def test_a_worker_that_does_not_take_the_weights_is_ended(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = subprocess.Popen([sys.executable, "-c", SILENT, listener.getsockname()])
    offer, worker = Offer(), listener.accept()[0]
    assert joining(worker) == "control"
    monkeypatch.setattr(shared, "_ANSWER_TIMEOUT", 0.1)
    offer.join(worker)

    offer.hand_over(HEADER, offered(offer, 0.5))

    assert silent.wait(10) == -signal.SIGKILL


@pytest.fixture
def worker(listener: socket.socket) -> Iterator[subprocess.Popen[str]]:
    """Start a process that takes the weights of version 3 and 4, then has no descriptor left, and can't take version 6."""
    with subprocess.Popen([sys.executable, "-c", WORKER, listener.getsockname()], stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def handed_two_copies(listener: socket.socket) -> tuple[Offer, list[Weights]]:
    """Return an offer that the worker has joined, and the two copies that it has taken."""
    offer, connection = Offer(), listener.accept()[0]
    assert joining(connection) == "control"
    offer.join(connection)
    copies = [offered(offer, 0.25), offered(offer, 0.5)]
    for version, weights in enumerate(copies, 3):
        offer.hand_over(replace(HEADER, version=version), weights)
    return offer, copies


def test_a_worker_without_a_descriptor_left_still_takes_the_copies_that_it_knows(
    listener: socket.socket, worker: subprocess.Popen[str]
) -> None:
    offer, copies = handed_two_copies(listener)

    copies[0].dense[...] = 0.75
    offer.hand_over(replace(HEADER, version=5), copies[0])

    offer.end()
    worker.kill()
    assert worker.communicate()[0].splitlines() == ["3 0.25", "4 0.5", "5 0.75"]


@pytest.mark.parametrize("version", [5, 6])
def test_a_worker_that_cannot_take_the_weights_ends_as_those_that_it_has_will_be_written_to(
    listener: socket.socket, worker: subprocess.Popen[str], version: int
) -> None:
    offer, copies = handed_two_copies(listener)
    unknown = offered(offer, 0.75)  # in memory that the worker has no descriptor for

    offer.hand_over(replace(HEADER, version=version), unknown if version == 5 else copies[0])

    offer.end()
    assert worker.wait(10) == 1


def test_a_follower_that_takes_anothers_place_does_not_make_a_worker_unready(listener: socket.socket) -> None:
    taker, stop = Taker(), threading.Event()
    follow = SharedFollower(Path(listener.getsockname()))
    thread = threading.Thread(target=follow, args=(taker, stop.is_set))
    thread.start()
    first, second = Offer(), Offer()
    first.caught_up = True
    for offer in (first, second):
        worker = listener.accept()[0]
        assert joining(worker) == "control"
        offer.join(worker)
        offer.hand_over(HEADER, offered(offer, 0.25))
        first.end()

    assert taker.caught_up
    stop.set()
    second.end()
    thread.join(10)
