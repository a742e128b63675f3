"""An encoded file as it lies on disk, its split, and its rows as tensors; no more of it is in memory than is looked at."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paper.offline.kaggle import FORMATS

Rows = NDArray[np.int64]


class Batch(NamedTuple):
    """Some rows: labels ``(B,)``, scaled numbers ``(B, K)``, rows of the table ``(B, C)``."""

    labels: Tensor
    values: Tensor
    ids: Tensor


class Split(NamedTuple):
    """Which rows are for what."""

    train: Rows
    valid: Rows
    test: Rows


class Dataset(NamedTuple):
    """What :func:`paper.offline.preprocess.encode` wrote."""

    name: str
    digest: str  # of its contents
    labels: NDArray[np.uint8]  # (N,)
    values: NDArray[np.float32]  # (N, K)
    ids: NDArray[np.int32]  # (N, C)
    table: int  # rows that the embedding table has

    @classmethod
    def open(cls, folder: Path) -> "Dataset":
        """Map the arrays of ``folder``."""
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        form, rows = FORMATS[meta["name"]], meta["rows"]
        return cls(
            meta["name"],
            meta["digest"],
            _mapped(folder / "labels", np.uint8, (rows,)),
            _mapped(folder / "values", np.float32, (rows, len(form.numeric))),
            _mapped(folder / "ids", np.int32, (rows, len(form.categorical))),
            meta["table"],
        )

    def take(self, rows: Rows, device: torch.device) -> Batch:
        """Read some rows."""
        arrays = self.labels[rows].astype(np.float32), self.values[rows], self.ids[rows].astype(np.int64)
        return Batch(*(torch.from_numpy(array).to(device) for array in arrays))


def split(rows: int, seed: int) -> Split:
    """Part the rows 8:1:1 at random.

    >>> [len(part) for part in split(1_005, seed=0)]
    [805, 100, 100]
    """
    order = np.random.default_rng(seed).permutation(rows)
    tenth = rows // 10
    return Split(order[2 * tenth :], order[tenth : 2 * tenth], order[:tenth])


def _mapped(path: Path, dtype: type[np.generic], shape: tuple[int, ...]) -> NDArray[Any]:
    return np.memmap(path, dtype, "r", shape=shape) if all(shape) else np.empty(shape, dtype)
