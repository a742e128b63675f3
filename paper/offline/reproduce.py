"""The paper's tables and figures, offline: makes the runs that are not known yet, and writes the page."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from model.layout import Layout
from paper.offline.kaggle import fields
from paper.offline.pages import write
from paper.offline.plan import Plan, Source
from paper.offline.progress import Done, carry_out
from paper.offline.results import Results
from paper.offline.run import Outcome, Run
from paper.offline.tables import Known
from paper.offline.train import train

logger = logging.getLogger(__name__)


def reproduce(plan: Plan, folder: Path, most: int | None = None, jobs: int = 1) -> Done:
    """Make the runs that are not known yet, and write the page; it is also written when a run fails or is interrupted.

    Args:
        plan: what is to be run.
        folder: of the results and the page.
        most: make so many runs at most; None is all.
        jobs: make so many at a time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results = Results(folder / "results.jsonl")
    runs = plan.runs()
    try:
        _carry_out(plan, results, [run for run in runs if run not in results][:most], jobs)
    finally:
        write(Known(plan, results), folder)
    return Done(len(runs), sum(run in results for run in runs), str(folder / "offline.md"))


def _carry_out(plan: Plan, results: Results, runs: Sequence[Run], jobs: int) -> None:
    """Say what is to do, and do it."""
    sources = {source.data: source for source in plan.sources}
    work = {run: _work(run, sources[run.data].rows) for run in plan.runs()}
    _tell(work, results, runs)

    carry_out(runs, work.__getitem__, results, partial(_train, sources), jobs)


def _train(sources: Mapping[str, Source], run: Run) -> Outcome:
    return train(run, sources[run.data].folder)


def _tell(work: Mapping[Run, float], results: Results, runs: Sequence[Run]) -> None:
    """Say how much there is to do, and how long it will take at the pace of what is known."""
    known = [run for run in work if run in results]
    if not known:
        logger.info("%d runs to do", len(runs))
        return
    pace = sum(results[run].seconds for run in known) / sum(work[run] for run in known)
    hours = pace * sum(work[run] for run in runs) / 3600
    logger.info("%d runs to do, %d are known: about %.1f hours at their pace", len(runs), len(known), hours)


def _work(run: Run, rows: int) -> float:
    """What a run costs, in weights × rows; how many epochs it will need is not known before."""
    return float(Layout(run.spec(fields(run.data))).size * rows)
