"""A recorded log in memory, and the schedule by which every contender predicts and learns it.

Axes: N examples, F fields, Q fields that have numbers, K values of all examples together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from model.encoding.features import CLOCKS, Encoder, Features
from model.evaluation.served import Schedule
from model.settings import Field
from service.commands.evaluation.evaluate import Protocol, batches
from service.settings import Settings
from stream.files.layout import Logged
from stream.files.rows import read

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

BATCH = 4096  # rows that are encoded together


@dataclass(frozen=True, slots=True)
class RecordedLog:
    """N examples."""

    settings: Settings
    features: Features  # as SML has them
    values: Ints  # (K,), as the others have them: the keys of SML's table, numbered from 0, and for a number that of its bucket alone
    starts: Ints  # (N F + 1,), where the values of each field of each example start, and the last ones end
    numbers: NDArray[np.float32]  # (N, Q), numeric fields, hour and weekday; NaN where it is missing
    labels: NDArray[np.float32]  # (N,), 1 for a click, else 0
    times: list[int]  # (N,), epoch ms
    pages: list[Any]  # (N,), what neighbours of one page have equal; None: a page of its own

    def __len__(self) -> int:
        """Return N."""
        return len(self.labels)

    @property
    def fields(self) -> tuple[Field, ...]:
        """Return its fields."""
        return self.settings.spec.fields

    @property
    def row_starts(self) -> Ints:
        """Return where the values of each example start, and the last ones end, ``(N + 1,)``."""
        return self.starts[:: len(self.fields)]


def recorded(path: Path, settings: Settings, rows: int | None = None) -> RecordedLog:
    """Read the first ``rows`` of a log, default all; one that its fields don't take is left out."""
    fields = settings.spec.fields
    encoder, plain = Encoder(fields), Encoder([field.model_copy(update={"tiles": 0}) for field in fields])
    kept: list[Logged] = []
    parts: list[tuple[Features, Features]] = []
    for batch in batches(islice(read(path, settings.data), rows), BATCH):
        examples, times = [row.features for row in batch], [row.time for row in batch]
        features, bad = encoder.encode(examples, times)
        parts.append((features, plain.encode(examples, times).features))
        kept += [row._replace(features=numbers_of(fields, row)) for n, row in enumerate(batch) if n not in bad]
    ours, others = (joined(each) for each in zip(*parts, strict=True))
    times = [row.time for row in kept]
    return RecordedLog(
        settings,
        ours._replace(times=np.array(times, np.int64)),
        np.unique(others.keys, return_inverse=True)[1],
        others.starts,
        np.array([list(row.features.values()) for row in kept], np.float32),
        np.array([row.label for row in kept], np.float32),
        times,
        [row.page for row in kept],
    )


def joined(parts: Sequence[Features]) -> Features:
    """Return the keys of all parts."""
    counts = np.concatenate([np.diff(part.starts) for part in parts])
    return Features(np.concatenate([part.keys for part in parts]), np.concatenate([[0], np.cumsum(counts)]))


def numbers_of(fields: tuple[Field, ...], row: Logged) -> dict[str, Any]:
    """Return the numbers of a row by field."""
    raw = {field.name: row.features.get(field.name) for field in fields if field.kind == "numeric"}
    numbers = {name: float("nan") if value in (None, "") else float(str(value)) for name, value in raw.items()}
    return numbers | {field.name: CLOCKS[field.kind](row.time) for field in fields if field.kind in CLOCKS}


def schedule(log: RecordedLog, protocol: Protocol) -> Ints:
    """Return how many examples are learned when each is predicted, ``(N,)``: it never falls, and is at most the example's index."""
    if not (protocol.delay or protocol.together):
        return np.arange(len(log))
    order = Schedule(round(1000 * protocol.delay))
    pages = log.pages if protocol.together else [None] * len(log)
    return np.array([order.admit(time, page) for time, page in zip(log.times, pages, strict=True)], np.int64)


def steps(known: Ints) -> Iterator[tuple[slice, slice]]:
    """Yield, in order, which examples to learn and which to predict then; the last are never learned, since nobody asks after them.

    >>> list(steps(np.array([0, 0, 2, 2])))
    [(slice(0, 0, None), slice(0, 2, None)), (slice(0, 2, None), slice(2, 4, None))]
    """
    counts, starts = np.unique(known, return_index=True)
    ends = [*starts[1:].tolist(), len(known)]
    learned = 0
    for count, start, end in zip(counts.tolist(), starts.tolist(), ends, strict=True):
        yield slice(learned, count), slice(start, end)
        learned = count
