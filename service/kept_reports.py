"""The newest report of each experiment, kept as a file beside its sums, for whoever asks later: ``GET /v1/experiments``."""

import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from experiments.report import Report
from stream.records.events import UNREADABLE
from stream.whole_file import written

MOST = 50  # reports, the newest
_MOST_BYTES = 262_144  # of one: ten arms take 20 kB


class KeptReport(Struct, frozen=True):
    """What an experiment has shown when it was last looked at."""

    reported_at: int  # epoch ms
    report: Report


def keep(folder: Path, report: Report, now: int) -> None:
    """Keep a report in place of the last one of its experiment; whoever reads meanwhile sees one or the other."""
    with written(folder / f"{report.experiment}.json") as file:
        file.write(msgspec.json.encode(KeptReport(now, report)))


def kept(folder: Path) -> list[KeptReport]:
    """Return the reports that are kept, the newest first. A file that is none is left out."""
    return sorted(_read(folder), key=lambda each: each.reported_at, reverse=True)


def _read(folder: Path) -> Iterator[KeptReport]:
    newest = sorted(folder.glob("*.json"), key=_modified, reverse=True)[:MOST]
    for path in newest:
        with suppress(OSError, *UNREADABLE), path.open("rb") as file:
            yield msgspec.json.decode(file.read(_MOST_BYTES), type=KeptReport)


def _modified(path: Path) -> float:
    """Return when a file was written; one that is gone, or leads nowhere, is the oldest."""
    with suppress(OSError):
        return path.stat().st_mtime
    return -math.inf
