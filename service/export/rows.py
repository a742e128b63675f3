"""From features to the rows of an exported table: what an exported model takes.

>>> encoder = RowEncoder.load("exported")  # doctest: +SKIP
>>> rows, times = encoder.encode([{"user": "u17", "price": 3.5}], times=[1_760_000_000_000])  # doctest: +SKIP
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from model.encoding.features import Encoder
from model.settings import Field


class Inputs(NamedTuple):
    """The inputs of an exported model, for N examples of F fields, each with V values at most."""

    rows: NDArray[np.int64]  # (N, F, V); 0: no value
    times: NDArray[np.int64]  # (N,), epoch ms


class RowEncoder:
    """Finds the row of each value.

    Args:
        fields: The model's fields, in order.
        keys: The key of each row of the table, ascending. Before these rows come one for no value, and one for each field, of values
            never seen.
    """

    def __init__(self, fields: Sequence[Field], keys: NDArray[np.uint64]) -> None:
        self._encoder, self._keys, self._fields = Encoder(fields), keys, len(fields)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read the encoder of an exported model from its folder."""
        fields = json.loads((Path(folder) / "model.json").read_text(encoding="utf-8"))["spec"]["fields"]
        return cls([Field(**field) for field in fields], np.load(Path(folder) / "keys.npy", allow_pickle=False))

    def encode(self, examples: Sequence[Mapping[str, Any]], times: Sequence[int]) -> Inputs:
        """Return the inputs of N examples, given by their features and times, epoch ms. A feature that is absent is missing.

        Raises:
            ValueError: a value is not one that its field takes.
        """
        features, bad = self._encoder.encode(examples, times)
        for n, error in bad.items():
            raise ValueError(f"example {n}: {error}") from error
        counts = np.diff(features.starts).reshape(-1, self._fields)  # (N, F)
        fields = np.repeat(np.arange(counts.size) % self._fields, counts.ravel())  # (K,), of each key
        near = np.minimum(np.searchsorted(self._keys, features.keys), max(len(self._keys) - 1, 0))
        known = self._keys[near] == features.keys if len(self._keys) else np.zeros(len(fields), np.bool_)
        rows = np.zeros((*counts.shape, counts.max(initial=1)), np.int64)
        rows[np.arange(rows.shape[2]) < counts[:, :, None]] = np.where(known, 1 + self._fields + near, 1 + fields)
        return Inputs(rows, features.times)
