"""What people see on stderr while a command works: lines, and the progress of long work."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

import typer
from rich.console import Console
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

S = TypeVar("S", bound=Sized)


def say(text: str) -> None:
    """Print lines on stderr; on a terminal, above the live line, which its owner then draws again."""
    typer.echo(f"\r\x1b[K{text}" if sys.stderr.isatty() else text, err=True)


def say_notes(notes: Iterable[str]) -> None:
    """Print what somebody should know of a result, a line each."""
    for note in notes:
        say(f"note: {note}")


def counting(batches: Iterable[S], what: str) -> Iterator[S]:
    """Pass batches on, showing how many items have gone through and how fast."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.completed:,.0f}"), TimeElapsedColumn(), _Pace())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=None)
        for batch in batches:
            yield batch
            progress.advance(task, len(batch))


def showing(steps: Iterable[str], what: str) -> None:
    """Go through steps of work, each of which is named before it is done; show which it is, and how long it takes."""
    begun = time.monotonic()
    if not sys.stderr.isatty():
        for step in steps:
            say(f"{what}: {step}")
        say(f"{what}: done in {time.monotonic() - begun:.0f} s")
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=None)
        for step in steps:
            progress.update(task, description=f"{what}: {step}")
        progress.update(task, description=f"{what}: done")


class _Pace(ProgressColumn):
    """Items a second."""

    def render(self, task: Task) -> Text:
        """Return the pace; nothing while it is not known."""
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")
