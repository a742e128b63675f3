"""The table of embeddings: fixed memory, whole 64-bit keys, sets of eight, the least recently used row expires.

A row holds a value's embedding, then its wide weight. Positions are part of the state: the same examples in the
same order fill the same rows, so learner, server and replay agree.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.kernels.intrinsics import prefetch
from model.kernels.rows.record import Records
from model.kernels.target import anywhere, inner, kernel

WAYS = 8
EMPTY = np.uint64(0)
OCCUPIED, EXPIRED = 0, 1  # indices of Table.counts


class Table(NamedTuple):
    """The arrays of a table of ``C`` rows and embeddings of ``d`` values."""

    keys: NDArray[np.uint64]  # (C,), 0 where a row is empty
    rows: NDArray[Any]  # (C, d + 1): embedding, wide weight
    used: NDArray[np.int64]  # (C,), the example that last touched the row, counted from 1
    accumulators: NDArray[Any]  # (C, d + 1), Adagrad's
    touched: NDArray[np.bool_]  # (C,), since the flags were last cleared
    counts: NDArray[np.int64]  # (2,), rows occupied, values expired
    records: Records


@anywhere
def first_way(key: np.uint64, capacity: int) -> int:
    """Return the first row of the set that may hold ``key``."""
    sets = np.uint64(capacity // WAYS)
    return int(((key >> np.uint64(32)) * sets) >> np.uint64(32)) * WAYS


@anywhere
def find(keys: NDArray[np.uint64], key: np.uint64) -> int:
    """Return the row that holds ``key``, or -1."""
    first = first_way(key, keys.shape[0])
    for row in range(first, first + WAYS):
        if keys[row] == key:
            return row
    return -1


def find_all(keys: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the row that holds each wanted key, or −1."""
    rows = np.empty(len(wanted), np.int64)
    _fill_found(keys, wanted, rows)
    return rows


@kernel
def _fill_found(keys: NDArray[np.uint64], wanted: NDArray[np.uint64], rows: NDArray[np.int64]) -> None:
    for i in range(wanted.shape[0]):
        rows[i] = find(keys, wanted[i])


@inner
def fetch(keys: NDArray[np.uint64], rows: NDArray[Any], records: Records, wanted: NDArray[np.uint64]) -> None:
    """Ask for all rows of the wanted keys, which are to be read soon: the memory works on many at once, where each would be waited for."""
    for i in range(wanted.shape[0]):
        prefetch(keys, first_way(wanted[i], keys.shape[0]))
    for i in range(wanted.shape[0]):
        row = find(keys, wanted[i])
        if row >= 0:
            prefetch(rows, row)
            if records.counts.shape[0] > 0:
                prefetch(records.counts, row)


@inner
def claim(keys: NDArray[np.uint64], used: NDArray[np.int64], key: np.uint64, now: int) -> int:
    """Return the row for a new ``key``: an empty one, else the least recently used; -1 if example ``now`` uses them all.

    Ties go to the lowest way.
    """
    first = first_way(key, keys.shape[0])
    oldest = -1
    for row in range(first, first + WAYS):
        if keys[row] == EMPTY:
            return row
        if used[row] < now and (oldest < 0 or used[row] < used[oldest]):
            oldest = row
    return oldest
