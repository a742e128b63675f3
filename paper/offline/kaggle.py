"""The Kaggle files of Criteo (``train.txt``) and Avazu (``train.csv``), read whole, a block of rows at a time, gzipped or not."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from pyarrow import csv

from model.settings import Field

BLOCK = 1 << 24  # bytes of text that are read at once


class DataError(Exception):
    """A file is not of the format that it should have."""


class Format(NamedTuple):
    """What the columns of a file are.

    Attributes:
        label: the column that is predicted, 0 or 1.
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
    """The fields of the format ``name``, numeric ones first: as their embeddings lie side by side."""
    form = FORMATS[name]
    numeric = (Field(name=field, kind="numeric") for field in form.numeric)
    return (*numeric, *(Field(name=field) for field in form.categorical))


def blocks(path: Path, name: str, block: int = BLOCK) -> Iterator[pa.RecordBatch]:
    """Read a file of the format ``name`` in its own order: labels as int8, numbers as float64, values as bytes, null where missing.

    Raises:
        DataError: it is no such file, or holds no row; the message is arrow's own, with the row and what it expected.
    """
    form = FORMATS[name]
    kinds = {form.label: pa.int8()} | dict.fromkeys(form.numeric, pa.float64()) | dict.fromkeys(form.categorical, pa.binary())
    compression = "gzip" if path.suffix == ".gz" else None
    try:
        with (
            pa.input_stream(str(path), compression=compression) as stream,
            csv.open_csv(
                stream,
                csv.ReadOptions(use_threads=False, block_size=block, column_names=None if form.header else list(kinds)),
                csv.ParseOptions(delimiter=form.delimiter, quote_char=False),
                csv.ConvertOptions(column_types=kinds, include_columns=list(kinds), null_values=[""], strings_can_be_null=True),
            ) as reader,
        ):
            yield from reader
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise DataError(f"{path}: got {error}, expected the format of {name}") from error
