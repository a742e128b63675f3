"""A log in memory, a follower that hands weights over when a test says so, and an application built on both."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np
from fastapi.testclient import TestClient
from numpy.random import default_rng

from model.encoding.features import Encoder
from model.encoding.keys import Value
from model.online import OnlineModel
from model.settings import Field, ModelSettings, Spec, TableSettings
from model.weights import Weights
from service.access.guard import Access
from service.api.app import build
from service.api.choice import Explore
from service.api.served_weights import ServedWeights
from stream.inputs.event_time import TimeRule
from stream.log.contract import Bounds, Log, LogUnavailableError, Message, UnknownTopicError
from stream.log.topics import Topics
from stream.weights.chunks import WeightsHeader

SPEC = Spec(
    model=ModelSettings(hidden=(8, 4), embedding=4),
    table=TableSettings(capacity=1024),
    fields=(
        Field(name="user"),
        Field(name="item"),
        Field(name="price", kind="numeric"),
        Field(name="tags", kind="multi"),
        Field(name="hour", kind="hour"),
    ),
)
HOUR = 3_600_000  # ms
TRAINED_THROUGH = 1_760_000_000_000


class FakeLog:
    """Takes messages, unless it is away."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.threads: set[str] = set()
        self.error: Exception | None = None

    def append(self, messages: Sequence[Message]) -> list[int]:
        """Take the messages."""
        self.threads.add(threading.current_thread().name)
        if self.error:
            raise self.error
        self.messages += messages
        return list(range(len(self.messages) - len(messages), len(self.messages)))

    def bounds(self, topic: str) -> dict[int, Bounds]:
        """Say that there is no topic."""
        raise UnknownTopicError(topic)

    def file_sizes(self) -> dict[str, int]:
        """Say that the log has no files."""
        return {}

    def go_away(self) -> None:
        """Refuse from now on."""
        self.error = LogUnavailableError("the log is away")


class FakeFollower:
    """Hands over the weights that a test publishes."""

    def __init__(self) -> None:
        self.served: ServedWeights | None = None
        self.started = threading.Event()

    def follow(self, served: ServedWeights, should_stop: Callable[[], bool]) -> None:
        """Wait for the end; tests hand the weights over."""
        self.served = served
        self.started.set()
        while not should_stop():
            time.sleep(0.005)

    def publish(self, version: int, weights: Weights, *, caught_up: bool = True, age: float = 0.0) -> None:
        """Put weights into service, as a follower would."""
        self.started.wait(60)
        served = cast("ServedWeights", self.served)
        published_at = int((time.time() - age) * 1000)
        served.hand_over(WeightsHeader(version, version - 1, weights.digest(), 100 * version, TRAINED_THROUGH, published_at), weights)
        served.caught_up = caught_up


class Site:
    """An application on a fake log; a test may set the time of its host, in epoch seconds."""

    def __init__(
        self,
        rule: TimeRule | None = None,
        access: Access | None = None,
        personal: Sequence[str] = (),
        explore: Explore = "epsilon",
        reports: Path | None = None,
        name: str | None = None,
    ) -> None:
        """Build it; no weights are published yet."""
        self.now: float | None = None
        self.log, self.follower, self.topics = FakeLog(), FakeFollower(), Topics("sml")
        self.app = build(
            cast("Log", self.log),
            self.topics,
            self.follower.follow,
            rule=rule,
            clock=self.clock,
            access=access,
            personal=personal,
            explore=explore,
            reports=reports,
            name=name,
        )

    def clock(self) -> float:
        """Return the time that the host has."""
        return time.time() if self.now is None else self.now

    @contextmanager
    def client(self) -> Iterator[TestClient]:
        """Run the application."""
        with TestClient(self.app, raise_server_exceptions=False) as client:
            yield client


def trained(seed: int = 0, spec: Spec = SPEC) -> Weights:
    """Return weights that have learned a little, so that users, items and prices matter."""
    random = default_rng(seed)
    examples: list[dict[str, Value]] = [
        {"user": f"u{random.integers(5)}", "item": f"i{random.integers(5)}", "price": float(random.random())} for _ in range(200)
    ]
    features, _ = Encoder(spec.fields).encode(examples, [n * HOUR for n in range(200)])
    model = OnlineModel(spec)
    model.learn(features, random.integers(0, 2, 200).astype(np.float32))
    return model.weights
