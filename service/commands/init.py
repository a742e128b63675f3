"""``sml init``: write ``sml.toml`` from a sample of the data."""

import difflib
from pathlib import Path

from service.onboarding.sample import Sample, chunks
from service.onboarding.settings_file import settings_text
from service.screen import counting
from stream.files import columns
from stream.settings import DataSettings


class NoSuchColumnError(Exception):
    """A file does not have the column that an option names."""

    def __init__(self, option: str, name: str, existing: list[str]) -> None:
        """Name the nearest column that exists."""
        nearest = difflib.get_close_matches(name, existing, n=1, cutoff=0)
        super().__init__(f"got {name!r}, expected a column, nearest is {nearest[0]!r} (all: {', '.join(existing)})")
        self.option = option


def init(file: Path, data: DataSettings, output: Path, *, every: bool) -> str:
    """Write the settings for the recorded log at ``file``, and return what was written; ``output`` that exists is kept as ``*.old``.

    Raises:
        FileError: the file can't be read.
        NoSuchColumnError: it does not have a column that ``data`` names.
    """
    _check_columns(file, data)
    sample = read_sample(file, data, "reading")
    text = settings_text(file, data, sample, every=every)
    if output.exists():
        output.replace(output.with_name(output.name + ".old"))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text, encoding="utf-8")
    return f"{output}: {text.count('[[field]]')} fields from {sample.rows:,} rows"


def read_sample(path: Path, data: DataSettings, what: str) -> Sample:
    """Read a sample of a recorded log, with progress on stderr, described as ``what``.

    Raises:
        FileError: the file can't be read.
    """
    sample = Sample()
    for chunk in counting(chunks(path, data), what):
        sample.add(chunk)
    return sample


def _check_columns(file: Path, data: DataSettings) -> None:
    existing = columns(file, data)
    for option, name in (("--label", data.label), ("--time", data.time), ("--click-time", data.click_time)):
        if name is not None and name not in existing:
            raise NoSuchColumnError(option, name, existing)
