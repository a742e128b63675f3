"""What people see on stderr while a command works: lines, and the progress of long work."""

import sys
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


def counting(batches: Iterable[S], what: str) -> Iterator[S]:
    """Pass batches on, showing how many items have gone through and how fast."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.completed:,.0f}"), TimeElapsedColumn(), _Pace())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=None)
        for batch in batches:
            yield batch
            progress.advance(task, len(batch))


class _Pace(ProgressColumn):
    """Items a second."""

    def render(self, task: Task) -> Text:
        """Return the pace; nothing while it is not known."""
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")
