"""Forgotten values: their rows are gone, and no impression from before their request is learned any more.

A request is a record of ``examples``, so learning again after a crash forgets again, at the same point. Examples from before the request
may still follow it: in other partitions, in a joiner that is behind, in a replay after a rollback. They are known by their time.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from model.array_file import Arrays
from model.encoding.features import Encoded, Features
from model.encoding.keys import FeatureError
from stream.log.contract import Record
from stream.records.events import BadRecordError, Forget

LATEST = 86_400_000  # ms by which a request may look ahead of its append time: no request forbids a value for ever
KEPT = 90 * 86_400_000  # ms for which a request holds: by then retention has deleted what came before it


class ForgottenError(FeatureError):
    """An example holds a value that was forgotten after its impression."""


class Forgotten:
    """The values whose earlier impressions are not learned.

    Attributes:
        version: the last version that forgot a value, -1 if none did.
    """

    def __init__(self, until: Mapping[int, int] | None = None, version: int = -1) -> None:
        self._until = dict(until or {})  # key → epoch ms
        self.version = version
        self._oldest = min(self._until.values(), default=0)  # no time is older

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self._until)

    def add(self, request: Forget) -> None:
        """Add the value of a request; drop those whose requests have become too old to matter."""
        expired = request.until - KEPT
        if self._oldest <= expired:
            self._until = {key: time for key, time in self._until.items() if time > expired}
            self._oldest = min(self._until.values(), default=request.until)
        self._until[request.key] = max(request.until, self._until.get(request.key, 0))
        self._oldest = min(self._oldest, request.until)
        self.__dict__.pop("_keys", None)  # to be computed anew

    @cached_property
    def _keys(self) -> NDArray[np.uint64]:
        return np.array(sorted(self._until), np.uint64)

    def holders(self, features: Features, times: NDArray[np.int64]) -> list[int]:
        """Return which of N examples hold a value that was forgotten after their ``times``, ``(N,)``, epoch ms."""
        found = np.flatnonzero(np.isin(features.keys, self._keys))
        if not len(found):
            return []
        fields = (len(features.starts) - 1) // len(times)
        examples = np.searchsorted(features.starts[::fields], found, side="right") - 1
        until = np.array([self._until[key] for key in features.keys[found].tolist()], np.int64)
        held: list[int] = np.unique(examples[times[examples] <= until]).tolist()
        return held

    def leave_out(self, encoded: Encoded, times: Sequence[int]) -> Encoded:
        """Return N examples, of ``times`` in epoch ms, without those that hold a value that was forgotten after their time."""
        if not self:
            return encoded
        kept = [n for n in range(len(times)) if n not in encoded.bad]
        holders = self.holders(encoded.features, np.array([times[n] for n in kept], np.int64))
        if not holders:
            return encoded
        left_out = {kept[n]: ForgottenError("features", "a forgotten value", "none") for n in holders}
        return Encoded(encoded.features.without(holders, len(kept)), encoded.bad | left_out)

    def state(self) -> Arrays:
        """Return everything as arrays."""
        times = [self._until[key] for key in self._keys.tolist()]
        return {"keys": self._keys, "until": np.array(times, np.int64), "version": np.array([self.version], np.int64)}

    @classmethod
    def from_state(cls, arrays: Arrays) -> Self:
        """Return what :meth:`state` was called on; nothing is forgotten where there are no arrays, as in earlier checkpoints."""
        if not arrays:
            return cls()
        return cls(dict(zip(arrays["keys"].tolist(), arrays["until"].tolist(), strict=True)), int(arrays["version"][0]))


def check(request: Forget, record: Record) -> None:
    """Refuse a request that looks ahead too far.

    Raises:
        BadRecordError: its time is later than its append time by more than ``LATEST``.
    """
    if request.until > record.timestamp + LATEST:
        raise BadRecordError("until", request.until, f"at most {LATEST} ms after its append time, {record.timestamp}")
