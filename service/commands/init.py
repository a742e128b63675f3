"""``sml init``: write ``sml.toml`` from a sample of the data: of a recorded log, or of a site's own topics."""

import difflib
import tomllib
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from service.commands.compile import compile_kernels
from service.onboarding.event_shape import infer
from service.onboarding.pairs import find_pairs
from service.onboarding.sample import Sample, chunks, is_number
from service.onboarding.settings_file import settings_text, settings_text_of_topics, with_pairs
from service.onboarding.topic_sample import Address, TopicError, TopicSample, shown
from service.screen import counting, say_notes
from service.settings import Settings
from stream.files.block import Row
from stream.files.layout import is_empty
from stream.files.left_out import LeftOut
from stream.files.opened import FileError, Recorded, name_of
from stream.files.rows import first_rows
from stream.log.connect import open_log
from stream.settings import DataSettings
from stream.whole_file import written

_DATES = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}  # by their digits
_SORTED = 0.05  # of the runs of equal labels that chance makes
_ENOUGH_TIMES = 100  # of the first rows: one alone must not say what all are


class NoSuchColumnError(Exception):
    """A file does not have the column that an option names."""

    def __init__(self, option: str, name: str, existing: list[str]) -> None:
        """Name the nearest column that exists."""
        folded = {each.strip().casefold(): each for each in existing}
        nearest = [folded[each] for each in difflib.get_close_matches(name.strip().casefold(), folded, n=1, cutoff=0)]
        hint = "; the first line is no header, it seems: --names says what the columns are" if any(map(is_number, existing)) else ""
        default = ", the default" if (option, name) == ("--label", DataSettings().label) else ""
        super().__init__(
            f"got {name!r}{default}, expected a column, nearest is {nearest[0]!r} (all: {', '.join(map(repr, existing))}){hint}"
        )
        self.option = option


def init(recorded: Recorded, data: DataSettings, output: Path, *, every: bool) -> str:
    """Write the settings for a recorded log, and return what was written; ``output`` that exists is kept as ``*.old``.

    Raises:
        FileError: it can't be read, or has no column that can be a field.
        NoSuchColumnError: it does not have a column that ``data`` names.
    """
    rows = first_rows(recorded, data, _ENOUGH_TIMES)
    _check_columns(list(rows[0]), data)
    data = _with_time_format(rows, data)
    left_out = LeftOut(data.max_bad)
    sample = read_sample(recorded, data, "reading", left_out)
    say_notes([*left_out.notes(), *_note_of_labels(sample, data)])
    text = settings_text(name_of(recorded), data, sample, every=every)
    _check_fields(text, name_of(recorded))
    settings = Settings(**tomllib.loads(text))
    compile_kernels(settings.model.network)
    return f"{_written(with_pairs(text, find_pairs(recorded, settings)), output)} from {sample.rows:,} rows"


def init_from_topics(addresses: Sequence[Address], output: Path, *, every: bool) -> str:
    """Write the settings for a site's own topics: of views, then of clicks if they have another; return what was written.

    How the log is reached is in the environment, ``SML_LOG__SECURITY__…``.

    Raises:
        TopicError: they tell nothing, or are of two logs.
        LogError: they can't be read.
    """
    if len(addresses) > 2 or len({each.url for each in addresses}) > 1:  # noqa: PLR2004 - views and clicks
        raise TopicError(f"got {', '.join(map(str, addresses))}, expected a topic of views, and one of clicks, of one log")
    log_settings = Settings().log.model_copy(update={"url": addresses[0].url})
    with open_log(log_settings) as log:
        views, *clicks = [TopicSample.read(log, each.topic) for each in addresses]
    shape = infer(views, clicks[0] if clicks else None)
    sample = shown(shape.inputs, views, clicks[0] if clicks else views)
    say_notes(shape.notes)
    text = settings_text_of_topics(" ".join(map(str, addresses)), log_settings, shape, sample, every=every)
    return f"{_written(text, output)} from {sample.rows:,} impressions"


def _written(text: str, output: Path) -> str:
    output.parent.mkdir(parents=True, exist_ok=True)
    with written(output) as file:
        file.write(text.encode())
        file.flush()
        if output.exists():
            with written(output.with_name(output.name + ".old")) as before:
                before.write(output.read_bytes())
    return f"{output}: {text.count('[[field]]')} fields"


def read_sample(recorded: Recorded, data: DataSettings, what: str, left_out: LeftOut | None = None) -> Sample:
    """Read a sample of a recorded log, with progress on stderr, described as ``what``.

    Raises:
        FileError: it can't be read.
    """
    sample = Sample()
    for chunk in counting(chunks(recorded, data, left_out), what):
        sample.add(chunk)
    return sample


def _check_columns(existing: list[str], data: DataSettings) -> None:
    named = [("--label", data.label), *(("--time", name) for name in data.time_columns)]
    for option, name in (*named, ("--click-time", data.click_time)):
        if name is not None and name not in existing:
            raise NoSuchColumnError(option, name, existing)


def _check_fields(text: str, name: str) -> None:
    """Raise an error unless the settings have a field; it says why no column is one."""
    if "field" not in tomllib.loads(text):
        reasons = [line.removeprefix("#   ") for line in text.splitlines() if line.startswith("#   ")]
        raise FileError("\n".join([f"{name}: got no column that can be a field, expected one at least", *reasons]))


def _with_time_format(rows: Sequence[Row], data: DataSettings) -> DataSettings:
    """Return settings that read times such as 20261101 or 2026110107, if all are such, as the dates that they are, not as epoch seconds."""
    if data.time_format or data.format == "avazu" or len(data.time_columns) != 1:
        return data
    [name] = data.time_columns
    times = [str(row.get(name)) for row in rows if not is_empty(row.get(name))]
    form = _DATES.get(len(times[0]), "") if times else ""
    if not times or not all(_is_date(time, form) for time in times):
        return data
    say_notes([f"{name!r} is a date such as {times[0]}, so it is read by --time-format '{form}'"])
    return data.model_copy(update={"time_format": form})


def _is_date(text: str, form: str) -> bool:
    try:
        datetime.strptime(text, form)  # noqa: DTZ007 - only whether it is one
    except ValueError:
        return False
    return text.isdecimal() and text.startswith("20")


def _note_of_labels(sample: Sample, data: DataSettings) -> Iterator[str]:
    """Say that there is nothing to learn yet: all labels are the same, or come sorted."""
    clicked = sample.labels.mean()
    runs = 1 + int(np.count_nonzero(np.diff(sample.labels)))
    if clicked in (0, 1):
        yield (
            f"{'no' if clicked == 0 else 'every'} row of the sample has a click by its {data.label!r}, expected some of both: "
            "--label names another column, --positive which labels are clicks"
        )
    elif runs < _SORTED * 2 * sample.rows * clicked * (1 - clicked):  # as many come by chance
        yield (
            f"the labels by {data.label!r} come in {runs:,} runs, as where a file is sorted by them or by what goes with them: "
            "rows are learned in their own order, so it should be that of time, or none"
        )
