"""Makes runs one after the other, and shows how far it is; each is on the disk before the next begins."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from paper.results import Lines, O, R

Tell = Callable[[str], None]


class Done(NamedTuple):
    """How far it is: the runs that the page is made of, those that are known, and the page."""

    runs: int
    known: int
    page: str


def carry_out(runs: Sequence[R], work: Callable[[R], float], results: Lines[R, O], make: Callable[[R, Tell], O]) -> None:
    """Make every run.

    Args:
        runs: in their order.
        work: what a run costs, beside the others.
        results: where its outcome is written down.
        make: makes a run; with what it is given besides, it may tell how far that is.
    """
    shares = [work(run) for run in runs]
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=3600) as progress:
        task = progress.add_task("", total=sum(shares))
        for number, (run, share) in enumerate(zip(runs, shares, strict=True), 1):

            def tell(how_far: str, what: str = f"{number} of {len(runs)}: {run}") -> None:
                progress.update(task, description=what + how_far)

            tell("")
            results.add(run, make(run, tell))
            progress.advance(task, share)
