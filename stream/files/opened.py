"""Open a recorded log: one file, several, a folder, a pattern, or standard input; packed or not, in any encoding."""

import bz2
import codecs
import glob
import io
import lzma
import os
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, TypeAlias
from urllib.parse import unquote

import pyarrow as pa

Recorded: TypeAlias = Path | Sequence[Path]  # files, folders of files, patterns of names, or - for standard input

STANDARD_INPUT = Path("-")
PACKED = (".gz", ".zst", ".bz2", ".xz", ".zip")
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2", b"\xfd7zXZ\0": "xz", b"PK\x03\x04": "zip"}
_BOMS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_PATTERN = re.compile(r"[*?\[]")
_MOST_OF_XZ = 128 << 20  # bytes of memory; xz -9 needs 65 MiB
_NULL = "__HIVE_DEFAULT_PARTITION__"


class FileError(Exception):
    """A recorded log can't be read."""


class File(NamedTuple):
    """One file of a recorded log."""

    path: Path
    parts: dict[str, str | None]  # what the names of its folders say of its rows: dt=2026-11-01


class Stream(Protocol):
    """Bytes, in order."""

    def read(self, size: int, /) -> bytes:
        """Return ``size`` bytes at most, none at the end."""
        ...


def files(recorded: Recorded) -> list[File]:
    """Return the files of a recorded log, those of a folder or a pattern in the order of their names.

    Raises:
        FileError: a folder or a pattern has none.
    """
    return [file for path in _paths(recorded) for file in _files(path)]


def name_of(recorded: Recorded) -> str:
    """Return what to call a recorded log."""
    paths = _paths(recorded)
    return paths[0].name if len(paths) == 1 else f"{paths[0].name} and {len(paths) - 1} more"


def _paths(recorded: Recorded) -> Sequence[Path]:
    return [recorded] if isinstance(recorded, Path) else recorded


def _files(path: Path) -> list[File]:
    if path.is_dir():
        base, found = path, [path]
    elif _PATTERN.search(str(path)) and not path.exists():
        base = Path(*takewhile(lambda part: not _PATTERN.search(part), path.parts))
        found = [Path(each) for each in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207 - of an absolute pattern, too
    else:
        if path != STANDARD_INPUT and not path.exists():
            raise FileError(f"{path}: got no such file or folder, expected a recorded log")
        return [File(path, {})]
    inner = [each for path in found for each in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    visible = [each for each in inner if each.is_file() and not any(part[0] in "._" for part in each.relative_to(base).parts)]
    if not visible:
        raise FileError(f"{path}: got no file, expected one at least")
    return [File(each, _parts(each.relative_to(base).parent)) for each in visible]


def _parts(folder: Path) -> dict[str, str | None]:
    """Return what the names of folders say, as Hive has it."""
    pairs = (part.partition("=") for part in folder.parts)
    return {unquote(name): None if value == _NULL else unquote(value) for name, equal, value in pairs if equal}


def path_of(file: Path) -> Path:
    """Return where a file's bytes are."""
    return Path(_standard_input().name) if file == STANDARD_INPUT else file


@cache
def _standard_input() -> Any:
    """Copy standard input, to its end, into a file that lives as long as this process: it may be read twice, or from its end."""
    copy = tempfile.NamedTemporaryFile()  # noqa: SIM115 - it is closed at exit
    shutil.copyfileobj(sys.stdin.buffer, copy)
    copy.flush()
    return copy


def packed(path: Path) -> str | None:
    """Return how a file is packed, by its first bytes: gzip, zstd, bz2, xz or zip; None: it is not."""
    with path.open("rb") as file:
        head = file.read(max(map(len, _MAGIC)))
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


@contextmanager
def opened(path: Path, encoding: str | None = None) -> Iterator[Stream]:
    """Open a file for reading, unpacked; text, in any ``encoding``, as UTF-8. A truncated file is an error, not an end.

    Raises:
        FileError: it is an archive of several files.
    """
    if encoding is None:
        with _unpacked(path) as stream:
            encoding = _BOMS.get(stream.read(2))
    with _unpacked(path) as stream:
        yield _Recoded(stream, encoding) if encoding else stream


@contextmanager
def seekable(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading from anywhere, unpacked into a temporary file if need be."""
    if not packed(path):
        with path.open("rb") as file:
            yield file
        return
    with _unpacked(path) as stream, tempfile.TemporaryFile() as file:
        shutil.copyfileobj(stream, file)
        yield file


def _unpacked(path: Path) -> Any:
    how = packed(path)
    if how == "bz2":
        return bz2.open(path)
    if how == "xz":
        return io.BufferedReader(_Xz(path))
    return _only_member(path) if how == "zip" else pa.input_stream(str(path), compression=how)


def _only_member(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        names = [each.filename for each in archive.infolist() if not each.is_dir() and not each.filename.startswith("__MACOSX/")]
        if len(names) != 1:
            raise FileError(f"{path}: got an archive of {len(names)} files, expected one")
        return archive.open(names[0])


class _Xz(io.RawIOBase):
    """An xz file, unpacked in bounded memory: its first bytes may claim a dictionary of 4 GiB."""

    def __init__(self, path: Path) -> None:
        self._file, self._decoder = path.open("rb"), _xz_decoder()

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fill the start of the buffer; return how many bytes of it, none at the end."""
        piece = b""
        while not piece:
            packed = self._next_packed()
            if packed is None:
                return 0
            piece = self._decoder.decompress(packed, len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def _next_packed(self) -> bytes | None:
        """Return what to unpack next; None: the file ends where a stream has ended."""
        if not self._decoder.eof:
            packed = self._file.read(io.DEFAULT_BUFFER_SIZE) if self._decoder.needs_input else b""
            if self._decoder.needs_input and not packed:
                raise EOFError("the end of the file within an xz stream")
            return packed
        packed = self._decoder.unused_data.lstrip(b"\0")  # one stream may follow another, after zeros
        while not packed:
            if not (more := self._file.read(io.DEFAULT_BUFFER_SIZE)):
                return None
            packed = more.lstrip(b"\0")
        self._decoder = _xz_decoder()
        return packed

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


def _xz_decoder() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MOST_OF_XZ)


class _Recoded:
    """A stream of text, as UTF-8."""

    def __init__(self, stream: Stream, encoding: str) -> None:
        self._stream, self._decoder = stream, codecs.getincrementaldecoder(encoding)()

    def read(self, size: int, /) -> bytes:
        while piece := self._stream.read(size):
            if text := self._decoder.decode(piece):
                return text.encode()
        return self._decoder.decode(b"", final=True).encode()


def reason(error: BaseException) -> str:
    """Return why a file could not be read, in words."""
    if isinstance(error, UnicodeDecodeError):
        wrong = error.object[error.start : error.end]
        return f"{wrong!r}, which is not {error.encoding} ([data] encoding, --encoding, names another, such as latin-1),"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)  # arrow's own text repeats the file's name
    if isinstance(error, MemoryError):
        return "more than there is memory for"
    return str(error)
