"""The keys of one field's values: 64 bits, by which a value finds its row (:func:`model.kernels.rows.table.find`).

A key is the xxh3 hash of field, kind and canonical value, so JSON's ``5`` and ``5.0`` and CSV's ``"5"`` share a row, while no two
fields ever do; that of a cross is mixed from the keys of its two values, that of an overlap is of a count. Missing (absent, null,
empty, NaN) is a value with a key of its own. Key 0 never occurs: it marks an empty row.
"""

import math
import reprlib
from collections.abc import Callable, Sequence
from itertools import repeat
from operator import is_
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_digest

from model.encoding.buckets import bucket, tiles
from model.settings import Field

Scalar: TypeAlias = str | int | float | bool | None
Value: TypeAlias = Scalar | list[Scalar]

_CACHED_VALUES, _CACHED_LENGTH = 8_192, 64  # of a field: how many keys it caches, and the longest string
KEY_SIZE = 8  # bytes
MOST_VALUES = 1_000  # of one field in one example; each may take a row of the table
_QUOTED = " \t\n'\""  # what may stand around a value that was printed
_ONE_VALUE = "a string, a finite number or a boolean"


class FeatureError(ValueError):
    """A value that its field can't take."""

    def __init__(self, field: str, value: object, expected: str) -> None:
        super().__init__(f"field {field!r}: got {reprlib.repr(value)}, expected {expected}")
        self.field, self.value, self.expected = field, value, expected


def canonical(value: Any) -> str | None:
    """Return the text that stands for one value, None where it is missing.

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
        raise TypeError(f"no single value: {type(value).__name__}")
    if math.isinf(value):
        raise ValueError("infinite")
    return str(int(value)) if value.is_integer() else repr(value)


def parts_of(text: str, separator: str) -> list[str]:
    """Return the values of a list that is one text: between separators, and in brackets and quotes where a program has printed it so.

    >>> parts_of("a| b", "|"), parts_of("['a', 'b']", ","), parts_of("[1 2]", " ")
    (['a', 'b'], ['a', 'b'], ['1', '2'])
    """
    if text[:1] == "[" and text[-1:] == "]":
        return [part.strip(_QUOTED) for part in text[1:-1].split(separator)]
    return [part.strip() for part in text.split(separator)]


def key_of(field: Field, value: Value) -> int:
    """Return the key of one value of ``field``, to find its row.

    >>> f"{key_of(Field(name='user_id'), 'u17'):016x}"
    '0ba38ca99667474b'

    Raises:
        FeatureError: the value is missing, is no single value, or shares its key with other values: a bucket of numbers, an hour.
    """
    if field.kind not in ("categorical", "multi"):
        raise FeatureError(field.name, value, f"a value with a row of its own; values of kind {field.kind} share theirs")
    keys = keys_of_field(field)
    key = keys.of([value] if field.kind == "multi" else value)
    if key == keys.missing:
        raise FeatureError(field.name, value, "a value, not a missing one")
    return int.from_bytes(key, "big") or 1


class Keys:
    """The keys of the values of one field, as bytes."""

    def __init__(self, field: Field) -> None:
        self._field = field
        made_by = "".join(f":{each}" for each in (field.bucket_width, *field.of) if each)  # of others, they are other values
        framed = f"{field.kind}:{len(field.name)}:{field.name}{made_by}".encode()
        self._frame, self.missing = framed + b"=", xxh3_64_digest(framed + b"?")
        self._text, self._expected = (self._bucket, "a finite number") if field.kind == "numeric" else (canonical, _ONE_VALUE)

    def of_all(self, values: list[Any]) -> list[bytes]:
        """Return the key of each of many values."""
        if values and all(map(is_, values, repeat(values[0]))):  # one object, such as the context of many candidates
            return [self.of(values[0])] * len(values)
        return self._of_each(values)

    def _of_each(self, values: list[Any]) -> list[bytes]:
        frame = self._frame
        try:
            return [xxh3_64_digest(frame + value.encode()) if value else self.of(value) for value in values]
        except (AttributeError, UnicodeEncodeError):  # not strings, or not all of them, or not of whole characters
            return list(map(self.of, values))

    def of(self, value: Any) -> bytes:
        """Return the key of ``value``."""
        try:
            text = self._text(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise FeatureError(self._field.name, value, self._expected) from error
        # surrogatepass: JSON may carry half a surrogate pair, and any string has a key.
        return self.missing if text is None else xxh3_64_digest(self._frame + text.encode("utf-8", "surrogatepass"))

    def parts(self, value: Any) -> Sequence[Any]:
        """Return the values that ``value`` stands for, each by itself."""
        return (value,)

    def _bucket(self, value: Any) -> str | None:
        if value is None or value == "":
            return None
        number = float(value)
        if math.isinf(number):
            raise ValueError("infinite")
        return None if math.isnan(number) else str(bucket(number, self._field.bucket_width))


def as_uint64(keys: Sequence[bytes]) -> NDArray[np.uint64]:
    """Return keys that are bytes, each one or several, as an array ``(K,)``."""
    return np.frombuffer(b"".join(keys), ">u8").astype(np.uint64)  # as xxhash writes them


class _CachedKeys(Keys):
    """Keys that take longer to compute than to look up."""

    cached_types: tuple[type, ...] = (str, int, float)  # of a number 1, 1.0 and True are the same entry, and so they should be

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self._cache = _Cache(self.of, self.cached_types)

    def _of_each(self, values: list[Any]) -> list[bytes]:
        try:
            return list(map(self._cache.__getitem__, values))
        except TypeError:  # a list has no hash
            return list(map(self.of, values))


class _NumberKeys(_CachedKeys):
    """The key of each number's bucket, with those of its wide buckets joined."""

    def of(self, value: Any) -> bytes:
        """Return the keys of a number; a missing one has a single key."""
        key = super().of(value)
        if key == self.missing or not self._field.tiles:
            return key
        wide = enumerate(tiles(float(value), self._field.tiles, self._field.bucket_width))
        return key + b"".join(xxh3_64_digest(self._frame + f"{row}/{tile}".encode()) for row, tile in wide)


