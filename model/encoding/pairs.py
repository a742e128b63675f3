"""The keys of fields that are made of two others, from the keys of those.

Axes: N examples, K keys of all examples together.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from model.encoding.keys import Keys, as_uint64
from model.settings import Field

_MOST_SHARED = 10  # values: an overlap of more counts as one of so many


class InOrder(NamedTuple):
    """The keys of one field, example after example."""

    keys: NDArray[np.uint64]  # (K,)
    counts: NDArray[np.int64] | None  # (N,), of each example; None: one each


class CrossKeys:
    """The keys of the values of a cross.

    Args:
        field: The cross.
    """

    def __init__(self, field: Field) -> None:
        self._of_field = np.uint64(xxh3_64_intdigest(f"cross:{len(field.name)}:{field.name}".encode()))

    def of_pairs(self, ones: NDArray[np.uint64], others: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Return the key of each pair of keys, ``(K,)`` and ``(K,)`` → ``(K,)``."""
        return _mixed(_mixed(ones ^ self._of_field) ^ others)


class OverlapKeys:
    """The keys of how many values two fields have in common.

    Args:
        field: The overlap.
        list_keys: Those of one of the two fields, a list.
        other: Those of the other.

    Attributes:
        missing_in_list: The key of a missing list, ``(1,)``.
    """

    def __init__(self, field: Field, list_keys: Keys, other: Keys) -> None:
        own = Keys(field)
        self._of_counts, self._missing = as_uint64(list(map(own.of, range(_MOST_SHARED + 1)))), as_uint64([own.missing])
        self._list_keys, self._other = list_keys, other
        self.missing_in_list = as_uint64([list_keys.missing])

    def in_list(self, values: Sequence[Any]) -> list[bytes]:
        """Return the keys that values of the other field have in the list."""
        return [self._list_keys.of(self._other.parts(value)) for value in values]

    def of_counts(self, counts: NDArray[np.int64], missing: NDArray[np.bool_]) -> NDArray[np.uint64]:
        """Return the key of each count, ``(N,)`` → ``(N,)``, or, where one of the two fields is ``missing``, that of a missing value."""
        return np.where(missing, self._missing, self._of_counts[np.minimum(counts, _MOST_SHARED)])


class Cross(NamedTuple):
    """A field made of two others."""

    place: int  # among the fields
    keys: CrossKeys
    one: int  # of the columns
    other: int
    tiled: bool  # of two numbers with as many tiles


class Overlap(NamedTuple):
    """A field that says how many values two others have in common."""

    place: int  # among the fields
    keys: OverlapKeys
    one: int  # of the columns; a list
    other: int


def crossed_keys(cross: Cross, one: InOrder, other: InOrder) -> InOrder:
    """Return the keys of a cross: of each example, each key of the one field with each of the other.

    Of two numbers with as many tiles, the bucket with the bucket, and each wide one with that of its row: as a grid of tiles has it.
    """
    if one.counts is None and other.counts is None:
        return InOrder(cross.keys.of_pairs(one.keys, other.keys), None)
    of_one, of_other = _counts(one), _counts(other)
    if cross.tiled:
        counts = np.maximum(of_one, of_other)  # they differ where a number is missing, which is one key
        return InOrder(cross.keys.of_pairs(_as_many(one.keys, of_one, counts), _as_many(other.keys, of_other, counts)), counts)
    partners = np.repeat(of_other, of_one)  # of each key of the one field
    first = np.repeat(np.cumsum(of_other) - of_other, of_one)
    return InOrder(cross.keys.of_pairs(np.repeat(one.keys, partners), other.keys[ranges(first, partners)]), of_one * of_other)


def overlap_keys(overlap: Overlap, one: InOrder, other: InOrder) -> InOrder:
    """Return the key of each example's overlap: of how many keys it has in both, in either of which it has none twice."""
    of_one, of_other = _counts(one), _counts(other)
    n = len(of_one)
    keys = np.concatenate([one.keys, other.keys])
    examples = np.concatenate([np.repeat(np.arange(n), of_each) for of_each in (of_one, of_other)])
    missing = np.bincount(examples[keys == overlap.keys.missing_in_list], minlength=n) > 0
    order = np.lexsort((keys, examples))
    keys, examples = keys[order], examples[order]
    twice = (keys[1:] == keys[:-1]) & (examples[1:] == examples[:-1])
    shared = np.bincount(examples[1:][twice], minlength=n)
    return InOrder(overlap.keys.of_counts(shared, missing), None)


def _counts(field: InOrder) -> NDArray[np.int64]:
    """Return how many keys each example has, ``(N,)``."""
    return np.ones(len(field.keys), np.int64) if field.counts is None else field.counts


def _as_many(keys: NDArray[np.uint64], have: NDArray[np.int64], want: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return the keys of each example as often as ``want`` says: all that it has, or its only one again and again."""
    within = np.minimum(ranges(np.zeros_like(want), want), np.repeat(have - 1, want))
    chosen: NDArray[np.uint64] = keys[np.repeat(np.cumsum(have) - have, want) + within]
    return chosen


def ranges(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the integers of several ranges, joined."""
    return np.repeat(starts - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())


def _mixed(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return what murmur3 makes of 64 bits at its end: a bijection, by which each bit changes about half of all."""
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        keys = (keys ^ (keys >> np.uint64(33))) * np.uint64(factor)
    return keys ^ (keys >> np.uint64(33))
