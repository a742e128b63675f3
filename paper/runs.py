"""Make runs and keep their outcomes, one line of JSON each, so that a killed command goes on where it was.

A run that has its line is not made again. A line is on the disk before the next outcome is awaited; one that a kill has cut short
is dropped, and its run is made again.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class _Run(Protocol):
    def settings(self) -> dict[str, Any]: ...


class _Outcome(Protocol):
    @property
    def seconds(self) -> float: ...

    def to_json(self) -> dict[str, Any]: ...


R = TypeVar("R", bound=_Run)
O = TypeVar("O", bound=_Outcome)  # noqa: E741  # an outcome


class Results(Generic[R, O]):
    """The outcomes in a file, by run.

    Args:
        path: a file of JSON lines; the first outcome creates it.
        read: inverts an outcome's ``to_json``.
    """

    def __init__(self, path: Path, read: Callable[[dict[str, Any]], O]) -> None:
        self.path, self._read = path, read
        self._outcomes: dict[str, O] = {}
        if not path.exists():
            return
        text = path.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        if whole != text:
            os.truncate(path, len(whole))
        for line in whole.splitlines():
            found = json.loads(line)
            self._outcomes[_key(found["run"])] = read(found["outcome"])

    def __contains__(self, run: R) -> bool:
        """Return whether the outcome of a run is known."""
        return _key(run.settings()) in self._outcomes

    def __getitem__(self, run: R) -> O:
        """Return the outcome of a run.

        Raises:
            KeyError: it is not known.
        """
        return self._outcomes[_key(run.settings())]

    def add(self, run: R, outcome: O) -> None:
        """Write an outcome to the disk, so that no kill can lose it."""
        line = {"run": run.settings(), "outcome": outcome.to_json()}
        self._outcomes[_key(line["run"])] = self._read(line["outcome"])  # as it will be read again
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())


def make_runs(runs: Sequence[R], work: Callable[[R], float], results: Results[R, O], make: Callable[[R], O], jobs: int) -> None:
    """Make every run, show the progress on stderr, and add each outcome to ``results`` as soon as it is known.

    Args:
        runs: in their order.
        work: the cost of a run, relative to the others.
        results: where its outcome is written.
        make: makes a run; it must be picklable if several are made at a time.
        jobs: how many are made at a time; more than one are made in processes of their own, of one thread each.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=3600) as progress:
        task = progress.add_task("", total=sum(map(work, runs)))
        for number, (run, outcome) in enumerate(_made(runs, make, jobs), 1):
            results.add(run, outcome)
            progress.update(task, advance=work(run), description=f"{number} of {len(runs)}: {run}")


def _made(runs: Sequence[R], make: Callable[[R], O], jobs: int) -> Iterator[tuple[R, O]]:
    """Make every run, and yield it with its outcome when it ends."""
    if jobs == 1:
        yield from ((run, make(run)) for run in runs)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        pending = {pool.submit(make, run): run for run in runs}
        try:
            for future in as_completed(pending):
                yield pending[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _key(settings: dict[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)
