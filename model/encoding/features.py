"""Turn features into keys: what was observed about one example → the 64-bit keys of its rows in the table.

Axes: N examples, F fields, V values that examples share, K keys of all examples together.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from model.encoding.ignored_features import IgnoredFeatures
from model.encoding.keys import KEY_SIZE, MOST_VALUES, FeatureError, Value, as_uint64, keys_of_field
from model.encoding.pairs import Cross, CrossKeys, InOrder, Overlap, OverlapKeys, crossed_keys, overlap_keys, ranges
from model.settings import Field

_HOUR, _DAY = 3_600_000, 86_400_000  # ms
_FEW = 16  # examples whose hours and weekdays are hashed one by one sooner than they are sorted
_MOST_IN_LISTS = 4_000  # values of all lists of one example; each may take a row of the table


class Features(NamedTuple):
    """Keys of N examples: field f of example n has ``keys[starts[n * F + f] : starts[n * F + f + 1]]``."""

    keys: NDArray[np.uint64]  # [K]
    starts: NDArray[np.int64]  # [N * F + 1]
    times: NDArray[np.int64] = np.zeros(0, np.int64)  # [N], epoch ms; empty: all at the time 0

    def contiguous(self, examples: int) -> "Features":
        """Return the same features of N ``examples``, each array contiguous and every time named, as the kernels read them."""
        times = np.ascontiguousarray(self.times) if len(self.times) else np.zeros(examples, np.int64)
        return Features(np.ascontiguousarray(self.keys), np.ascontiguousarray(self.starts), times)

    def without(self, examples: Sequence[int], n: int) -> "Features":
        """Return the keys of the ``n`` examples but some."""
        counts = np.delete(np.diff(self.starts).reshape(n, -1), examples, axis=0).ravel()
        starts = np.delete(self.starts[:-1].reshape(n, -1), examples, axis=0).ravel()
        times = np.delete(self.times, examples) if len(self.times) else self.times
        return Features(self.keys[ranges(starts, counts)], np.concatenate([[0], np.cumsum(counts)]), times)


class Encoded(NamedTuple):
    """Many examples as keys, without those that hold a value that its field can't take."""

    features: Features
    bad: dict[int, FeatureError]  # index of an example that was left out → why


class Column(NamedTuple):
    """One feature of N examples: example n has ``values[indices[n]]``, so that a value of many examples is made into a key once."""

    values: list[Any]  # (V,), each of one example at least
    indices: NDArray[np.integer] | None = None  # (N,); None: example n has values[n]


Examples: TypeAlias = Sequence[Mapping[str, Value]] | Mapping[str, Column]
"""The features of N examples by name: of each example, or in columns."""


