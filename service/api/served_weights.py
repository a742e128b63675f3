"""The weights in service. The event loop owns the only reference to them.

Predictions are made on the loop, and only the loop swaps the reference: an answer never mixes two versions, and nothing is locked.
"""

import asyncio
import gc
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeAlias

from model.encoding.features import Encoder
from model.explanation.contributions import contributions
from model.exploration import chances
from model.weights import Weights
from service.api.in_thread import in_thread
from service.api.predictor import Predictor
from stream.log.topics import CONTROL
from stream.records.heartbeat import Heartbeat
from stream.records.version import LearnerState, Version
from stream.weights.chunks import WeightsHeader
from stream.weights.shared import HEARTBEATS

logger = logging.getLogger(__name__)


def load_kernels(weights: Weights, *, every: bool = True) -> None:
    """Call the kernels that predict, and ``every`` other that answers: a kernel's first call compiles or loads it, and not on the loop."""
    nothing, _ = Encoder(weights.spec.fields).encode([], [])
    weights.spreads(nothing, weights.probabilities(nothing))
    if every:
        contributions(weights, nothing)
        chances([0.0, 0.0], [1.0, 1.0], 1)


class NoWeightsError(Exception):
    """No weights have arrived yet."""


class ServedWeights:
    """Holds the newest weights, which a follower hands over from its own thread."""

    def __init__(self, clock: Callable[[], float] = time.time, arm: str = CONTROL) -> None:
        """Begin without weights; ``clock`` returns epoch seconds."""
        self._clock, self.arm = clock, arm
        self.caught_up = False  # the follower has reached what was the log's end at its start
        self.followed = False  # a follower runs
        self.held: Version | None = None  # the newest version, if it is held: what is served is older
        self.learner: LearnerState | None = None  # what the learner said of itself last
        self.heartbeats: deque[Heartbeat] = deque(maxlen=HEARTBEATS)  # that arrived last
        self._predictor: Predictor | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def has_weights(self) -> bool:
        """Whether weights have arrived."""
        return self._predictor is not None

    @property
    def predictor(self) -> Predictor:
        """The predictor of the newest weights.

        Raises:
            NoWeightsError: there are none yet.
        """
        if self._predictor is None:
            raise NoWeightsError("no weights yet: is `sml learn` running on the same log?")
        return self._predictor

    def staleness(self) -> float:
        """Return the seconds since the weights in service were published.

        They rise when no newer weights come: the learner or the log is away, or there is nothing to learn. They are never below 0,
        though the learner's clock may be ahead of ours.

        Raises:
            NoWeightsError: there are none yet.
        """
        return max(0.0, self._clock() - self.predictor.header.published_at / 1000)

    def hand_over(self, header: WeightsHeader, weights: Weights) -> None:
        """Put ``weights`` into service, from the follower's thread; on return, nothing reads the previous ones any more."""
        if self._loop is None:
            raise RuntimeError("weights are handed over inside `following` only")
        load_kernels(weights, every=self._predictor is None)
        if self._predictor is None:
            gc.freeze()  # what is loaded by now stays: the garbage collector's walks over it would block the loop for 0.2 s each
        asyncio.run_coroutine_threadsafe(self._take(header, weights), self._loop).result()

    @asynccontextmanager
    async def following(self, follow: "Follow", is_retired: Callable[[], bool] = lambda: False) -> AsyncIterator[None]:
        """Run ``follow`` in a thread until the block ends, or until the arm is retired: then the weights are let go."""
        self._loop, self.followed = asyncio.get_running_loop(), True
        async with in_thread(partial(self._run, follow, is_retired), "follower"):
            yield

    async def _take(self, header: WeightsHeader, weights: Weights) -> None:
        self._predictor = self._predictor.next(header, weights) if self._predictor else Predictor(header, weights)

    def _run(self, follow: "Follow", is_retired: Callable[[], bool], should_stop: Callable[[], bool]) -> None:
        try:
            follow(self, lambda: should_stop() or is_retired())
        except Exception:
            logger.exception("The follower has ended: the weights stay as they are until the server is restarted")
        finally:
            self.followed = False
            if is_retired():
                self._predictor = None  # a request at work holds the weights until it is answered


Follow: TypeAlias = Callable[[ServedWeights, Callable[[], bool]], None]
"""Hands weights over to a :class:`ServedWeights`, and sets its ``caught_up``, until told to stop."""
