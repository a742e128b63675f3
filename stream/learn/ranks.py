"""Learning on several ranks, by torch.distributed: rank 0 is the learner, the others learn the parts that it hands out.

    rank 0: read, decode, encode → a part to each → learn its own ┐
    rank k:                               learn the one it is given ┴→ all gather → merge, each for itself

Each rank holds the whole model, and all hold the same: a round changes them by :func:`model.rounds.merge`, everything else is done by each.
Before a version is published, all must have its digest. One rank learns alone until the model is mature (see ``MATURE``), and
whenever fewer examples wait than are worth sharing.

Where a rank is lost, nothing of its round counts: rank 0 learns the round again alone, and shares again once others have joined.
"""

import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from multiprocessing import get_context
from threading import Thread
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore  # their module exports them under no other name to a type checker
from torch.distributed.rendezvous import rendezvous

from model.array_file import dump, load
from model.online import Learned, OnlineModel
from model.rounds import Part, learn_part, merge, together
from model.settings import Spec
from stream.learn.errors import LearnError, RanksDifferError
from stream.learn.rank_messages import exchanged, packed, unpacked

logger = logging.getLogger(__name__)

MATURE = 10_000  # examples that one rank learns alone, for each rank that there will be: benchmarks/scale/ranks.md
PART = 256  # examples of one rank in a round
_PATIENCE = timedelta(seconds=60)  # after which a rank that says nothing is lost
_PING_EVERY = 10.0  # seconds: rank 0 has something to say this often
_AGAIN = 5.0  # seconds from losing ranks to waiting for others

_LEARNER, _POLL = "learner", 0.2  # the store's key that says that rank 0 joins; seconds between two looks at it
_NOTHING = torch.empty(0, dtype=torch.uint8)
_STATE, _LEARN, _ROUND, _FORGET, _DIGEST, _PING, _END = range(7)


class Group(Protocol):
    """The ranks of one torch.distributed group, as rank 0 has them."""

    def joined(self) -> bool:
        """Return whether all are there.

        Raises:
            RuntimeError: they don't come together.
        """
        ...

    def close(self) -> None:
        """Let go of them."""
        ...


class Processes:
    """Ranks that are processes of this one, on this machine; they end with it.

    Args:
        ranks: How many there are, this one included.
    """

    def __init__(self, ranks: int) -> None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=_PATIENCE)
        context = get_context("spawn")
        self.processes = [context.Process(target=_process, args=(store.port, rank, ranks), daemon=True) for rank in range(1, ranks)]
        for process in self.processes:
            process.start()
        self._joining = Thread(target=_join, args=(store, 0, ranks), name="ranks", daemon=True)
        self._joining.start()

    def joined(self) -> bool:
        """Return whether all are there."""
        if self._joining.is_alive():
            return False
        if not distributed.is_initialized():
            raise RuntimeError(f"{len(self.processes)} processes were started, and have not come together")
        return True

    def close(self) -> None:
        """End the processes."""
        for process in self.processes:
            process.kill()
            process.join()
        if not self._joining.is_alive() and distributed.is_initialized():
            distributed.destroy_process_group()


class Torchrun:
    """Ranks that torchrun or Kubernetes has started."""

    def __init__(self) -> None:
        store = _rendezvous()
        store.set(_LEARNER, "")
        _init(store, *_of_torchrun())

    def joined(self) -> bool:
        """Return true: they have joined, or there would be no group."""
        return True

    def close(self) -> None:
        """Leave the group."""
        distributed.destroy_process_group()


def torchrun() -> Callable[[], Group]:
    """Return what joins the ranks that torchrun has started, once: where one is lost, it starts all of them again."""
    joined = False

    def join() -> Group:
        nonlocal joined
        if joined:
            raise LearnError("a rank is lost: all of them have to start again, which torchrun and Kubernetes see to")
        joined = True
        return Torchrun()

    return join