class Encoder:
    """Turn the features of examples into keys, in the order of the fields.

    >>> encoder = Encoder([Field(name="tags", kind="multi"), Field(name="age", kind="numeric")])
    >>> encoder.encode([{"tags": ["a", "b"], "age": "31"}, {"tags": "c"}], times=[0, 0]).features.starts.tolist()
    [0, 2, 3, 4, 5]

    Attributes:
        ignored: counts the features that were ignored because no field has their name.
    """

    def __init__(self, fields: Sequence[Field]) -> None:
        self.ignored = IgnoredFeatures()
        columns = [field for field in fields if not field.of]
        self._places = [index for index, field in enumerate(fields) if not field.of]  # of the columns among the fields
        self._names = [field.name for field in columns]
        self._keys = [keys_of_field(field) for field in columns]
        self._list_fields = [index for index, field in enumerate(columns) if field.kind == "multi"]
        self._several = {index for index, field in enumerate(columns) if field.kind == "multi" or (field.kind == "numeric" and field.tiles)}
        self._clocks = [(index, CLOCKS[field.kind]) for index, field in enumerate(columns) if field.kind in CLOCKS]
        self._crosses = [self._cross(place, field, columns) for place, field in enumerate(fields) if field.kind == "cross"]
        self._overlaps = [self._overlap(place, field, columns) for place, field in enumerate(fields) if field.kind == "overlap"]
        self._known = frozenset(field.name for field in columns if field.kind not in CLOCKS)

    def _cross(self, place: int, field: Field, columns: Sequence[Field]) -> Cross:
        one, other = map(self._names.index, field.of)
        numbers = columns[one].kind == columns[other].kind == "numeric"
        return Cross(place, CrossKeys(field), one, other, numbers and columns[one].tiles == columns[other].tiles)

    def _overlap(self, place: int, field: Field, columns: Sequence[Field]) -> Overlap:
        one, other = sorted(map(self._names.index, field.of), key=lambda index: columns[index].kind != "multi")
        return Overlap(place, OverlapKeys(field, self._keys[one], self._keys[other]), one, other)

    def encode(self, examples: Examples, times: Sequence[int], most_crossed: int | None = None) -> Encoded:
        """Return the keys of N examples. Works field by field: a column of values is quicker than as many rows.

        Args:
            examples: the features of each by name. One that is absent is missing; one without a field of its name is counted and ignored.
            times: the time of each, epoch ms, from which hour and weekday are taken.
            most_crossed: how many values the crosses of lists may have, of all examples together; None: any number.

        Raises:
            FeatureError: they have more.
        """
        bad: dict[int, FeatureError] = {}
        columns = self._shared(examples, times) if isinstance(examples, Mapping) else self._single(examples, times)
        try:
            keys = self._keys_of(columns)
            self._check_lists(keys, len(times))
        except FeatureError:
            bad = self._refusals(columns, len(times))
            good = [n for n in range(len(times)) if n not in bad]
            examples = examples if isinstance(examples, Mapping) else [examples[n] for n in good]
            keys = self._keys_of([_of_some(column, np.array(good, np.int64)) for column in columns])
            times = [times[n] for n in good]
        if most_crossed is not None and (crossed := int(self._in_crosses(keys, len(times)).sum())) > most_crossed:
            raise FeatureError("crosses", f"{crossed:,} values for all examples together", f"at most {most_crossed:,}")
        self._count_ignored(examples, len(times))
        return Encoded(self._flatten(keys, len(times))._replace(times=np.array(times, np.int64)), bad)

    def _single(self, examples: Sequence[Mapping[str, Value]], times: Sequence[int]) -> list[Column]:
        """Return the column of each field but crosses, as rows have it: each example with a value of its own."""
        columns = [Column([features.get(name) for features in examples]) for name in self._names]
        for index, clock in self._clocks:
            columns[index] = Column(list(map(clock, times)))
        return columns

    def _shared(self, examples: Mapping[str, Column], times: Sequence[int]) -> list[Column]:
        """Return the column of each field but crosses."""
        missing = Column([None], np.zeros(len(times), np.int64))
        columns = [examples.get(name, missing) for name in self._names]
        for index, clock in self._clocks:
            if len(times) < _FEW:
                columns[index] = Column(list(map(clock, times)))
                continue
            values, indices = np.unique(clock(np.array(times, np.int64)), return_inverse=True)
            columns[index] = Column(values.tolist(), indices)
        return columns

    def _keys_of(self, columns: Sequence[Column]) -> list[Column]:
        """Return each column with the keys of its values; then, of each overlap, those that the other column's have in the list's field."""
        keys = [Column(field.of_all(values), indices) for field, (values, indices) in zip(self._keys, columns, strict=True)]
        for overlap in self._overlaps:
            values, indices = columns[overlap.other]
            keys.append(Column(overlap.keys.in_list(values), indices))
        return keys

    def _refusals(self, columns: Sequence[Column], n: int) -> dict[int, FeatureError]:
        """Return which of ``n`` examples hold a value that its field can't take, with the error of the first such field."""
        bad: dict[int, FeatureError] = {}
        found = []
        for field, (values, indices) in zip(self._keys, columns, strict=True):
            keys, refused = [], {}
            for position, value in enumerate(values):
                try:
                    keys.append(field.of(value))
                except FeatureError as error:
                    refused[position] = error
                    keys.append(b"")
            found.append(Column(keys, indices))
            if refused:
                positions = range(n) if indices is None else indices.tolist()
                bad = {each: refused[position] for each, position in enumerate(positions) if position in refused} | bad
        in_lists = self._in_lists(found, n)
        overlong = [each for each in np.flatnonzero(in_lists > _MOST_IN_LISTS).tolist() if each not in bad]
        return dict(sorted((bad | {each: _overlong(int(in_lists[each])) for each in overlong}).items()))

    def _check_lists(self, keys: Sequence[Column], n: int) -> None:
        """Make sure that the lists of none of ``n`` examples hold too many values together; ``keys`` are those of each column.

        Raises:
            FeatureError: those of one do.
        """
        if len(self._list_fields) * MOST_VALUES <= _MOST_IN_LISTS and not self._crosses:
            return
        most = int(np.max(self._in_lists(keys, n), initial=0))
        if most > _MOST_IN_LISTS:
            raise _overlong(most)

    def _in_lists(self, keys: Sequence[Column], n: int) -> NDArray[np.int64]:
        """Return how many keys each of ``n`` examples has in lists, and in crosses of them."""
        found = self._in_crosses(keys, n)
        for field in self._list_fields:
            found += _lengths(keys[field])
        return found

    def _in_crosses(self, keys: Sequence[Column], n: int) -> NDArray[np.int64]:
        """Return how many keys each of ``n`` examples has in crosses of lists."""
        found = np.zeros(n, np.int64)
        for cross in self._crosses:
            if cross.one in self._list_fields or cross.other in self._list_fields:
                found += _lengths(keys[cross.one]) * _lengths(keys[cross.other])
        return found

    def _flatten(self, columns: Sequence[Column], n: int) -> Features:
        """Put the keys of ``n`` examples in the order of the examples, and of the fields in each."""
        read = [_in_order(column, several=index in self._several) for index, column in enumerate(columns[: len(self._keys)])]
        found = dict(zip(self._places, read, strict=True))
        found |= {cross.place: crossed_keys(cross, read[cross.one], read[cross.other]) for cross in self._crosses}
        for overlap, other in zip(self._overlaps, columns[len(self._keys) :], strict=True):
            found[overlap.place] = overlap_keys(overlap, read[overlap.one], _in_order(other, several=True))
        counts = np.ones((n, len(found)), np.int64)
        for field, (_, of_each) in found.items():
            if of_each is not None:
                counts[:, field] = of_each
        starts = np.concatenate([[0], np.cumsum(counts)])
        flat = np.empty(starts[-1], np.uint64)
        for field, (keys, of_each) in found.items():
            first = starts[field : -1 : len(found)]  # (N,)
            flat[first if of_each is None else ranges(first, of_each)] = keys
        flat[flat == 0] = 1
        return Features(flat, starts)

    def names_ignored(self, examples: Sequence[Mapping[str, Value]]) -> list[str]:
        """Return the names in some examples that no field has, sorted."""
        return sorted(set().union(*examples) - self._known)

    def _count_ignored(self, examples: Examples, n: int) -> None:
        if isinstance(examples, Mapping):
            self.ignored.add(examples.keys() - self._known if n else (), n)
            return
        for features in examples:
            if not self._known.issuperset(features):
                self.ignored.add(features.keys() - self._known)


