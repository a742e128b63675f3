"""Features become keys: what was observed about one example → the 64-bit keys of its rows in the table.

A key is the xxh3 hash of field, kind and canonical value, so JSON's ``5`` and ``5.0`` and CSV's ``"5"`` share a row, while no two
fields ever do. Missing (absent, null, empty, NaN) is a value with a key of its own. Key 0 never occurs: it marks an empty row.

Axes: N examples, F fields, K keys of all examples together.
"""

import math
import reprlib
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from operator import getitem
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from model.settings import Field

Scalar: TypeAlias = str | int | float | bool | None
Value: TypeAlias = Scalar | list[Scalar]

_HOUR, _DAY = 3_600_000, 86_400_000  # ms
_STEPS = 16  # buckets of an octave, for numbers below 2
_CACHED_VALUES, _CACHED_LENGTH = 8_192, 64  # what a field remembers: how many strings, and how long each may be
_ONE_VALUE = "a string, a finite number or a boolean"


class FeatureError(ValueError):
    """A value that its field can't take."""

    def __init__(self, field: str, value: object, expected: str) -> None:
        """Say which field got what, and what it expected."""
        super().__init__(f"field {field!r}: got {reprlib.repr(value)}, expected {expected}")
        self.field, self.value, self.expected = field, value, expected


class Row(NamedTuple):
    """The keys of one example, field after field; field f has ``counts[f]`` ≥ 1 of them."""

    keys: list[int]
    counts: list[int]


class Features(NamedTuple):
    """Keys of N examples: position f of example n holds ``keys[starts[n * F + f] : starts[n * F + f + 1]]``."""

    keys: NDArray[np.uint64]  # [K]
    starts: NDArray[np.int64]  # [N * F + 1]


def pack(rows: Sequence[Row]) -> Features:
    """Lay the keys of many examples one after another."""
    keys = np.array(list(chain.from_iterable([row.keys for row in rows])), np.uint64)
    if len(keys) == sum(len(row.counts) for row in rows):  # one key everywhere
        return Features(keys, np.arange(len(keys) + 1))
    ends = np.cumsum([row.counts for row in rows], dtype=np.int64)
    return Features(keys, np.concatenate([[0], ends]))


class Encoder:
    """Turns the features of an example into keys, in the order of the fields.

    >>> encoder = Encoder([Field(name="tags", kind="multi"), Field(name="age", kind="numeric")])
    >>> encoder.encode({"tags": ["a", "b"], "age": "31"}, time=0).counts
    [2, 1]

    Attributes:
        unknown: how many features were ignored so far because no field has their name.
    """

    def __init__(self, fields: Sequence[Field]) -> None:
        """Prepare the given fields."""
        self.unknown = 0
        self._names = [field.name for field in fields]
        self._keys = [_SeveralKeys(field) if field.kind == "multi" else _Keys(field) for field in fields]
        self._several = [position for position, field in enumerate(fields) if field.kind == "multi"]
        self._clocks = [(position, _CLOCKS[field.kind]) for position, field in enumerate(fields) if field.kind in _CLOCKS]
        self._known = frozenset(field.name for field in fields if field.kind not in _CLOCKS)

    def encode(self, features: Mapping[str, Value], time: int) -> Row:
        """Give the keys of one example.

        Args:
            features: values by name; what is absent is missing, what no field is named after is counted and ignored.
            time: when the example happened, epoch ms; hour and weekday come from it.

        Raises:
            FeatureError: a value that its field can't take.
        """
        values: list[Any] = list(map(features.get, self._names))
        for position, clock in self._clocks:
            values[position] = clock(time)
        for position in self._several:
            if isinstance(values[position], list):
                values[position] = tuple(values[position])
        try:
            keys: list[Any] = list(map(getitem, self._keys, values))
        except TypeError:  # a list or an object where one value should be: it can't be looked up, and its field refuses it
            keys = [field.of(value) for field, value in zip(self._keys, values, strict=True)]
        if not self._known.issuperset(features):
            self.unknown += len(features.keys() - self._known)
        return self._row(keys)

    def _row(self, keys: list[Any]) -> Row:
        """Lay out flat what the fields with several values gave."""
        counts = [1] * len(keys)
        for position in reversed(self._several):
            counts[position] = len(keys[position])
            keys[position : position + 1] = keys[position]
        return Row(keys, counts)


