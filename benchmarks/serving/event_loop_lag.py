"""The lag of the server's event loop while weights arrive, and while nothing arrives.

``python -m benchmarks.serving.event_loop_lag`` fills a table of a million rows and packs it as a snapshot. It then learns 200 examples at
a time and packs each change as a delta. A task on an event loop wakes every millisecond and records how late it is: alone; while a
follower's thread applies a delta every 100 ms and hands the weights over; and while that thread loads the snapshot.
"""

import asyncio
import itertools
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from model.encoding.features import Features
from model.online import OnlineModel
from model.settings import Field, Spec
from service.api.served_weights import ServedWeights
from stream.weights.chunks import WeightsHeader, pack, unpack
from stream.weights.double_buffer import DoubleBuffer

FIELDS, ROWS, CHANGED, CLICKED, DELTAS, LOADS = 20, 1_000_000, 200, 0.2, 100, 5
EVERY, TICK, ALONE = 0.1, 0.001, 10.0  # seconds


class Published(NamedTuple):
    """What a follower reads from the log."""

    snapshot: bytes
    deltas: list[bytes]


def published() -> Published:
    """Learn random examples: of new values until the table is full, then of known values."""
    random = np.random.default_rng(0)
    spec = Spec(fields=tuple(Field(name=f"field {f}") for f in range(FIELDS)))
    model, version = OnlineModel(spec), itertools.count(1)

    def learn(keys: np.ndarray) -> None:
        features = Features(keys, np.arange(len(keys) + 1))
        model.learn(features, (random.random(len(keys) // FIELDS) < CLICKED).astype(np.float32))

    def packed(base: int | None) -> bytes:
        digest = model.digest()
        arrays = model.changes() if base else model.weights.arrays()
        header = WeightsHeader(next(version), base, digest, model.examples, None, int(time.time() * 1000))
        return pack(header, arrays, spec=spec.model_dump(mode="json"))

    seen = random.integers(1, 2**64, ROWS // FIELDS * FIELDS, np.uint64)
    learn(seen)
    snapshot = packed(None)
    deltas = []
    for base in range(1, DELTAS + 1):
        model.mark_published()
        learn(random.choice(seen, CHANGED * FIELDS))
        deltas.append(packed(base))
    return Published(snapshot, deltas)


async def lags(work: Callable[[], None]) -> list[float]:
    """Return how late each wake-up was while ``work`` ran in a thread, in ms."""
    thread = threading.Thread(target=work)
    late = []
    thread.start()
    while thread.is_alive():
        due = time.perf_counter() + TICK
        await asyncio.sleep(TICK)
        late.append(1000 * (time.perf_counter() - due))
    return late


async def measure(weights: Published) -> None:
    """Print the loop's lags."""
    served = ServedWeights()
    async with served.following(wait):
        double_buffer = DoubleBuffer.of_snapshot(weights.snapshot)
        await asyncio.to_thread(double_buffer.hand_over, served.hand_over)

        def follow() -> None:
            for delta in weights.deltas:
                time.sleep(EVERY)
                double_buffer.apply([unpack(delta)])
                double_buffer.hand_over(served.hand_over)

        def load() -> None:
            for _ in range(LOADS):
                DoubleBuffer.of_snapshot(weights.snapshot).hand_over(served.hand_over)

        show("nothing", await lags(lambda: time.sleep(ALONE)))
        show(f"{DELTAS} deltas of {len(weights.deltas[0]) / 1e3:.0f} kB", await lags(follow))
        show(f"{LOADS} snapshots of {len(weights.snapshot) / 1e6:.0f} MB", await lags(load))


def wait(_: ServedWeights, should_stop: Callable[[], bool]) -> None:
    """Hand over nothing."""
    while not should_stop():
        time.sleep(EVERY)


def show(what: str, late: list[float]) -> None:
    """Print a line."""
    middle, most = np.quantile(late, [0.5, 0.999])
    print(f"{what}: {len(late)} wake-ups, late by {middle:.2f} ms in the median, {most:.1f} at 99.9 %, {max(late):.1f} at most")


if __name__ == "__main__":
    asyncio.run(measure(published()))
