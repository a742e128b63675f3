"""Lines on the screen, above the one that lives there."""

import sys

import typer


def say(text: str) -> None:
    """Write lines to stderr, above the living line of a terminal; whoever wrote that line writes it again."""
    typer.echo(f"\r\x1b[K{text}" if sys.stderr.isatty() else text, err=True)
