"""Reproduce a study: make the runs that are not known yet, and write its page with a JSON file and a picture of its tables and figures."""

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from paper.report import write_page
from paper.runs import O, R
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
        jobs: make so many at a time; more than one are made in processes of their own, of one thread each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if preparation := study.preparation():
        _make_missing(study, preparation, None, jobs)
    runs = study.runs()
    try:
        _make_missing(study, runs, most, jobs)
    finally:
        page = write_page(folder / f"{study.name}.md", study.contents())
    return Done(len(runs), sum(run in study.results for run in runs), str(page))


def _make_missing(study: Study[R, O], runs: Sequence[R], most: int | None, jobs: int) -> None:
    """Make the runs that are not known, show the progress on stderr, and keep each outcome as soon as it is known."""
    known = [run for run in runs if run in study.results]
    missing = [run for run in runs if run not in study.results][:most]
    work = sum(map(study.work, missing))
    if known and missing:
        pace = sum(study.results[run].seconds for run in known) / sum(map(study.work, known))
        logger.info("%d runs to do, %d are known: about %.1f hours at their pace", len(missing), len(known), pace * work / 3600)
    else:
        logger.info("%d runs to do, %d are known", len(missing), len(known))
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=3600) as progress:
        task = progress.add_task("", total=work)
        for number, (run, outcome) in enumerate(_made(study, missing, jobs), 1):
            study.results.add(run, outcome)
            progress.update(task, advance=study.work(run), description=f"{number} of {len(missing)}: {run}")


def _made(study: Study[R, O], runs: Sequence[R], jobs: int) -> Iterator[tuple[R, O]]:
    """Make every run, and yield it with its outcome when it ends."""
    if jobs == 1:
        yield from ((run, study.task(run)()) for run in runs)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        pending = {pool.submit(study.task(run)): run for run in runs}
        try:
            for future in as_completed(pending):
                yield pending[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)
