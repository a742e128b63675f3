"""What each field is worth, and how often its values are new: of a sample of the rows, by the weights from just before their batch.

A field is worth the log loss that it saves: of a prediction with its default row, which a value never seen has, minus that of the true one.
What two fields both tell counts for neither, as the other one remains.

Axes: N examples, F fields, K keys of all examples together.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.encoding.features import Encoder, Features
from model.evaluation.scores import log_losses
from model.kernels.rows.table import find_all
from model.settings import Spec
from model.weights import Weights
from service.report.blocks import Blocks, Interval
from stream.files.layout import Logged

EVERY = 8  # one row in so many is looked at
_NEVER = np.uint64(2**64 - 1)  # the key of a value that never occurs


class Worth(NamedTuple):
    """A field, and the log loss that it saves."""

    field: str
    saved: Interval


class FieldWorth:
    """Looks at rows before they are learned.

    Attributes:
        unseen: The share of each field's keys that have no row, ``F`` series.
    """

    def __init__(self, spec: Spec) -> None:
        self._fields = spec.fields
        self._encoder = Encoder(spec.fields)
        self.unseen = Blocks(len(spec.fields))
        self._saved = np.zeros((2, len(spec.fields)))  # sums of what is saved, and of its square
        self._examples = 0

    def look(self, weights: Weights, batch: list[Logged]) -> None:
        """Look at some rows of a batch, before any of it is learned."""
        sample = [logged for logged in batch if not logged.number % EVERY]
        features, misfits = self._encoder.encode([logged.features for logged in sample], [logged.time for logged in sample])
        kept = [logged for n, logged in enumerate(sample) if n not in misfits]
        if not kept:
            return
        labels = np.array([logged.label for logged in kept], np.float32)
        count = len(self._fields)
        field = np.repeat(np.arange(len(kept) * count) % count, np.diff(features.starts))  # (K,), of each key
        self._count_unseen(weights, features, field, np.repeat([logged.number - 1 for logged in kept], np.diff(features.starts[::count])))
        loss = log_losses(weights.predict(features), labels)
        for f in range(count):
            without = features._replace(keys=np.where(field == f, _NEVER, features.keys))
            saved = log_losses(weights.predict(without), labels) - loss
            self._saved[:, f] += np.nansum([saved, saved**2], axis=1)
        self._examples += len(kept)

    def _count_unseen(self, weights: Weights, features: Features, field: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        unseen = find_all(weights.keys, features.keys) < 0
        for f in range(len(self._fields)):
            self.unseen.add(f, rows[field == f], unseen[field == f])

    def fields(self) -> list[Worth]:
        """Return what each field is worth, the most valuable first; the interval is that of a sample of its size."""
        mean, square = self._saved / max(self._examples, 1)
        half = 1.96 * np.sqrt(np.maximum(square - mean**2, 0) / max(self._examples, 1))
        found = [
            Worth(field.name, Interval(*map(float, (mean[f], mean[f] - half[f], mean[f] + half[f]))))
            for f, field in enumerate(self._fields)
        ]
        return sorted(found, key=lambda each: -each.saved.mean)