class _ListKeys(_CachedKeys):
    """The keys of each list of one field, joined; there is at least one.

    A list is a set: its values come in the order of their first appearance, and repeating one adds no weight.
    """

    cached_types = (str,)

    def of(self, value: Any) -> bytes:
        """Return the keys of the values of ``value``, which is one value, a list of them, or a string of them."""
        parts = self.parts(value)
        if len(parts) > MOST_VALUES:
            raise FeatureError(self._field.name, f"{len(parts)} values", f"at most {MOST_VALUES} values")
        keys = dict.fromkeys(super(_ListKeys, self).of(part) for part in parts)
        return b"".join(key for key in keys if key != self.missing) or self.missing

    def parts(self, value: Any) -> Sequence[Any]:
        """Return the values of a list."""
        if isinstance(value, str):
            return parts_of(value, self._field.separator)
        return value if isinstance(value, list | tuple) else (value,)


class _Cache(dict[Any, bytes]):
    """The keys of recent values of some types; emptied when it is full."""

    def __init__(self, function: Callable[[Any], bytes], types: tuple[type, ...]) -> None:
        super().__init__()
        self._function, self._types = function, types

    def __missing__(self, value: Any) -> bytes:
        key = self._function(value)
        if isinstance(value, self._types) and not (isinstance(value, str) and len(value) > _CACHED_LENGTH):
            if len(self) >= _CACHED_VALUES:
                self.clear()
            self[value] = key
        return key


def keys_of_field(field: Field) -> Keys:
    """Return the keys of ``field``."""
    return _KEYS.get(field.kind, Keys)(field)


_KEYS: dict[str, type[Keys]] = {"numeric": _NumberKeys, "multi": _ListKeys}
