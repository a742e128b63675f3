"""The paper's claims in a stream: makes the passes that are not known yet, and writes the page."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from model.layout import Layout
from paper.offline.progress import Done, carry_out
from paper.online.pages import write
from paper.online.passes import Outcome, Pass, Passes, learn_once
from paper.online.plan import Plan
from paper.online.stream import Stream

logger = logging.getLogger(__name__)

Learn = Callable[[Pass, Stream], Outcome]


def reproduce_online(
    streams: Sequence[Stream], seeds: int, folder: Path, most: int | None = None, jobs: int = 1, learn: Learn = learn_once
) -> Done:
    """Choose settings on the beginnings, make the passes that are not known yet, and write the page; also when interrupted.

    Args:
        streams: the samples.
        seeds: how many of everything.
        folder: of the results and the page.
        most: make so many passes at most, aside from those that settings are chosen by; None is all.
        jobs: make so many at a time.
        learn: makes a pass.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results = Passes(folder / "online.jsonl")
    by_name = {stream.name: stream for stream in streams}
    plan = Plan(by_name, {name: stream.digest for name, stream in by_name.items()}, results, seeds)
    _carry_out([run for run in plan.choosing() if run not in results], by_name, results, learn, jobs)
    runs = plan.passes()
    try:
        _carry_out([run for run in runs if run not in results][:most], by_name, results, learn, jobs)
    finally:
        write(plan, folder)
    return Done(len(runs), sum(run in results for run in runs), str(folder / "online.md"))


def _carry_out(runs: Sequence[Pass], streams: Mapping[str, Stream], results: Passes, learn: Learn, jobs: int) -> None:
    """Say what is to do, and do it."""
    logger.info("%d passes to do", len(runs))

    def work(run: Pass) -> float:
        stream = streams[run.data]
        return float(Layout(run.spec(stream.fields)).size * len(stream.labels))

    carry_out(runs, work, results, partial(_learn, learn, streams), jobs)


def _learn(learn: Learn, streams: Mapping[str, Stream], run: Pass) -> Outcome:
    return learn(run, streams[run.data])
