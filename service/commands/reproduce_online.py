"""``sml reproduce --online``: reads the samples as ``sml init`` and ``sml evaluate`` do, and hands them on as streams."""

import tomllib
from collections.abc import Mapping
from pathlib import Path

from model.settings import Field
from paper.offline.progress import Done
from paper.online.reproduce import reproduce_online
from paper.online.stream import SAMPLES, Stream, encode
from service.commands.evaluate import BATCH, batches
from service.onboarding.sample import Sample, chunks
from service.onboarding.settings_file import settings_text
from service.progress import counting
from service.settings import Settings
from stream.files import read
from stream.settings import DataSettings


def run(files: Mapping[str, Path], seeds: int, pages: Path, most: int | None, jobs: int) -> Done:
    """Make the tables and figures of the stream; ``files`` are by the name of their sample.

    Raises:
        FileError: one can't be read.
    """
    return reproduce_online([_stream(name, path) for name, path in files.items()], seeds, pages, most, jobs)


def _stream(name: str, path: Path) -> Stream:
    data = SAMPLES[name].data
    return encode(name, _fields(path, data), counting(batches(read(path, data), BATCH), f"{name}: encoding"))


def _fields(path: Path, data: DataSettings) -> tuple[Field, ...]:
    """Find the fields, as ``sml init`` does."""
    sample = Sample()
    for chunk in counting(chunks(path, data), f"{path.name}: reading"):
        sample.add(chunk)
    return Settings(**tomllib.loads(settings_text(path, data, sample, every=False))).field
