"""The values that the newest examples had most often, by field, to choose from in a form.

They are read from the log when somebody asks, and are let go when they are asked for again a minute later.
Of a field that carries personal data no value is named.
"""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from msgspec import Struct

from model.keys import Value
from model.settings import Field
from stream.events import BadRecordError, decode_example
from stream.log.contract import Log, LogError
from stream.log.reading import read_all

NEWEST = 2_000  # examples
MOST = 20  # values of a field
LEAST = 2  # times that a value must occur to be named
LONGEST = 100  # characters of one
KEPT = 60.0  # seconds
TIMEOUT = 5.0  # seconds that reading may take


class FieldValues(Struct, frozen=True, omit_defaults=True):
    """A field, and the values that it had most often."""

    name: str
    kind: str
    personal: bool = False
    values: list[str | int | float | bool] = []  # the most frequent one first; of a numeric field none
    range: tuple[float, float] | None = None  # of a numeric field: of ten values, eight lie within
    typical: float | None = None  # its median


class Frequent:
    """Reads the end of a topic of examples.

    Args:
        log: The log.
        topic: The examples.
        personal: The fields of which no value is named.
        clock: Seconds, of any beginning.
    """

    def __init__(self, log: Log, topic: str, personal: Sequence[str] = (), clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._topic, self._personal, self._clock = log, topic, frozenset(personal), clock
        self._lock, self._until = threading.Lock(), -1.0
        self._examples: list[dict[str, Value]] = []

    def of(self, fields: Sequence[Field]) -> tuple[list[FieldValues], int]:
        """Return the most frequent values of each field, and among how many examples; none where the log does not say."""
        with self._lock:
            if self._clock() >= self._until:
                self._examples = []
                with suppress(LogError):
                    self._examples = list(self._read())
                self._until = self._clock() + (KEPT if self._examples else 5.0)
            return [self._of_field(field) for field in fields], len(self._examples)

    def _read(self) -> Iterator[dict[str, Value]]:
        bounds = self._log.bounds(self._topic)
        each = max(1, NEWEST // len(bounds))
        start = {partition: max(found.first, found.end - each) for partition, found in bounds.items()}
        end = {partition: found.end for partition, found in bounds.items()}
        for record in read_all(self._log, self._topic, start, end, batch=100, timeout=TIMEOUT):
            with suppress(BadRecordError):
                features = decode_example(record.value).features
                yield {name: value for name, value in features.items() if name not in self._personal}

    def _of_field(self, field: Field) -> FieldValues:
        if field.name in self._personal:
            return FieldValues(field.name, field.kind, personal=True)
        values = [value for example in self._examples for value in _listed(example.get(field.name))]
        if field.kind == "numeric":
            return _numeric(field, values)
        counts = Counter((type(value), value) for value in values if len(str(value)) <= LONGEST)
        return FieldValues(field.name, field.kind, values=[value for (_, value), n in counts.most_common(MOST) if n >= LEAST])


def _listed(value: Any) -> list[Any]:
    """Return the values of a feature, without those that are missing."""
    return [each for each in (value if isinstance(value, list) else [value]) if each is not None and each != ""]


def _numeric(field: Field, values: Sequence[Any]) -> FieldValues:
    numbers = []
    for value in values:
        with suppress(ValueError, TypeError, OverflowError):
            if math.isfinite(number := float(value)):
                numbers.append(number)
    if not numbers:
        return FieldValues(field.name, field.kind)
    numbers.sort()
    low, typical, high = (numbers[int(share * (len(numbers) - 1))] for share in (0.1, 0.5, 0.9))
    return FieldValues(field.name, field.kind, range=(low, high), typical=typical)
