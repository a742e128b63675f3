"""Merge the rows that several ranks have learned from one base: once through their keys, which ascend, and so through the table.

Axes: K ranks, R rows of all of them, d the width of an embedding.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.kernels.intrinsics import prefetch
from model.kernels.rows.record import COLUMNS, DECIDED, MEMORY, Records, advance, newest_bucket, set_newest_bucket
from model.kernels.rows.table import EMPTY, EXPIRED, OCCUPIED, Table, claim, find, first_way
from model.kernels.target import inner_ordered_sum, ordered_sum

_AHEAD = 8  # rows: the sets of their keys are asked for before they are read


class Moved(NamedTuple):
    """The rows that the ranks have touched, one rank's after the other's, each ascending by key; merged in place."""

    ends: NDArray[np.int64]  # (K,), of each rank's rows
    keys: NDArray[np.uint64]  # (R,)
    used: NDArray[np.int64]  # (R,), the example that touched it last
    rows: NDArray[Any]  # (R, d + 1)
    accumulators: NDArray[Any]  # (R, d + 1)
    records: Records  # (R, COLUMNS), or none


@ordered_sum
def merge_rows(
    table: Table,
    moved: Moved,
    first: NDArray[Any],  # (d + 1,), what the accumulators of a new row start from
    at: NDArray[np.int64],  # (K,), where each rank's rows begin
    group: NDArray[np.int64],  # (K,), the indices of one key's rows
    new: NDArray[np.int64],  # (R,)
) -> None:
    """Move the table's rows, then give each value that is new a row, in the order of their keys."""
    count = 0
    while True:
        of_key = next_group(moved, at, group, table.keys)
        if of_key == 0:
            break
        index = group[0]
        row = find(table.keys, moved.keys[index])
        merge_group(table, row, moved, group[:of_key], first)
        if row >= 0:
            store(table, row, moved, index)
        else:
            new[count] = index
            count += 1
    for n in range(count):
        key, used = moved.keys[new[n]], moved.used[new[n]]
        row = claim(table.keys, table.used, key, used)
        if row >= 0:  # else the examples after it use all rows of its set
            table.counts[EXPIRED if table.keys[row] != EMPTY else OCCUPIED] += 1
            table.keys[row] = key
            store(table, row, moved, new[n])


@inner_ordered_sum
def next_group(moved: Moved, at: NDArray[np.int64], group: NDArray[np.int64], keys: NDArray[np.uint64]) -> int:
    """Find the rows of the lowest key that is left, in the order of the ranks; return how many they are."""
    key, left = np.uint64(0), False
    for rank in range(at.shape[0]):
        if at[rank] < moved.ends[rank] and (not left or moved.keys[at[rank]] < key):
            key, left = moved.keys[at[rank]], True
    count = 0
    for rank in range(at.shape[0]):
        if at[rank] < moved.ends[rank] and moved.keys[at[rank]] == key:
            group[count] = at[rank]
            count += 1
            at[rank] += 1
            prefetch(keys, first_way(moved.keys[min(at[rank] + _AHEAD, moved.ends[rank] - 1)], keys.shape[0]))
    return count


@inner_ordered_sum
def merge_group(table: Table, row: int, moved: Moved, group: NDArray[np.int64], first: NDArray[Any]) -> None:
    """Merge the rows of one key, of which the table has ``row`` or none (−1), into the first of them."""
    index, divisor = group[0], np.sqrt(np.float64(group.shape[0])) if row >= 0 else np.float64(group.shape[0])
    for k in range(table.rows.shape[1]):
        start = np.float64(table.rows[row, k]) if row >= 0 else np.float64(0)
        begun = np.float64(table.accumulators[row, k]) if row >= 0 else np.float64(first[k])
        change, added = np.float64(0), np.float64(0)
        for n in group:
            change += np.float64(moved.rows[n, k]) - start
            added += max(np.float64(moved.accumulators[n, k]) - begun, np.float64(0))
        moved.rows[index, k] = start + change / divisor
        moved.accumulators[index, k] = begun + added
    moved.used[index] = moved.used[group[-1]]
    if table.records.counts.shape[0] > 0:
        merge_record(table.records, row, moved.records, group)


@inner_ordered_sum
def merge_record(base: Records, row: int, records: Records, group: NDArray[np.int64]) -> None:
    """Merge the records of one value, each moved to the newest bucket that any has, into the first of them."""
    bucket = newest_bucket(records.counts[group[0]])
    for n in group[1:]:
        bucket = max(bucket, newest_bucket(records.counts[n]))
    for n in group:
        advance(records, n, bucket)
    if row >= 0:
        advance(base, row, bucket)
        bucket = max(bucket, newest_bucket(base.counts[row]))
    merged = records.counts[group[0]]
    for k in range(COLUMNS):
        start = np.float64(base.counts[row, k]) if row >= 0 else np.float64(0)
        total = start
        for n in group:
            total += np.float64(records.counts[n, k]) - start
        merged[k] = max(total, np.float64(0))
    set_newest_bucket(merged, bucket)
    if merged[DECIDED] > MEMORY:
        merged[DECIDED + 1] *= MEMORY / merged[DECIDED]
        merged[DECIDED] = MEMORY


@ordered_sum
def merge_stream_record(base: Records, records: Records, group: NDArray[np.int64]) -> None:
    """Merge the records of the whole stream."""
    row = base.counts.shape[0] - 1
    merge_record(base, row, records, group)
    for k in range(COLUMNS):
        base.counts[row, k] = records.counts[group[0], k]


@inner_ordered_sum
def store(table: Table, row: int, moved: Moved, index: int) -> None:
    """Write a merged row to the table."""
    table.used[row], table.touched[row] = moved.used[index], True
    for k in range(table.rows.shape[1]):
        table.rows[row, k] = moved.rows[index, k]
        table.accumulators[row, k] = moved.accumulators[index, k]
    if table.records.counts.shape[0] > 0:
        for k in range(COLUMNS):
            table.records.counts[row, k] = moved.records.counts[index, k]
