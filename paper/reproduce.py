"""Reproduce a study: make the runs that are not known yet, and write its page with a JSON file and a picture of its tables and figures."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from paper.pictures import draw_figure, draw_table
from paper.report import Figure, Table, markdown, write_json
from paper.runs import O, R, make_runs
from paper.study import Study

logger = logging.getLogger(__name__)


class Done(NamedTuple):
    """How far a study is: the runs behind its page, how many of them are known, and the page."""

    runs: int
    known: int
    page: str


def reproduce(study: Study[R, O], folder: Path, most: int | None = None, jobs: int = 1) -> Done:
    """Make the runs that are not known yet, and write the page, also when a run fails or is interrupted.

    Args:
        study: what to run and to show.
        folder: of the page.
        most: make so many runs at most, besides the study's preparation; None makes all.
        jobs: make so many at a time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if preparation := study.preparation():
        _make_missing(study, preparation, None, jobs)
    runs = study.runs()
    try:
        _make_missing(study, runs, most, jobs)
    finally:
        page = _write_page(study, folder)
    return Done(len(runs), sum(run in study.results for run in runs), str(page))


def _make_missing(study: Study[R, O], runs: Sequence[R], most: int | None, jobs: int) -> None:
    known = [run for run in runs if run in study.results]
    missing = [run for run in runs if run not in study.results][:most]
    if known and missing:
        pace = sum(study.results[run].seconds for run in known) / sum(map(study.work, known))
        hours = pace * sum(map(study.work, missing)) / 3600
        logger.info("%d runs to do, %d are known: about %.1f hours at their pace", len(missing), len(known), hours)
    else:
        logger.info("%d runs to do, %d are known", len(missing), len(known))
    make_runs(missing, study.work, study.results, study.maker(), jobs)


def _write_page(study: Study[R, O], folder: Path) -> Path:
    page = folder / f"{study.name}.md"
    parts = [_write_part(part, folder).strip() for part in study.contents()]
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return page


def _write_part(part: str | Table | Figure, folder: Path) -> str:
    """Write the files of a part of the page, and return its Markdown."""
    if isinstance(part, str):
        return part
    if isinstance(part, Table):
        return _write_table(part, folder)
    if part.as_numbers:
        write_json(part, folder)
    draw_figure(part, folder / f"{part.name}.png")
    return f"## {part.title}\n\n{part.caption}\n\n![{part.title}]({part.name}.png)"


def _write_table(table: Table, folder: Path) -> str:
    write_json(table, folder)
    text = f"## {table.title}\n\n{markdown(table)}"
    if table.drawn is None:
        return text
    draw_table(table, table.drawn, folder / f"{table.name}.png")
    return f"{text}\n\n![{table.drawn}]({table.name}.png)"
