"""The paper's claims in a stream: makes the passes that are not known yet, and writes the page."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from model.layout import Layout
from paper.offline import Done
from paper.online_pages import write
from paper.online_pass import Outcome, Pass, Passes, carry_out
from paper.online_plan import Plan
from paper.online_stream import Stream

log = logging.getLogger(__name__)

Learn = Callable[[Pass, Stream], Outcome]


def reproduce_online(streams: Sequence[Stream], seeds: int, folder: Path, most: int | None = None, learn: Learn = carry_out) -> Done:
    """Choose settings on the beginnings, make the passes that are not known yet, and write the page; also when interrupted.

    Args:
        streams: the samples.
        seeds: how many of everything.
        folder: of the results and the page.
        most: make so many passes at most, aside from those that settings are chosen by; None is all.
        learn: makes a pass.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results = Passes(folder / "online.jsonl")
    by_name = {stream.name: stream for stream in streams}
    plan = Plan(by_name, {name: stream.digest for name, stream in by_name.items()}, results, seeds)
    _carry_out([run for run in plan.choosing() if run not in results], by_name, results, learn)
    runs = plan.passes()
    try:
        _carry_out([run for run in runs if run not in results][:most], by_name, results, learn)
    finally:
        write(plan, folder)
    return Done(len(runs), sum(run in results for run in runs), str(folder / "online.md"))


def _carry_out(runs: Sequence[Pass], streams: Mapping[str, Stream], results: Passes, learn: Learn) -> None:
    """Make passes one after the other; each is on the disk before the next begins."""
    log.info("%d passes to do", len(runs))
    work = [Layout(run.spec(streams[run.data].fields)).size * len(streams[run.data].labels) for run in runs]
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=3600) as progress:
        task = progress.add_task("", total=sum(work))
        for number, (run, share) in enumerate(zip(runs, work, strict=True), 1):
            what = f"{run.data} {run.network} {run.skip} {run.skip_input}, {len(run.hidden)} layers, seed {run.seed}"
            progress.update(task, description=f"{number} of {len(runs)}: {what}")
            results.add(run, learn(run, streams[run.data]))
            progress.advance(task, share)
