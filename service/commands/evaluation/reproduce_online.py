"""``sml reproduce --online``: read the samples as ``sml init`` and ``sml evaluate`` do, and reproduce the study in a stream."""

import tomllib
from collections.abc import Mapping
from pathlib import Path

from model.settings import Field
from paper.online.passes import Outcome, Pass
from paper.online.stream import SAMPLES, Stream, encode
from paper.online.study import OnlineStudy
from paper.reproduce import Done, reproduce
from paper.runs import Results
from service.commands.evaluation.evaluate import batches
from service.commands.init import read_sample
from service.onboarding.settings_file import settings_text
from service.screen import counting
from service.settings import Settings
from stream.files.rows import read
from stream.settings import DataSettings

_BATCH = 4096  # rows encoded together


def reproduce_online(files: Mapping[str, Path], seeds: int, pages: Path, most: int | None, jobs: int) -> Done:
    """Make the tables and figures of the stream.

    Args:
        files: by the name of their sample.
        seeds: how many of everything.
        pages: the folder of the results and the page.
        most: make at most so many passes; None makes all.
        jobs: make so many at a time.

    Raises:
        FileError: a file can't be read.
    """
    streams = {name: _stream(name, path) for name, path in files.items()}
    results: Results[Pass, Outcome] = Results(pages / "online.jsonl", Outcome)
    return reproduce(OnlineStudy(results=results, seeds=seeds, depth_seeds=seeds, streams=streams), pages, most, jobs)


def _stream(name: str, path: Path) -> Stream:
    data = SAMPLES[name].data
    return encode(name, _fields(path, data), counting(batches(read(path, data), _BATCH), f"{name}: encoding"))


def _fields(path: Path, data: DataSettings) -> tuple[Field, ...]:
    """Return the fields that ``sml init`` finds."""
    sample = read_sample(path, data, f"{path.name}: reading")
    return Settings(**tomllib.loads(settings_text(path.name, data, sample, every=False))).field
