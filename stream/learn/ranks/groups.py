"""How ranks come together: as processes of the learner on one machine, or as torchrun and Kubernetes start them.

Each says in a store that it is there, and waits, however long, for rank 0 to want it. On one machine rank 0 looks there between two polls,
and joins the others once all are there, which takes milliseconds: until then it learns alone, and ends at once if it is told to.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from multiprocessing import get_context

from torch import distributed
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore  # their module exports them under no other name to a type checker
from torch.distributed.rendezvous import rendezvous

from stream.learn.errors import LearnError
from stream.learn.ranks.leader import Group, assist

_PATIENCE = timedelta(seconds=60)  # after which a rank that says nothing is lost
_LEARNER, _THERE = "learner", "there"  # the store's keys: that rank 0 joins; of each other rank, that it is there
_POLL = 0.2  # seconds between two looks at the store


class Processes:
    """Ranks that are processes of this one, on this machine; they end with it.

    Args:
        ranks: How many there are, this one included.
    """

    def __init__(self, ranks: int) -> None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        self._ranks, self._store = ranks, TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=_PATIENCE)
        context = get_context("spawn")
        self.processes = [context.Process(target=_process, args=(self._store.port, rank, ranks), daemon=True) for rank in range(1, ranks)]
        for process in self.processes:
            process.start()

    def joined(self) -> bool:
        """Return whether all are there."""
        if distributed.is_initialized():
            return True
        for rank, process in enumerate(self.processes, 1):
            if process.exitcode is not None:
                raise RuntimeError(f"rank {rank} has ended with status {process.exitcode} before all had come together")
        if all_there := self._store.check([f"{_THERE} {rank}" for rank in range(1, self._ranks)]):
            _join(self._store, 0, self._ranks)
        return all_there

    def close(self) -> None:
        """End the processes."""
        for process in self.processes:
            process.kill()
            process.join()
        if distributed.is_initialized():
            distributed.destroy_process_group()


class Torchrun:
    """Ranks that torchrun or Kubernetes has started."""

    def __init__(self) -> None:
        _join(_rendezvous(), *_of_torchrun())

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


def assist_torchrun() -> None:
    """Be a rank that torchrun has started; wait for the learner to want it, however long that takes to recover and to be mature."""
    _assist(_rendezvous(), *_of_torchrun())


def _rendezvous() -> Store:
    """Return the store by which the ranks that torchrun has started find each other, without what others wrote before a restart."""
    store, _, _ = next(rendezvous("env://", timeout=_PATIENCE))
    return PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)


def _of_torchrun() -> tuple[int, int]:
    """Return the rank of this process, and how many there are."""
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


def _process(port: int, rank: int, ranks: int) -> None:
    """Be a rank that rank 0 has started."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    with suppress(RuntimeError):  # rank 0 is gone
        _assist(TCPStore("127.0.0.1", port, is_master=False, timeout=_PATIENCE), rank, ranks)


def _join(store: Store, rank: int, ranks: int) -> None:
    """Be rank 0, and join the others, which wait for that."""
    store.set(_LEARNER, "")
    _init(store, rank, ranks)


def _assist(store: Store, rank: int, ranks: int) -> None:
    """Join rank 0 once it wants this one, and learn what it hands out."""
    store.set(f"{_THERE} {rank}", "")
    while not store.check([_LEARNER]):
        time.sleep(_POLL)
    _init(store, rank, ranks)
    assist()


def _init(store: Store, rank: int, ranks: int) -> None:
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=ranks, timeout=_PATIENCE)