class Leader:
    """Rank 0: shares what it has to learn.

    Args:
        ranks: How many there are.
        start: Starts the others.
        mature: The examples that this rank learns alone.
        part: Examples of one rank in a round; half of them are the fewest that are worth its while.
        again: Seconds from losing ranks to waiting for others.
    """

    def __init__(self, ranks: int, start: Callable[[], Group], mature: int | None = None, part: int = PART, again: float = _AGAIN) -> None:
        torch.set_num_threads(1)  # others would wait for work by turning, on the cores of the other ranks
        self.count, self._start, self._again = ranks, start, again
        self._mature = MATURE * ranks if mature is None else mature
        self.batch = ranks * part  # the most examples of one round
        self.bytes = self.rounds = 0  # that this rank has sent and received, and has shared
        self.group: Group | None = None
        self._model: OnlineModel | None = None  # the one that all ranks have; None: they have none
        self._next_ping = self._next_start = 0.0

    def ready(self, model: OnlineModel, examples: int) -> int:
        """Return how many ranks are to learn the next ``examples``."""
        if model.examples < self._mature:
            return 1
        if self.group is None and time.monotonic() >= self._next_start:
            self.group = self._start()
        if self._model is not model and self._is_joined():
            self._tell(_STATE, _tensor(dump(model.state(), {"spec": model.spec.model_dump(mode="json")})))
            self._model = model if self.group else None
        return self.count if self._model is model and 2 * examples >= self.batch else 1

    def learn(self, model: OnlineModel, parts: Sequence[Part]) -> tuple[Learned, int]:
        """Learn a round, as :class:`~model.rounds.Ranks` says."""
        if self._model is not model:
            return together([model.learn(*part) for part in parts]), 1
        if len(parts) == 1:
            self._tell(_LEARN, packed(parts[0]))
            return model.learn(*parts[0]), 1
        try:
            for rank, part in enumerate(parts[1:], 1):
                self._send(_ROUND, rank, packed(part))
            learned, updates, size = exchanged(*learn_part(model, parts[0]))
        except RuntimeError as error:
            self._lose(error)
            return together([model.learn(*part) for part in parts]), 1
        self.bytes += size
        self.rounds += 1
        merge(model, updates)
        return together(learned), len(parts)

    def forget(self, key: int) -> None:
        """Let all forget a value."""
        self._tell(_FORGET, _tensor(key.to_bytes(8, "little")))

    def ping(self) -> None:
        """Say that this rank is there, if it has not for long."""
        if time.monotonic() >= self._next_ping:
            self._tell(_PING)

    def check(self, digest: str) -> None:
        """Make sure that all have the same weights.

        Raises:
            RanksDifferError: one has others.
        """
        self._tell(_DIGEST)
        if self._model is None:
            return
        try:
            theirs = [_receive_from(rank, len(digest)).tobytes().decode() for rank in range(1, self.count)]
        except RuntimeError as error:
            self._lose(error)
            return
        if set(theirs) != {digest}:
            raise RanksDifferError(f"the ranks have the weights {', '.join([digest, *theirs])}, expected the same")

    def close(self) -> None:
        """Let the others end."""
        self._tell(_END)
        if self.group:
            self.group.close()
        self.group = self._model = None

    def _is_joined(self) -> bool:
        try:
            return self.group is not None and self.group.joined()
        except RuntimeError as error:
            self._lose(error)
            return False

    def _tell(self, command: int, data: torch.Tensor = _NOTHING) -> None:
        """Send the same to all others, if they have the model or are given it."""
        if self.group is None or (self._model is None and command != _STATE):
            return
        self._next_ping = time.monotonic() + _PING_EVERY
        try:
            for rank in range(1, self.count):
                self._send(command, rank, data)
        except RuntimeError as error:
            self._lose(error)

    def _send(self, command: int, rank: int, data: torch.Tensor) -> None:
        distributed.send(torch.tensor([command, len(data)]), rank)
        if len(data):
            distributed.send(data, rank)
        self.bytes += len(data)

    def _lose(self, error: Exception) -> None:
        logger.warning("a rank is lost, one learns alone until it is there again: %s", error)
        if self.group:
            with suppress(RuntimeError):
                self.group.close()
        self.group = self._model = None
        self._next_start = time.monotonic() + self._again


def assist() -> None:
    """Learn what rank 0 hands out, until it says that it is done or is lost."""
    torch.set_num_threads(1)
    model: OnlineModel | None = None
    while True:
        command, size = _receive_numbers()
        data = _receive_from(0, size)
        if command == _END:
            return
        if command == _STATE:
            arrays, header = load(data.tobytes())
            model = OnlineModel.from_state(Spec.model_validate(header["spec"]), arrays)
        elif model is not None:
            _obey(model, command, data)


def _obey(model: OnlineModel, command: int, data: NDArray[np.uint8]) -> None:
    if command == _LEARN:
        model.learn(*unpacked(data))
    elif command == _ROUND:
        _, updates, _ = exchanged(*learn_part(model, unpacked(data)))
        merge(model, updates)
    elif command == _FORGET:
        model.forget(int.from_bytes(data.tobytes(), "little"))
    elif command == _DIGEST:
        distributed.send(_tensor(model.digest().encode()), 0)
        model.mark_published()


def assist_torchrun() -> None:
    """Be a rank that torchrun has started; wait for the learner to want it, however long that takes to recover and to be mature."""
    store = _rendezvous()
    while not store.check([_LEARNER]):
        time.sleep(_POLL)
    _init(store, *_of_torchrun())
    assist()


def _rendezvous() -> Store:
    """Return the store by which the ranks that torchrun has started find each other, without what others wrote before a restart."""
    store, _, _ = next(rendezvous("env://", timeout=_PATIENCE))
    return PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)


def _of_torchrun() -> tuple[int, int]:
    """Return the rank of this process, and how many there are."""
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


def _init(store: Store, rank: int, ranks: int) -> None:
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=ranks, timeout=_PATIENCE)


def _process(port: int, rank: int, ranks: int) -> None:
    """Be a rank that rank 0 has started."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    if _join(TCPStore("127.0.0.1", port, is_master=False, timeout=_PATIENCE), rank, ranks):
        with suppress(RuntimeError):  # rank 0 is gone
            assist()


def _join(store: Store, rank: int, ranks: int) -> bool:
    """Join the others, and return whether all are there."""
    try:
        _init(store, rank, ranks)
    except RuntimeError as error:
        logger.warning("the ranks do not come together: %s", error)
        return False
    return True


def _tensor(data: bytes) -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(data, np.uint8).copy())


def _receive_numbers() -> tuple[int, int]:
    header = torch.zeros(2, dtype=torch.int64)
    distributed.recv(header, 0)
    return int(header[0]), int(header[1])


def _receive_from(rank: int, size: int) -> NDArray[np.uint8]:
    received = torch.empty(size, dtype=torch.uint8)
    if size:
        distributed.recv(received, rank)
    return received.numpy()
