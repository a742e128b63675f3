"""A recorded file as blocks of neighbouring rows, each taken row by row, or in columns by arrow where that gives the same values.

Whether it does is decided block by block, before arrow's result is used: what arrow can't read, or may read otherwise (a stray quote, a
lone carriage return, a number too large for it, a record on two lines), is taken row by row. Memory is bounded by the block.
"""

from collections.abc import Iterator
from pathlib import Path

from stream.files.block import Block
from stream.files.json_lines import json_blocks
from stream.files.opened import PACKED, STANDARD_INPUT, FileError, opened, path_of
from stream.files.parquet import parquet_blocks
from stream.files.separated import Separated
from stream.files.sparse import libffm, libsvm, sparse_blocks, vowpal_wabbit
from stream.settings import DataSettings

CRITEO_COLUMNS = ["click", *(f"I{number}" for number in range(1, 14)), *(f"C{number}" for number in range(1, 27))]
_SUFFIXES = {
    ".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".parquet": "parquet", ".pq": "parquet",
    ".libsvm": "libsvm", ".svm": "libsvm", ".libffm": "libffm", ".ffm": "libffm", ".vw": "vw",
}  # fmt: skip
_SPARSE = {"libsvm": libsvm, "libffm": libffm, "vw": vowpal_wabbit}


def blocks(path: Path, file_format: str, data: DataSettings) -> Iterator[Block]:
    """Yield the rows of a file, block by block.

    Raises:
        FileError: the file is not of the format.
        OSError: it can't be read.
        ValueError: it is damaged; reading a block raises it, too.
        EOFError: as ValueError.
        csv.Error: as ValueError.
    """
    path = path_of(path)
    if file_format == "parquet":
        yield from parquet_blocks(path)
    elif file_format == "jsonl":
        yield from json_blocks(path, data.encoding)
    else:
        with opened(path, data.encoding) as stream:
            if file_format in _SPARSE:
                yield from sparse_blocks(stream, _SPARSE[file_format], data.label)
            elif file_format == "criteo":
                yield from Separated(stream, "\t", CRITEO_COLUMNS).blocks()
            else:
                yield from Separated(stream, "\t" if file_format == "tsv" else None, data.names).blocks()


def format_of(path: Path) -> str:
    """Return the format that the file's name tells, and that standard input shows.

    >>> format_of(Path("log.csv.gz"))
    'csv'

    Raises:
        FileError: the name does not tell it.
    """
    if path == STANDARD_INPUT:
        return _format_shown(path)
    name = path.name.lower()
    for suffix in PACKED:
        name = name.removesuffix(suffix)
    suffix = Path(name).suffix
    if suffix not in _SUFFIXES:
        known = ", ".join(_SUFFIXES)
        raise FileError(f"{path}: got the name {path.name!r}, expected one that ends in {known} (and {', '.join(PACKED)}), or a format")
    return _SUFFIXES[suffix]


def _format_shown(path: Path) -> str:
    with opened(path_of(path)) as stream:
        head = stream.read(8_192)
    return "parquet" if head.startswith(b"PAR1") else "jsonl" if head.lstrip()[:1] in (b"{", b"[") else "csv"
