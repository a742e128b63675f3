"""The data sets of Criteo and Avazu: the formats of their Kaggle files, and an encoded file as it lies on disk.

An encoded file is mapped: only the rows that are read come into memory.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.settings import Field

Rows = NDArray[np.int64]


class DataError(Exception):
    """A file does not have the expected format."""


class Format(NamedTuple):
    """The columns of a file.

    Attributes:
        label: the column to predict, 0 or 1.
        numeric: columns of numbers, empty where missing.
        categorical: columns of values, empty where missing.
        header: the first line names the columns.
        delimiter: between them.
    """

    label: str
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    header: bool
    delimiter: str


FORMATS = {
    "criteo": Format(
        label="click",
        numeric=tuple(f"I{number}" for number in range(1, 14)),
        categorical=tuple(f"C{number}" for number in range(1, 27)),
        header=False,
        delimiter="\t",
    ),
    # Without id, which no two rows share. The hour is a value like any other, as AutoInt has it.
    "avazu": Format(
        label="click",
        numeric=(),
        categorical=(
            *("hour", "C1", "banner_pos", "site_id", "site_domain", "site_category", "app_id", "app_domain", "app_category"),
            *("device_id", "device_ip", "device_model", "device_type", "device_conn_type"),
            *(f"C{number}" for number in range(14, 22)),
        ),
        header=True,
        delimiter=",",
    ),
}


def fields(name: str) -> tuple[Field, ...]:
    """Return the fields of the format ``name``, numeric ones first: in the order of their embeddings."""
    form = FORMATS[name]
    numeric = (Field(name=field, kind="numeric") for field in form.numeric)
    return (*numeric, *(Field(name=field) for field in form.categorical))


class EncodedFile(NamedTuple):
    """What :func:`paper.offline.preprocess.encode` wrote about a file."""

    name: str  # of its format
    digest: str  # of its contents
    rows: int
    least: int  # occurrences from which a category is kept
    table: int  # rows of the embedding table
    folder: Path

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Read what ``folder`` holds, but not the arrays."""
        return cls(**json.loads((folder / "meta.json").read_text(encoding="utf-8")), folder=folder)


class Batch(NamedTuple):
    """Some examples: labels ``(B,)``, scaled numbers ``(B, K)``, rows of the table ``(B, C)``."""

    labels: Tensor
    values: Tensor
    ids: Tensor


class Split(NamedTuple):
    """The rows of each part."""

    train: Rows
    valid: Rows
    test: Rows


class Dataset(NamedTuple):
    """The arrays of an encoded file, mapped."""

    name: str
    digest: str
    labels: NDArray[np.uint8]  # (N,)
    values: NDArray[np.float32]  # (N, K)
    ids: NDArray[np.int32]  # (N, C)
    table: int  # rows of the embedding table

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map the arrays of ``folder``."""
        file = EncodedFile.open(folder)
        form, rows = FORMATS[file.name], file.rows
        return cls(
            file.name,
            file.digest,
            _mapped(folder / "labels", np.uint8, (rows,)),
            _mapped(folder / "values", np.float32, (rows, len(form.numeric))),
            _mapped(folder / "ids", np.int32, (rows, len(form.categorical))),
            file.table,
        )

    def take(self, rows: Rows, device: torch.device) -> Batch:
        """Read some rows."""
        arrays = self.labels[rows].astype(np.float32), self.values[rows], self.ids[rows].astype(np.int64)
        return Batch(*(torch.from_numpy(array).to(device) for array in arrays))


def split(rows: int, seed: int) -> Split:
    """Split the rows 8:1:1 at random.

    >>> [len(part) for part in split(1_005, seed=0)]
    [805, 100, 100]
    """
    order = np.random.default_rng(seed).permutation(rows)
    tenth = rows // 10
    return Split(order[2 * tenth :], order[tenth : 2 * tenth], order[:tenth])


def _mapped(path: Path, dtype: type[np.generic], shape: tuple[int, ...]) -> NDArray[Any]:
    return np.memmap(path, dtype, "r", shape=shape) if all(shape) else np.empty(shape, dtype)
