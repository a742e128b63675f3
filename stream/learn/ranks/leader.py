"""Learning on several ranks, by torch.distributed: rank 0 is the learner, the others learn the parts that it hands out.

    rank 0: read, decode, encode → a part to each → learn its own ┐
    rank k:                               learn the one it is given ┴→ all gather → merge, each for itself

Each rank holds the whole model, and all hold the same: a round changes them by :func:`model.rounds.merge`, everything else is done by each.
Before a version is published, all must have its digest. One rank learns alone until the model is mature (``MATURE``), and
whenever fewer examples wait than are worth sharing.

Where a rank is lost, nothing of its round counts: rank 0 learns the round again alone, and shares again once others have joined.
"""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed

from model.array_file import dump, load
from model.online import Learned, OnlineModel
from model.rounds import Part, learn_part, merge, together
from model.settings import Spec
from stream.learn.errors import RanksDifferError
from stream.learn.ranks.messages import NOTHING, Command, exchanged, packed, received_command, received_from, send, tensor, unpacked

logger = logging.getLogger(__name__)

MATURE = 10_000  # examples that one rank learns alone, for each rank that there will be: benchmarks/scale/ranks.md
PART = 256  # examples of one rank in a round
_PING_EVERY = 10.0  # seconds: rank 0 has something to say this often
_AGAIN = 5.0  # seconds from losing ranks to waiting for others


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
            self._tell(Command.STATE, tensor(dump(model.state(), {"spec": model.spec.model_dump(mode="json")})))
            self._model = model if self.group else None
        return self.count if self._model is model and 2 * examples >= self.batch else 1

    def learn(self, model: OnlineModel, parts: Sequence[Part]) -> tuple[Learned, int]:
        """Learn a round, as :class:`~model.rounds.Ranks` says."""
        if self._model is not model:
            return together([model.learn(*part) for part in parts]), 1
        if len(parts) == 1:
            self._tell(Command.LEARN, packed(parts[0]))
            return model.learn(*parts[0]), 1
        try:
            for rank, part in enumerate(parts[1:], 1):
                self._send(Command.ROUND, rank, packed(part))
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
        self._tell(Command.FORGET, tensor(key.to_bytes(8, "little")))

    def ping(self) -> None:
        """Say that this rank is there, if it has not for long."""
        if time.monotonic() >= self._next_ping:
            self._tell(Command.PING)

    def check(self, digest: str) -> None:
        """Make sure that all have the same weights.

        Raises:
            RanksDifferError: one has others.
        """
        self._tell(Command.DIGEST)
        if self._model is None:
            return
        try:
            theirs = [received_from(rank, len(digest)).tobytes().decode() for rank in range(1, self.count)]
        except RuntimeError as error:
            self._lose(error)
            return
        if set(theirs) != {digest}:
            raise RanksDifferError(f"the ranks have the weights {', '.join([digest, *theirs])}, expected the same")

    def close(self) -> None:
        """Let the others end."""
        self._tell(Command.END)
        if self.group:
            self.group.close()
        self.group = self._model = None

    def _is_joined(self) -> bool:
        try:
            return self.group is not None and self.group.joined()
        except RuntimeError as error:
            self._lose(error)
            return False

    def _tell(self, command: Command, data: torch.Tensor = NOTHING) -> None:
        """Send the same to all others, if they have the model or are given it."""
        if self.group is None or (self._model is None and command is not Command.STATE):
            return
        self._next_ping = time.monotonic() + _PING_EVERY
        try:
            for rank in range(1, self.count):
                self._send(command, rank, data)
        except RuntimeError as error:
            self._lose(error)

    def _send(self, command: Command, rank: int, data: torch.Tensor) -> None:
        send(command, rank, data)
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
        command, data = received_command()
        if command is Command.END:
            return
        if command is Command.STATE:
            arrays, header = load(data.tobytes())
            model = OnlineModel.from_state(Spec.model_validate(header["spec"]), arrays)
        elif model is not None:
            _obey(model, command, data)


def _obey(model: OnlineModel, command: Command, data: NDArray[np.uint8]) -> None:
    if command is Command.LEARN:
        model.learn(*unpacked(data))
    elif command is Command.ROUND:
        _, updates, _ = exchanged(*learn_part(model, unpacked(data)))
        merge(model, updates)
    elif command is Command.FORGET:
        model.forget(int.from_bytes(data.tobytes(), "little"))
    elif command is Command.DIGEST:
        distributed.send(tensor(model.digest().encode()), 0)
        model.mark_published()
