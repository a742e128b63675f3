"""How ranks come together: as processes of the learner on one machine, or as torchrun and Kubernetes start them."""

import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from multiprocessing import get_context
from threading import Thread

from torch import distributed
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore  # their module exports them under no other name to a type checker
from torch.distributed.rendezvous import rendezvous

from stream.learn.errors import LearnError
from stream.learn.ranks import Group, assist

logger = logging.getLogger(__name__)

_PATIENCE = timedelta(seconds=60)  # after which a rank that says nothing is lost
_LEARNER, _POLL = "learner", 0.2  # the store's key that says that rank 0 joins; seconds between two looks at it


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
