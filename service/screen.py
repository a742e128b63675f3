"""Lines on the screen, above the one that lives there."""

import sys

import typer


def say(text: str) -> None:
    """Tell something on stderr, in lines of their own, above the line that lives on a terminal, which whoever wrote it writes anew."""
    typer.echo(f"\r\x1b[K{text}" if sys.stderr.isatty() else text, err=True)
