"""``sml schema``: the JSON Schemas of what the commands print."""

import difflib
import json
from typing import Annotated

import typer


def schema(
    command: Annotated[list[str] | None, typer.Argument(help="A command, such as: snapshots list. Default: name them all.")] = None,
) -> None:
    """Print the JSON Schema of what a command prints with --json.

    \b
        sml schema
        sml schema evaluate
        sml schema snapshots list
    """
    from service.results.schema import RESULTS, schema as of

    name = " ".join(command or ())
    if not name:
        typer.echo("\n".join(RESULTS))
    elif name in RESULTS:
        typer.echo(json.dumps(of(name)))
    else:
        [nearest] = difflib.get_close_matches(name, RESULTS, n=1, cutoff=0)
        raise typer.BadParameter(f"got {name!r}, expected a command with --json, nearest is {nearest!r}", param_hint="COMMAND")
