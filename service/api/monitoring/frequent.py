"""The values that the newest examples had most often, by field, to choose from in a form.

They are read from the log when somebody asks, and counted once a minute; no example is kept.
Of a field that carries personal data no value is named, nor is one that a single example holds, however often.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from typing import Any

from fastapi.concurrency import run_in_threadpool
from msgspec import Struct

from model.encoding.keys import Value
from model.settings import Field
from stream.log.contract import Log, LogError
from stream.log.reading import read_all
from stream.records.events import LARGEST_COUNT, BadRecordError, decode_example

NEWEST = 2_000  # examples
MOST_BYTES = 8_000_000  # of them
MOST_OF_ONE = 100  # values that one example's list may add
MOST = 20  # values of a field
LEAST = 2  # examples that must hold a value for it to be named
LEAST_NUMBERS = 20  # examples that must hold a number for their range to be told
LONGEST = 100  # characters of one
KEPT = 60.0  # seconds
TIMEOUT = 5.0  # seconds that reading may take


class FieldValues(Struct, frozen=True, omit_defaults=True):
    """A field, and the values that it had most often."""

    name: str
    kind: str
    personal: bool = False
    values: list[str | int | float | bool] = []  # the most frequent one first; of a numeric field none
    range: tuple[float, float] | None = None  # of a numeric field: of ten values, eight lie within; to two digits
    typical: float | None = None  # its median, to two digits


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
        self._turn, self._until = asyncio.Lock(), -1.0
        self._fields: tuple[Field, ...] = ()
        self._found: tuple[list[FieldValues], int] = [], 0

    async def ask(self, fields: Sequence[Field]) -> tuple[list[FieldValues], int]:
        """Return what :meth:`of` does; however many ask, they take one of the server's threads."""
        async with self._turn:
            return await run_in_threadpool(self.of, fields)

    def of(self, fields: Sequence[Field]) -> tuple[list[FieldValues], int]:
        """Return the most frequent values of each field, and among how many examples; none where the log does not say."""
        if self._clock() >= self._until or self._fields != tuple(fields):
            examples: list[dict[str, Value]] = []
            with suppress(LogError):
                examples = list(self._read({field.name for field in fields if field.is_feature} - self._personal))
            self._fields, self._found = tuple(fields), ([self._of_field(field, examples) for field in fields], len(examples))
            self._until = self._clock() + (KEPT if examples else 5.0)
        return self._found

    def _read(self, names: set[str]) -> Iterator[dict[str, Value]]:
        bounds = self._log.bounds(self._topic)
        each = max(1, NEWEST // len(bounds))
        start = {partition: found.newest(each) for partition, found in bounds.items()}
        end = {partition: found.end for partition, found in bounds.items()}
        left = MOST_BYTES
        with closing(read_all(self._log, self._topic, start, end, batch=100, timeout=TIMEOUT)) as records:
            for record in records:
                left -= len(record.value or b"")
                if left < 0:
                    return
                with suppress(BadRecordError):
                    features = decode_example(record.value).features
                    yield {name: _part(features[name]) for name in names & features.keys()}

    def _of_field(self, field: Field, examples: Sequence[dict[str, Value]]) -> FieldValues:
        if field.name in self._personal:
            return FieldValues(field.name, field.kind, personal=True)
        if field.kind == "numeric":
            return _numeric(field, [example.get(field.name) for example in examples])
        values = [value for example in examples for value in _listed(example.get(field.name))]
        counts = Counter((type(value), value) for value in values if len(str(value)) <= LONGEST)
        return FieldValues(field.name, field.kind, values=[_same(value) for (_, value), n in counts.most_common(MOST) if n >= LEAST])


def _same(value: Any) -> Any:
    """Return a value as one that is the same in every language: of a whole number that is too large its text, which has the same key."""
    return str(value) if isinstance(value, int) and abs(value) > LARGEST_COUNT else value


def _part(value: Value) -> Value:
    """Return as much of a feature as is counted."""
    return value[:MOST_OF_ONE] if isinstance(value, list) else value


def _listed(value: Any) -> Iterable[Any]:
    """Return the different values of a feature, without those that are missing."""
    return dict.fromkeys(each for each in (value if isinstance(value, list) else [value]) if each is not None and each != "")


def _numeric(field: Field, values: Sequence[Any]) -> FieldValues:
    numbers = []
    for value in values:
        with suppress(ValueError, TypeError, OverflowError):
            if math.isfinite(number := float(value)):
                numbers.append(number)
    if len(numbers) < LEAST_NUMBERS:
        return FieldValues(field.name, field.kind)
    numbers.sort()
    low, typical, high = (float(f"{numbers[int(share * (len(numbers) - 1))]:.2g}") for share in (0.1, 0.5, 0.9))
    return FieldValues(field.name, field.kind, range=(low, high), typical=typical)
