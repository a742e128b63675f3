"""Makes runs, some at a time, and shows how far it is; each is on the disk as soon as it has ended."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import NamedTuple

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from paper.offline.results import Lines, O, R


class Done(NamedTuple):
    """How far it is: the runs that the page is made of, those that are known, and the page."""

    runs: int
    known: int
    page: str


def carry_out(runs: Sequence[R], work: Callable[[R], float], results: Lines[R, O], make: Callable[[R], O], jobs: int) -> None:
    """Make every run.

    Args:
        runs: in their order.
        work: what a run costs, beside the others.
        results: where its outcome is written down.
        make: makes a run; where several are made at a time, it can be pickled.
        jobs: how many are made at a time: more than one in processes of their own, of one thread each.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=3600) as progress:
        task = progress.add_task("", total=sum(map(work, runs)))
        for number, (run, outcome) in enumerate(_made(runs, make, jobs), 1):
            results.add(run, outcome)
            progress.update(task, advance=work(run), description=f"{number} of {len(runs)}: {run}")


def _made(runs: Sequence[R], make: Callable[[R], O], jobs: int) -> Iterator[tuple[R, O]]:
    """Make every run, and give each with its outcome as it ends."""
    if jobs == 1:
        yield from ((run, make(run)) for run in runs)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        making = {pool.submit(make, run): run for run in runs}
        try:
            for made in as_completed(making):
                yield making[made], made.result()
        finally:
            pool.shutdown(cancel_futures=True)
