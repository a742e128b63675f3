"""The rows of the table as they were before a run of examples touched them: what undoes the run."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.kernels.rows.record import COLUMNS
from model.kernels.rows.table import Table
from model.kernels.target import inner, kernel


class Journal(NamedTuple):
    """The old content of up to K rows, each once in a run."""

    row: NDArray[np.int64]  # (K,)
    key: NDArray[np.uint64]  # (K,)
    used: NDArray[np.int64]  # (K,)
    rows: NDArray[Any]  # (K, d + 1)
    accumulators: NDArray[Any]  # (K, d + 1)
    records: NDArray[Any]  # (K, COLUMNS)
    length: NDArray[np.int64]  # (1,)


def new_journal(table: Table, keys: int) -> Journal:
    """Allocate a journal for a run of ``keys`` keys."""
    shape = (keys, table.rows.shape[1])
    return Journal(
        np.empty(keys, np.int64),
        np.empty(keys, np.uint64),
        np.empty(keys, np.int64),
        np.empty(shape, table.rows.dtype),
        np.empty(shape, table.rows.dtype),
        np.empty((keys, COLUMNS), table.rows.dtype),
        np.zeros(1, np.int64),
    )


@inner
def remember(table: Table, journal: Journal, row: int) -> None:
    """Record ``row`` as it is."""
    at = journal.length[0]
    journal.row[at], journal.key[at], journal.used[at] = row, table.keys[row], table.used[row]
    for k in range(table.rows.shape[1]):
        journal.rows[at, k] = table.rows[row, k]
        journal.accumulators[at, k] = table.accumulators[row, k]
    if table.records.counts.shape[0] > 0:
        for k in range(COLUMNS):
            journal.records[at, k] = table.records.counts[row, k]
    journal.length[0] = at + 1


@kernel
def undo(table: Table, journal: Journal, start: int) -> None:
    """Restore every row, from the last recorded back to the entry ``start``."""
    for at in range(journal.length[0] - 1, start - 1, -1):
        row = journal.row[at]
        table.keys[row], table.used[row] = journal.key[at], journal.used[at]
        for k in range(table.rows.shape[1]):
            table.rows[row, k] = journal.rows[at, k]
            table.accumulators[row, k] = journal.accumulators[at, k]
        if table.records.counts.shape[0] > 0:
            for k in range(COLUMNS):
                table.records.counts[row, k] = journal.records[at, k]
    journal.length[0] = start
