"""AutoInt's preprocessing: a file becomes arrays on disk, in two passes and in constant memory.

Song et al., arXiv 1810.11921, section 5.1, and its code: the categories of a field that occur less often than ``least`` times share
one row; a number is ``ln²(z)`` above 2, and 0 where missing. A missing category has the row 0, whose vector is zero.

The first pass counts, the second encodes. The 64-bit hashes of values and their counts go to disk block by block, and are added up
one part of the hashes at a time; only the values that are kept stay in memory, 8 bytes each.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv
from xxhash import xxh3_64_hexdigest, xxh3_64_intdigest, xxh3_128

from paper.offline.dataset import FORMATS, DataError, Format

BLOCK = 1 << 24  # bytes of text that are read at once
ARRAYS = ("labels", "values", "ids")

_PAIR = np.dtype([("hash", np.uint64), ("count", np.uint32)])
_PART = 1 << 21  # pairs that are added up at once, or read at once

Hashes = NDArray[np.uint64]
Watch = Callable[[Iterable[pa.RecordBatch], str], Iterator[pa.RecordBatch]]


def encode(path: Path, name: str, least: int, cache: Path, watch: Watch, block: int = BLOCK) -> Path:
    """Encode a file, unless ``cache`` already holds it encoded.

    Args:
        path: the file.
        name: its format.
        least: occurrences from which a category is kept.
        cache: the folder of all that is encoded.
        watch: passes blocks on and shows the progress.
        block: bytes of text that are read at once; the result does not depend on it.

    Returns:
        The folder of ``labels``, uint8 ``(N,)``, ``values``, float32 ``(N, K)``, ``ids``, int32 ``(N, C)``, and ``meta.json``.

    Raises:
        DataError: the file does not have that format.
    """
    stat = path.stat()
    source = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns} {least}"
    folder = cache / f"{name}-{xxh3_64_intdigest(source.encode()):016x}"
    if folder.exists():
        return folder
    partial = folder.with_suffix(".partial")  # renamed once it is whole
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    kept = _count(watch(blocks(path, name, block), f"{name}: counting"), name, least, partial)
    meta = _write(watch(blocks(path, name, block), f"{name}: encoding"), name, kept, partial)
    (partial / "meta.json").write_text(json.dumps({"name": name, "least": least} | meta), encoding="utf-8")
    return partial.rename(folder)


def blocks(path: Path, name: str, block: int = BLOCK) -> Iterator[pa.RecordBatch]:
    """Read a file of the format ``name`` in its own order, gzipped or not: labels as int8, numbers as float64, values as bytes, else null.

    Raises:
        DataError: the file does not have that format, or has no row; the message is arrow's, with the row and what it expected.
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


def _count(batches: Iterable[pa.RecordBatch], name: str, least: int, folder: Path) -> list[Hashes]:
    """Return the hashes, in order, of each categorical field's values that occur at least ``least`` times."""
    paths = {field: folder / f"{field}.counts" for field in FORMATS[name].categorical}
    with ExitStack() as stack:
        files = {field: stack.enter_context(path.open("wb")) for field, path in paths.items()}
        for batch in batches:
            for field, file in files.items():
                values, counts = batch.column(field).drop_null().value_counts().flatten()
                pairs = np.empty(len(values), _PAIR)
                pairs["hash"], pairs["count"] = _hashes(values), counts
                pairs.tofile(file)
    kept = [_frequent(path, least) for path in paths.values()]
    for path in paths.values():
        path.unlink()
    return kept


