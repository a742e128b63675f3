"""``sml bench table``: rows found and rows inserted a second, beside a Python dict and beside numpy's binary search.

Each side gets the same random keys on one thread, in turn, several times; the figures are medians. All find the row of a key: a dict,
which grows without bound, or sorted keys, which can't grow, against a table of fixed memory.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.kernels.rows.table import claim, find
from model.kernels.target import kernel

CAPACITIES = (1 << 14, 1 << 17, 1 << 20, 1 << 22)
LOOKED_UP = 400_000  # keys in one measurement
LOAD = 0.75  # of the capacity: at this load about one value in a hundred finds its set full


class TableSpeed(NamedTuple):
    """One capacity's line of ``sml bench table``; all but ``capacity`` and the ratios in million keys a second."""

    capacity: int
    found: float
    found_in_dict: float
    found_by_numpy: float
    inserted: float
    inserted_in_dict: float
    found_ratio: float  # to the dict
    inserted_ratio: float


def tables(repeats: int) -> Iterator[TableSpeed]:
    """Measure every capacity."""
    for capacity in CAPACITIES:
        yield measure(capacity, repeats)


def measure(capacity: int, repeats: int) -> TableSpeed:
    """Find and insert the same keys with each side in turn."""
    random = np.random.default_rng(0)
    present = random.integers(1, 2**64, size=int(capacity * LOAD), dtype=np.uint64)
    wanted = random.choice(present, LOOKED_UP)
    inserted = present[:LOOKED_UP]
    keys = np.zeros(capacity, np.uint64)
    insert_all(keys, np.zeros(capacity, np.int64), present)
    rows, ascending, as_int = {int(key): n for n, key in enumerate(present)}, np.sort(present), wanted.tolist()
    seconds = _medians(
        {
            "found": lambda: find_all(keys, wanted),
            "found_in_dict": lambda: [rows[key] for key in as_int],
            "found_by_numpy": lambda: np.searchsorted(ascending, wanted),
            "inserted": lambda: insert_all(np.zeros(capacity, np.uint64), np.zeros(capacity, np.int64), inserted),
            "inserted_in_dict": lambda: {key: n for n, key in enumerate(inserted.tolist())},
        },
        repeats,
    )
    counts = {name: len(inserted) if name.startswith("inserted") else LOOKED_UP for name in seconds}
    speed = {name: round(counts[name] / taken / 1e6, 2) for name, taken in seconds.items()}
    return TableSpeed(
        capacity,
        **speed,
        found_ratio=round(seconds["found_in_dict"] / seconds["found"], 1),
        inserted_ratio=round(seconds["inserted_in_dict"] / seconds["inserted"], 1),
    )


def _medians(sides: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Run each side once to warm up, then all in turn; return the median seconds of each."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats + 1):
        for name, run in sides.items():
            start = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds[1:]) for name, seconds in taken.items()}


@kernel
def find_all(keys: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> int:
    """Find the row of every key, and return the sum of the rows, so that no look-up is optimised away."""
    total = 0
    for i in range(wanted.shape[0]):
        total += find(keys, wanted[i])
    return total


@kernel
def insert_all(keys: NDArray[np.uint64], used: NDArray[np.int64], new: NDArray[np.uint64]) -> None:
    """Give every key a row, the least recently used where its set is full."""
    for i in range(new.shape[0]):
        row = claim(keys, used, new[i], i + 1)
        keys[row], used[row] = new[i], i + 1