def _overlong(values: int) -> FeatureError:
    return FeatureError("features", f"lists of {values} values", f"at most {_MOST_IN_LISTS} values in all lists together")


def _of_some(column: Column, examples: NDArray[np.int64]) -> Column:
    """Return a column of some of its examples."""
    indices = examples if column.indices is None else column.indices[examples]
    used, indices = np.unique(indices, return_inverse=True)
    return Column([column.values[value] for value in used.tolist()], indices)


def _lengths(keys: Column) -> NDArray[np.int64]:
    """Return how many keys each example has in a column of lists, ``(N,)``."""
    lengths = np.array([len(each) for each in keys.values], np.int64) // KEY_SIZE
    return lengths if keys.indices is None else lengths[keys.indices]


def _in_order(column: Column, *, several: bool) -> InOrder:
    """Return the keys of a column; where an example may have ``several``, with their number."""
    values, indices = column
    keys = as_uint64(values)
    if not several:
        return InOrder(keys if indices is None else keys[indices], None)
    lengths = _lengths(Column(values))
    if indices is None:
        return InOrder(keys, lengths)
    counts = lengths[indices]
    return InOrder(keys[ranges((np.cumsum(lengths) - lengths)[indices], counts)], counts)


CLOCKS: dict[str, Callable[[Any], Any]] = {  # of one time or of an array of them
    "hour": lambda time: time // _HOUR % 24,
    "weekday": lambda time: (time // _DAY + 3) % 7,  # Monday is 0; 1970-01-01 was a Thursday
}
