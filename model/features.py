"""Turn features into keys: what was observed about one example → the 64-bit keys of its rows in the table.

Axes: N examples, F fields, K keys of all examples together.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.keys import KEY_SIZE, MOST_VALUES, FeatureError, Value, keys_of_field
from model.settings import Field

_HOUR, _DAY = 3_600_000, 86_400_000  # ms
_MOST_IN_LISTS = 4_000  # values of all lists of one example; each may take a row of the table


class Features(NamedTuple):
    """Keys of N examples: field f of example n has ``keys[starts[n * F + f] : starts[n * F + f + 1]]``."""

    keys: NDArray[np.uint64]  # [K]
    starts: NDArray[np.int64]  # [N * F + 1]

    def contiguous(self) -> "Features":
        """Return the same keys, each array contiguous, as the kernels read them."""
        return Features(np.ascontiguousarray(self.keys), np.ascontiguousarray(self.starts))


class Encoded(NamedTuple):
    """Many examples as keys, without those that hold a value that its field can't take."""

    features: Features
    bad: dict[int, FeatureError]  # index of an example that was left out → why


class Encoder:
    """Turn the features of examples into keys, in the order of the fields.

    >>> encoder = Encoder([Field(name="tags", kind="multi"), Field(name="age", kind="numeric")])
    >>> encoder.encode([{"tags": ["a", "b"], "age": "31"}, {"tags": "c"}], times=[0, 0]).features.starts.tolist()
    [0, 2, 3, 4, 5]

    Attributes:
        unknown: how many features have been ignored because no field has their name.
    """

    def __init__(self, fields: Sequence[Field]) -> None:
        self.unknown = 0
        self._names = [field.name for field in fields]
        self._keys = [keys_of_field(field) for field in fields]
        self._list_fields = [index for index, field in enumerate(fields) if field.kind == "multi"]
        self._clocks = [(index, CLOCKS[field.kind]) for index, field in enumerate(fields) if field.kind in CLOCKS]
        self._known = frozenset(field.name for field in fields if field.kind not in CLOCKS)

    def encode(self, examples: Sequence[Mapping[str, Value]], times: Sequence[int]) -> Encoded:
        """Return the keys of N examples. Works field by field: a column of values is quicker than as many rows.

        Args:
            examples: the features of each by name. One that is absent is missing; one without a field of its name is counted and ignored.
            times: the time of each, epoch ms, from which hour and weekday are taken.
        """
        bad: dict[int, FeatureError] = {}
        columns = self._columns(examples, times)
        try:
            keys = [field.of_all(column) for field, column in zip(self._keys, columns, strict=True)]
            self._check_lists(keys)
        except FeatureError:
            bad = self._refusals(columns)
            good = [n for n in range(len(examples)) if n not in bad]
            examples = [examples[n] for n in good]
            keys = [field.of_all([column[n] for n in good]) for field, column in zip(self._keys, columns, strict=True)]
        for features in examples:
            if not self._known.issuperset(features):
                self.unknown += len(features.keys() - self._known)
        return Encoded(_flatten(keys, self._list_fields), bad)

    def _columns(self, examples: Sequence[Mapping[str, Value]], times: Sequence[int]) -> list[list[Any]]:
        """Return each field's values, as its keys take them."""
        columns: list[list[Any]] = [[features.get(name) for features in examples] for name in self._names]
        for index, clock in self._clocks:
            columns[index] = list(map(clock, times))
        return columns

    def _refusals(self, columns: list[list[Any]]) -> dict[int, FeatureError]:
        """Return the examples that hold a value that its field can't take, with the error of the first such field."""
        bad: dict[int, FeatureError] = {}
        for n, values in enumerate(zip(*columns, strict=True)):
            try:
                self._check_lists([[field.of(value)] for field, value in zip(self._keys, values, strict=True)])
            except FeatureError as error:
                bad[n] = error
        return bad

    def _check_lists(self, keys: list[list[bytes]]) -> None:
        """Make sure that the lists of no example hold too many values together; ``keys`` are those of each field of N examples.

        Raises:
            FeatureError: those of one do.
        """
        if len(self._list_fields) * MOST_VALUES <= _MOST_IN_LISTS:
            return
        most = max((sum(map(len, lists)) for lists in zip(*(keys[field] for field in self._list_fields), strict=True)), default=0)
        if most > _MOST_IN_LISTS * KEY_SIZE:
            raise FeatureError("features", f"lists of {most // KEY_SIZE} values", f"at most {_MOST_IN_LISTS} values in all lists together")


def _flatten(keys: list[list[bytes]], list_fields: Collection[int]) -> Features:
    """Put the keys of each field of N examples in the order of the examples; only ``list_fields`` may have several keys in one."""
    fields, n = len(keys), len(keys[0])
    counts = np.ones((n, fields), np.int64)
    for field in list_fields:
        counts[:, field] = [len(each) // KEY_SIZE for each in keys[field]]
    starts = np.concatenate([[0], np.cumsum(counts)])
    flat = np.empty(starts[-1], np.uint64)
    for field, column in enumerate(keys):
        indices = starts[field:-1:fields]  # (N,)
        if field in list_fields:
            count = counts[:, field]  # (N,), keys in each list
            start = np.repeat(indices, count)  # of the list that each key is in
            index_within_list = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
            indices = start + index_within_list
        flat[indices] = np.frombuffer(b"".join(column), ">u8")  # as xxhash writes them
    flat[flat == 0] = 1
    return Features(flat, starts)


CLOCKS: dict[str, Callable[[int], int]] = {
    "hour": lambda time: time // _HOUR % 24,
    "weekday": lambda time: (time // _DAY + 3) % 7,  # Monday is 0; 1970-01-01 was a Thursday
}
