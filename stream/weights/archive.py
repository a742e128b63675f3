"""The archive: copies of checkpoints on object storage, for a learner that has lost its own and for servers that find no snapshot.

The record of a version names the newest copies, by their digests. So nobody reads an object before it is whole, nobody asks for a
listing, which may be out of date, and what anybody else has put there is refused.
"""

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Sequence
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any, Self

import msgspec

from model.array_file import ArrayFileError, load
from stream.log.topics import Topics
from stream.records.version import Archived, Version
from stream.settings import ArchiveSettings
from stream.weights.chunks import BrokenWeightsError, Packed, WeightsHeader
from stream.whole_file import written

logger = logging.getLogger(__name__)

MODEL = "model/"  # the names of a model's arrays in a checkpoint begin so
_BLOCK = 8 << 20  # bytes that are sent at once
_WAITS = (0.2, 0.4, 0.8)  # seconds before an object is asked for again: it may be on its way, or the storage busy
_PATIENCE = 20.0  # seconds after which nothing more is asked for: storage that does not answer holds Arrow up for 100, each time


class ArchiveError(OSError):
    """An object could not be written, or can't be read as it was written."""


class Archive:
    """The folder of objects that ``[archive] url`` names; each arm of each model has one of its own in it.

    Args:
        url: Of the folder: ``s3://``, ``gs://``, ``abfs://`` or ``file://``. Credentials come from where the storage's own tools take them.
        every: Seconds from one copy to the next.
    """

    def __init__(self, url: str, every: float) -> None:
        self.every = every
        self._url = url
        self._opened: tuple[Any, str] | None = None

    @classmethod
    def of(cls, settings: ArchiveSettings) -> Self | None:
        """Return the archive of these settings, None if there is none."""
        return cls(settings.url, settings.every) if settings.url else None

    def write(self, topics: Topics, version: int, file: BufferedReader | BytesIO) -> Archived:
        """Write a copy of a checkpoint, and return what is to be known of it.

        Raises:
            ArchiveError: it could not be written.
        """
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        archived = Archived(version, file.seek(0, os.SEEK_END), digest)
        file.seek(0)
        try:
            filesystem, path = self._located(topics, archived)
            if filesystem.type_name == "local":
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                opened = written(Path(path))
            else:
                opened = filesystem.open_output_stream(path)  # if it ends early, the object is cut: nobody knows its name then
            with opened as copy:
                shutil.copyfileobj(file, copy, _BLOCK)
        except (OSError, ValueError) as error:  # ValueError: the URL, as Arrow reads it
            raise ArchiveError(f"{self.name(topics, archived)} could not be written: {error}") from error
        return archived

    def read(self, topics: Topics, archived: Archived) -> bytes:
        """Return the bytes of a copy, as they were written.

        Raises:
            ArchiveError: there is no such object, it can't be read, or it holds something else.
        """
        begun = time.monotonic()
        for wait in _WAITS:
            try:
                return self._read(topics, archived)
            except ArchiveError:
                if time.monotonic() > begun + _PATIENCE:
                    raise
            time.sleep(wait)
        return self._read(topics, archived)

    def weights(self, topics: Topics, copies: Sequence[Archived]) -> Packed:
        """Return the weights of the last of the ``copies`` that can be read, as a snapshot has them.

        Raises:
            BrokenWeightsError: there is none; it says why.
        """
        begun, problems = time.monotonic(), list[str]()
        for archived in reversed(copies):
            try:
                data = self.read(topics, archived)
            except ArchiveError as error:
                problems.append(str(error))
                if time.monotonic() > begun + _PATIENCE:
                    break
                continue
            if problems:
                logger.warning("passing over what is newer in the archive: %s", "; ".join(problems))
            return _weights_of(data)
        why = f": {'; '.join(problems)}" if problems else ""
        raise BrokenWeightsError(f"{topics.versions} names no version in the archive that can be read{why}")

    def name(self, topics: Topics, archived: Archived) -> str:
        """Return the name of a copy below the URL. No two contents have one name, whatever became of a version of that number."""
        return f"{topics.versions}/version-{archived.version:012}-{archived.sha256[:16]}.checkpoint"

    def _read(self, topics: Topics, archived: Archived) -> bytes:
        name = self.name(topics, archived)
        try:
            filesystem, path = self._located(topics, archived)
            with filesystem.open_input_file(path) as file:
                if (size := file.size()) != archived.size:  # before memory is taken for it
                    raise ArchiveError(f"{name}: got {size} bytes, expected {archived.size}")
                data: bytes = file.read()
        except (OSError, ValueError) as error:
            raise error if isinstance(error, ArchiveError) else ArchiveError(f"{name} can't be read: {error}") from error
        if (digest := hashlib.sha256(data).hexdigest()) != archived.sha256:
            raise ArchiveError(f"{name}: got the SHA-256 {digest}, expected {archived.sha256}")
        return data

    def _located(self, topics: Topics, archived: Archived) -> tuple[Any, str]:
        """Return the file system and the path in it; it is opened once it is needed, for that may ask the network."""
        if self._opened is None:
            from pyarrow.fs import FileSystem  # noqa: PLC0415 - 0.2 s, for those who have an archive

            self._opened = FileSystem.from_uri(self._url)
        filesystem, folder = self._opened
        return filesystem, f"{folder.rstrip('/')}/{self.name(topics, archived)}"


def _weights_of(checkpoint: bytes) -> Packed:
    """Return what servers need of a checkpoint.

    Raises:
        BrokenWeightsError: it holds no weights, though it is what was archived.
    """
    try:
        arrays, entries = load(checkpoint)
        version = msgspec.convert(entries["version"], Version, strict=False)  # JSON's keys are strings
    except (ArrayFileError, KeyError, msgspec.ValidationError) as error:
        raise BrokenWeightsError(f"an archived checkpoint holds no weights: {error}") from error
    header = WeightsHeader(version.version, None, version.digest, version.examples, version.trained_through, version.published_at)
    return Packed(header, {name.removeprefix(MODEL): array for name, array in arrays.items() if name.startswith(MODEL)}, entries)
