"""Parquet, a batch of rows at once; what a struct holds is a column, ``OUTER.MEMBER``."""

from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow.parquet import ParquetFile

from stream.files.block import Arrays, Block, Row
from stream.files.opened import seekable

_ROWS = 8_192  # in a block


def parquet_blocks(path: Path) -> Iterator[Block]:
    """Yield the rows of a file, block by block."""
    with seekable(path) as file, closing(ParquetFile(file)) as table:
        for batch in table.iter_batches(batch_size=_ROWS):
            yield _ParquetBlock(_without_structs(batch))


def _without_structs(batch: pa.RecordBatch) -> pa.RecordBatch:
    table = pa.Table.from_batches([batch])
    while any(map(pa.types.is_struct, table.schema.types)):
        table = table.flatten()
    return table.to_batches()[0]


class _ParquetBlock:
    def __init__(self, batch: pa.RecordBatch) -> None:
        self._batch = batch

    def rows(self) -> Iterator[Row]:
        names = self._batch.schema.names
        columns = [_plain(column).to_pylist() for column in self._batch.columns]
        for values in zip(*columns, strict=True):
            yield dict(zip(names, values, strict=True))

    def columns(self, names: Collection[str]) -> tuple[int, Arrays] | None:
        if len(set(self._batch.schema.names)) < self._batch.num_columns:
            return None
        try:
            arrays = {name: _plain(column) for name, column in zip(self._batch.schema.names, self._batch.columns, strict=True)}
            for array in arrays.values():
                array.validate(full=True)
        except pa.ArrowInvalid:
            return None
        return self._batch.num_rows, {name: array for name, array in arrays.items() if name in names}


def _plain(column: Any) -> Any:
    """Convert times to epoch ms or ms of the day, durations to ms, decimals to floats and bytes to text, which a field can take."""
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return column.cast(pa.timestamp("ms", getattr(kind, "tz", None)), safe=False).cast(pa.int64())
    if pa.types.is_time(kind):
        return column.cast(pa.time32("ms"), safe=False).cast(pa.int32())
    if pa.types.is_duration(kind):
        return column.cast(pa.duration("ms"), safe=False).cast(pa.int64())
    if pa.types.is_decimal(kind):
        return column.cast(pa.float64())
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return _text(column.cast(pa.binary()))
    return column


def _text(column: Any) -> Any:
    """Return bytes as text; a byte that is no UTF-8 stands in it by its number."""
    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array([value if value is None else value.decode(errors="backslashreplace") for value in column.to_pylist()], pa.string())
