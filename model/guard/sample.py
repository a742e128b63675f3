"""A thin sample of the stream: one example in so many, with what was predicted for it; the newest 64 stay.

Axes: K examples of the sample; F fields.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from model.encoding.features import Features

SIZE = 64  # examples
GOLDEN_EVERY, RECENT_EVERY = 256, 16  # in so many one is kept: of the good time, and of all


class Kept(NamedTuple):
    """One example of a sample."""

    keys: NDArray[np.uint64]  # of all fields
    starts: NDArray[np.int64]  # (F + 1,) where each field's keys begin
    time: int  # epoch ms
    logit: float  # predicted before it was learned
    clicked: bool

    @classmethod
    def of(cls, features: Features, fields: int, n: int, logit: float, clicked: bool) -> Self:
        """Return example ``n`` of ``features``."""
        starts = features.starts[n * fields : (n + 1) * fields + 1]
        time = int(features.times[n]) if len(features.times) else 0
        return cls(features.keys[starts[0] : starts[-1]].copy(), starts - starts[0], time, logit, clicked)


class Sample:
    """Keeps the newest of the examples that it is given."""

    def __init__(self, kept: Iterable[Kept] = ()) -> None:
        self._kept = deque(kept, SIZE)
        self._features: Features | None = None  # of all that is kept

    def __len__(self) -> int:
        """Return how many examples are kept."""
        return len(self._kept)

    def add(self, example: Kept) -> None:
        """Keep an example; the oldest gives way."""
        self._kept.append(example)
        self._features = None

    def forget(self, key: int) -> None:
        """Drop the examples that hold a value."""
        self._kept = deque((each for each in self._kept if np.uint64(key) not in each.keys), SIZE)
        self._features = None

    def clear(self) -> None:
        """Drop all."""
        self._kept.clear()
        self._features = None

    @property
    def features(self) -> Features:
        """The features of all that is kept."""
        if self._features is None:
            counts = np.concatenate([np.diff(each.starts) for each in self._kept])
            keys = np.concatenate([each.keys for each in self._kept])
            times = np.array([each.time for each in self._kept], np.int64)
            self._features = Features(keys, np.concatenate([[0], np.cumsum(counts)]), times)
        return self._features

    @property
    def logits(self) -> NDArray[np.float64]:
        """What was predicted for each, ``(K,)``."""
        return np.array([each.logit for each in self._kept])

    @property
    def clicked(self) -> NDArray[np.bool_]:
        """Which were clicked, ``(K,)``."""
        return np.array([each.clicked for each in self._kept], np.bool_)

    def top_shares(self) -> list[float]:
        """Return, for each field, the share of the examples that hold its most frequent value; an empty list where there are none."""
        fields = len(self._kept[0].starts) - 1 if self._kept else 0
        return [self._top_share(field) for field in range(fields)]

    def _top_share(self, field: int) -> float:
        values = [each.keys[each.starts[field] : each.starts[field + 1]] for each in self._kept]
        values = [np.unique(several) if len(several) > 1 else several for several in values]
        _, counts = np.unique(np.concatenate(values), return_counts=True)
        return float(counts.max(initial=0)) / len(values)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return everything as arrays; none where nothing is kept."""
        if not self._kept:
            return {}
        return {
            "keys": np.concatenate([each.keys for each in self._kept]),
            "starts": np.array([each.starts for each in self._kept], np.int64),
            "times": self.features.times,
            "logits": self.logits,
            "clicked": self.clicked,
        }

    @classmethod
    def from_state(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return the sample that :meth:`state` returned."""
        if not arrays:
            return cls()
        keys = np.split(arrays["keys"], np.cumsum(arrays["starts"][:, -1])[:-1])
        rows = zip(keys, arrays["starts"], arrays["times"].tolist(), arrays["logits"].tolist(), arrays["clicked"].tolist(), strict=True)
        return cls(Kept(*row) for row in rows)