def _frequent(path: Path, least: int) -> Hashes:
    """Add up the counts of a file of pairs, one part of the hashes at a time, and return the hashes that are kept."""
    size = path.stat().st_size // _PAIR.itemsize
    parts = np.uint64(1 + size // _PART)
    kept = [np.empty(0, np.uint64)]
    for part in range(int(parts)):
        chunks = (np.fromfile(path, _PAIR, _PART, offset=start * _PAIR.itemsize) for start in range(0, size, _PART))
        pairs = np.concatenate([np.empty(0, _PAIR), *(chunk[chunk["hash"] % parts == part] for chunk in chunks)])
        hashes, codes = np.unique(pairs["hash"], return_inverse=True)
        kept.append(hashes[np.bincount(codes, pairs["count"], minlength=len(hashes)) >= least])
    return np.sort(np.concatenate(kept))


def _write(batches: Iterable[pa.RecordBatch], name: str, kept: Sequence[Hashes], folder: Path) -> dict[str, Any]:
    """Write the arrays block by block; return their number of rows, the size of the table and a digest of their contents."""
    starts = np.cumsum([1, *(1 + len(values) for values in kept)]).tolist()  # of each field: the row of the rare, then those that are kept
    digests = {array: xxh3_128() for array in ARRAYS}
    rows = 0
    with ExitStack() as stack:
        files = {array: stack.enter_context((folder / array).open("wb")) for array in ARRAYS}
        for batch in batches:
            for array, written in _arrays(batch, FORMATS[name], kept, starts[:-1]).items():
                written.tofile(files[array])
                digests[array].update(written.tobytes())
            rows += batch.num_rows
    digest = xxh3_64_hexdigest(b"".join(digest.digest() for digest in digests.values()))
    return {"rows": rows, "table": starts[-1], "digest": digest}


def _arrays(batch: pa.RecordBatch, form: Format, kept: Sequence[Hashes], starts: Sequence[int]) -> dict[str, NDArray[Any]]:
    """Encode a block; a field's rows of the table begin at its element of ``starts``."""
    numbers = [scaled(batch.column(field)) for field in form.numeric]
    ids = [_ids(batch.column(field), values, start) for field, values, start in zip(form.categorical, kept, starts, strict=True)]
    return {
        "labels": _labels(batch.column(form.label)),
        "values": np.reshape(numbers, (len(numbers), batch.num_rows)).T.astype(np.float32),
        "ids": np.reshape(ids, (len(ids), batch.num_rows)).T.astype(np.int32),
    }


def scaled(column: pa.Array) -> NDArray[np.float64]:
    """Scale numbers: ``ln²(z)`` above 2, as they are up to 2, 0 where missing.

    >>> scaled(pa.array([None, -1.0, 2.0, 100.0])).round(3).tolist()
    [0.0, -1.0, 2.0, 21.208]
    """
    numbers: NDArray[np.float64] = pc.fill_null(column, 0.0).to_numpy()
    return np.where(numbers > 2, np.log(np.maximum(numbers, 2)) ** 2, numbers)  # noqa: PLR2004  # AutoInt's


def _labels(column: pa.Array) -> NDArray[np.uint8]:
    """Read labels.

    Raises:
        DataError: one is neither 0 nor 1.
    """
    labels: NDArray[np.int8] = pc.fill_null(column, -1).to_numpy()
    wrong = labels[(labels != 0) & (labels != 1)]
    if len(wrong):
        raise DataError(f"label: got {wrong[0] if wrong[0] >= 0 else 'none'}, expected 0 or 1")
    return labels.astype(np.uint8)


def _ids(column: pa.Array, kept: Hashes, start: int) -> NDArray[np.int64]:
    """Return the row of each value in the table: 0 where missing, ``start`` where rare, from ``start + 1`` on where kept."""
    coded = column.dictionary_encode()
    hashes = _hashes(coded.dictionary)
    found = np.searchsorted(kept, hashes, "right")  # 1 + the index of a hash that is kept
    rows = np.append(start + np.where(np.insert(kept, 0, 0)[found] == hashes, found, 0), 0)  # the last is for codes of -1
    codes: NDArray[np.int32] = pc.fill_null(coded.indices, -1).to_numpy()
    return rows[codes]


def _hashes(values: pa.Array) -> Hashes:
    return np.fromiter((xxh3_64_intdigest(value) for value in values.to_pylist()), np.uint64, len(values))
