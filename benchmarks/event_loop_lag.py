"""How late the server's event loop is while weights arrive, beside how late it is when nothing does.

``python -m benchmarks.event_loop_lag`` fills a table of a million rows. It packs the table as a snapshot, and what 200 more examples
change as a delta, again and again. A task on an event loop then wakes every millisecond and measures how late it is: alone for a while,
while a follower's thread applies and hands over a delta every 100 ms, and while that thread loads the snapshot.
"""

import asyncio
import itertools
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from model.features import Features
from model.online import OnlineModel
from model.settings import Field, Spec
from service.api.served_weights import ServedWeights
from stream.weights.chunks import WeightsHeader, pack, unpack
from stream.weights.follow import DoubleBuffer

FIELDS, ROWS, CHANGED, CLICKED, DELTAS, LOADS = 20, 1_000_000, 200, 0.2, 100, 5
EVERY, TICK, ALONE = 0.1, 0.001, 10.0  # seconds


class Published(NamedTuple):
    """What a follower gets."""

    snapshot: bytes
    deltas: list[bytes]


def published() -> Published:
    """Learn random examples, of new values until the table is full, then of known ones."""
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


async def lateness(work: Callable[[], None]) -> list[float]:
    """Return by how much each wake-up was late while ``work`` ran in a thread, in ms."""
    thread = threading.Thread(target=work)
    late = []
    thread.start()
    while thread.is_alive():
        due = time.perf_counter() + TICK
        await asyncio.sleep(TICK)
        late.append(1000 * (time.perf_counter() - due))
    return late


async def measure(weights: Published) -> None:
    """Print what the loop went through."""
    live = ServedWeights()
    async with live.following(wait):
        copies = DoubleBuffer.of_snapshot(weights.snapshot)
        await asyncio.to_thread(copies.hand_over, live.hand_over)

        def follow() -> None:
            for delta in weights.deltas:
                time.sleep(EVERY)
                copies.apply([unpack(delta)])
                copies.hand_over(live.hand_over)

        def load() -> None:
            for _ in range(LOADS):
                DoubleBuffer.of_snapshot(weights.snapshot).hand_over(live.hand_over)

        show("nothing", await lateness(lambda: time.sleep(ALONE)))
        show(f"{DELTAS} deltas of {len(weights.deltas[0]) / 1e3:.0f} kB", await lateness(follow))
        show(f"{LOADS} snapshots of {len(weights.snapshot) / 1e6:.0f} MB", await lateness(load))


def wait(_: ServedWeights, should_stop: Callable[[], bool]) -> None:
    """Bring no weights of its own."""
    while not should_stop():
        time.sleep(EVERY)


def show(what: str, late: list[float]) -> None:
    """Print a line."""
    middle, most = np.quantile(late, [0.5, 0.999])
    print(f"{what}: {len(late)} wake-ups, late by {middle:.2f} ms in the median, {most:.1f} at 99.9 %, {max(late):.1f} at most")


if __name__ == "__main__":
    asyncio.run(measure(published()))
