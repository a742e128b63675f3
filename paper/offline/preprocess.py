"""AutoInt's preprocessing: a file becomes arrays on disk, in two passes and in constant memory.

Song et al., arXiv 1810.11921, section 5.1, and its code: a category that occurs less often than ``least`` times is one with all
such of its field; a number is ``ln²(z)`` above 2, and 0 where missing. A missing category has the row 0, whose vector is zero.

The first pass counts, the second encodes. What is counted is the 64-bit hash of a value, and goes to disk block by block, to be
added up one part of the hashes at a time; only the values that are kept stay in memory, 8 bytes each.
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
from xxhash import xxh3_64_hexdigest, xxh3_64_intdigest, xxh3_128

from paper.offline.kaggle import BLOCK, FORMATS, DataError, Format, blocks

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
        watch: passes blocks on and shows how far it is.
        block: bytes of text that are read at once; the result does not depend on it.

    Returns:
        the folder of ``labels``, uint8 ``(N,)``, ``values``, float32 ``(N, K)``, ``ids``, int32 ``(N, C)``, and ``meta.json``.

    Raises:
        DataError: it is not of that format.
    """
    about = path.stat()
    source = f"{path.resolve()} {about.st_size} {about.st_mtime_ns} {least}"
    folder = cache / f"{name}-{xxh3_64_intdigest(source.encode()):016x}"
    if folder.exists():
        return folder
    partial = folder.with_suffix(".partial")  # it gets its name once it is whole
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    kept = _count(watch(blocks(path, name, block), f"{name}: counting"), name, least, partial)
    meta = _write(watch(blocks(path, name, block), f"{name}: encoding"), name, kept, partial)
    (partial / "meta.json").write_text(json.dumps({"name": name, "least": least} | meta), encoding="utf-8")
    return partial.rename(folder)


def _count(batches: Iterable[pa.RecordBatch], name: str, least: int, folder: Path) -> list[Hashes]:
    """Find the values of each categorical field that occur at least ``least`` times: their hashes, in order."""
    fields = FORMATS[name].categorical
    paths = [folder / f"{field}.counts" for field in fields]
    for path in paths:
        path.touch()
    for batch in batches:
        for field, path in zip(fields, paths, strict=True):
            hashes, places = _hashed(batch.column(field))
            pairs = np.empty(len(hashes), _PAIR)
            pairs["hash"] = hashes
            pairs["count"] = np.bincount(places[places >= 0], minlength=len(hashes))
            with path.open("ab") as file:
                pairs.tofile(file)
    kept = [_frequent(path, least) for path in paths]
    for path in paths:
        path.unlink()
    return kept


def _frequent(path: Path, least: int) -> Hashes:
    """Add up the counts of a file of pairs, a part of the hashes at a time."""
    size = path.stat().st_size // _PAIR.itemsize
    parts = np.uint64(1 + size // _PART)
    kept = [np.empty(0, np.uint64)]
    for part in range(int(parts)):
        chunks = (np.fromfile(path, _PAIR, _PART, offset=start * _PAIR.itemsize) for start in range(0, size, _PART))
        pairs = np.concatenate([np.empty(0, _PAIR), *(chunk[chunk["hash"] % parts == part] for chunk in chunks)])
        hashes, places = np.unique(pairs["hash"], return_inverse=True)
        kept.append(hashes[np.bincount(places, pairs["count"], minlength=len(hashes)) >= least])
    return np.sort(np.concatenate(kept))


def _write(batches: Iterable[pa.RecordBatch], name: str, kept: Sequence[Hashes], folder: Path) -> dict[str, Any]:
    """Write the arrays block by block; say how many rows they have, and a digest of their contents."""
    starts = np.cumsum([1, *(1 + len(values) for values in kept)]).tolist()  # of each field: what is rare, then what is kept
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
    """Encode a block; each field's rows of the table begin at its ``starts``."""
    numbers = [scaled(batch.column(field)) for field in form.numeric]
    ids = [_ids(batch.column(field), values, start) for field, values, start in zip(form.categorical, kept, starts, strict=True)]
    return {
        "labels": _labels(batch.column(form.label)),
        "values": _columns(numbers, batch.num_rows, np.float32),
        "ids": _columns(ids, batch.num_rows, np.int32),
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
    """The row of each value in the table: 0 where missing, ``start`` where rare, after it those that are kept."""
    hashes, places = _hashed(column)
    found = np.searchsorted(kept, hashes)
    known = np.append(kept, np.uint64(0))[found] == hashes
    known &= found < len(kept)
    rows = np.append(start + np.where(known, 1 + found, 0), 0)  # the last is for places of -1
    return rows[places]


def _hashed(column: pa.Array) -> tuple[Hashes, NDArray[np.int64]]:
    """The hash of each different value of a block, and which of them each row has; -1 where missing."""
    coded = column.dictionary_encode()
    hashes = np.fromiter((xxh3_64_intdigest(value) for value in coded.dictionary.to_pylist()), np.uint64, len(coded.dictionary))
    return hashes, pc.fill_null(coded.indices, -1).to_numpy().astype(np.int64)


def _columns(columns: Sequence[NDArray[Any]], rows: int, dtype: type[np.generic]) -> NDArray[Any]:
    """Columns side by side, ``(N, K)``, where K may be 0."""
    return np.stack(columns, 1).astype(dtype) if columns else np.empty((rows, 0), dtype)