def bucket(number: float) -> int:
    """Give the bucket of a finite number: the greater number never has the lesser bucket.

    Zero has bucket 0, and ``bucket(-x) = -bucket(x)``. Up to 2 there are 16 equal steps in each octave [2^e, 2^(e+1)), so that small
    rates stay apart; from 2 the bucket is that of ``log(x)²``, whose steps get wider in x but narrower in proportion.

    >>> [bucket(x) - bucket(1) for x in (0.5, 1, 1.5, 2, 3, 10, 100)]
    [-16, 0, 8, 16, 17, 21, 37]
    """
    if number < 0:
        return -bucket(-number)
    if number == 0:
        return 0
    if number >= 2:  # noqa: PLR2004 - as the docstring has it
        return _bucket_of_two + int(math.log(number) ** 2)
    fraction, exponent = math.frexp(number)  # number = fraction · 2^exponent, fraction in [½, 1)
    return (exponent - _LEAST) * _STEPS + int((fraction - 0.5) * 2 * _STEPS) + 1


_LEAST = math.frexp(math.ulp(0.0))[1]  # exponent of the least number above zero
_bucket_of_two = (2 - _LEAST) * _STEPS + 1


def canonical(value: Any) -> str | None:
    """Write one value as the text that stands for it, None where it is missing.

    >>> canonical(5.0), canonical("5"), canonical(True), canonical("")
    ('5', '5', 'true', None)

    Raises:
        TypeError: it is a list or an object.
        ValueError: it is infinite.
    """
    if isinstance(value, str):
        return value or None
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, float):
        message = f"no single value: {type(value).__name__}"
        raise TypeError(message)
    if math.isinf(value):
        message = "infinite"
        raise ValueError(message)
    return str(int(value)) if value.is_integer() else repr(value)


class _Keys(dict[Any, Any]):
    """The key of each value of one field; remembers recent strings.

    Nothing but strings is remembered: 1, 1.0 and True would be the same entry.
    """

    def __init__(self, field: Field) -> None:
        super().__init__()
        self._field = field
        self._frame = f"{field.kind}:{len(field.name)}:{field.name}".encode()
        self._text, self._expected = (_numeric, "a finite number") if field.kind == "numeric" else (canonical, _ONE_VALUE)

    def __missing__(self, value: Any) -> Any:
        key = self.of(value)
        if isinstance(value, str) and len(value) <= _CACHED_LENGTH:
            if len(self) >= _CACHED_VALUES:
                self.clear()
            self[value] = key
        return key

    def of(self, value: Any) -> Any:
        """Give the key of ``value``."""
        try:
            text = self._text(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise FeatureError(self._field.name, value, self._expected) from error
        # surrogatepass: JSON may carry half a surrogate pair, and any string has a key.
        framed = self._frame + (b"?" if text is None else b"=" + text.encode("utf-8", "surrogatepass"))
        return xxh3_64_intdigest(framed) or 1


class _SeveralKeys(_Keys):
    """The keys of each list of one field: a tuple of at least one.

    A list is a set: its values stand in the order of their first appearance, and one that is repeated weighs no more.
    """

    def of(self, value: Any) -> Any:
        """Give the keys of the values of ``value``, which is one value, a list of them, or a string of them."""
        if isinstance(value, str):
            parts: Sequence[Any] = [part.strip() for part in value.split(self._field.separator)]
        else:
            parts = value if isinstance(value, list | tuple) else (value,)
        missing = super().of(None)
        keys = dict.fromkeys(super(_SeveralKeys, self).of(part) for part in parts)
        return tuple(key for key in keys if key != missing) or (missing,)


def _numeric(value: Any) -> str | None:
    if value is None or value == "":
        return None
    number = float(value)
    return None if math.isnan(number) else str(bucket(number))


_CLOCKS: dict[str, Callable[[int], int]] = {
    "hour": lambda time: time // _HOUR % 24,
    "weekday": lambda time: (time // _DAY + 3) % 7,  # Monday is 0; 1970-01-01 was a Thursday
}
