"""``sml snapshots`` and ``sml rebuild``: the saved states of the model, and those that can be made again."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.program import CONFIG, Config, Json, answer, group, settings_of

snapshots_app = group("The checkpoints: the saved states of the model.")


@snapshots_app.command("list")
def snapshots_list(*, config: Config = CONFIG, as_json: Json = False) -> None:
    """List the saved states, the oldest first.

    \b
        sml snapshots list
        sml snapshots list --json
    """
    from service.commands.snapshots import kept

    answer(kept(settings_of(config)), as_json)


@snapshots_app.command("verify")
def snapshots_verify(*, config: Config = CONFIG, as_json: Json = False) -> None:
    """Check the saved states: the files by their checksums, the weights by their digests. Exit status 1 if one is damaged.

    \b
        sml snapshots verify
    """
    from service.commands.snapshots import verified

    checked = verified(settings_of(config))
    answer(checked if as_json else [{each["file"]: each["problem"] or "is as it was saved"} for each in checked], as_json)
    if any(each["problem"] for each in checked):
        raise typer.Exit(1)


@snapshots_app.command("rollback")
def snapshots_rollback(
    *,
    to: Annotated[str, typer.Option(metavar="VERSION|TIME", help="A version's number; or a time, for the newest version then.")],
    replay: Annotated[bool, typer.Option("--replay", help="Learn again what came after it; default: go on behind it.")] = False,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Go back to the weights of a past version: they become the next version.

    Servers follow at once. A learner at work goes on from there; without one, nothing is learned until the next starts.

    \b
        sml snapshots rollback --to 4170
        sml snapshots rollback --to 2026-03-01T12:00:00+01:00 --replay
    """
    from service.commands.snapshots import go_back

    answer(go_back(settings_of(config), to, replay=replay), as_json)


def rebuild(
    *,
    until: Annotated[str, typer.Option(metavar="VERSION|TIME", help="A version's number; or a time, for the newest version then.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder that the state is written to.")] = Path("rebuilt"),
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Make the state of any past moment again from the log, with the digest that was published then.

    The file is a checkpoint: `sml predict` answers by it where learn.directory is its folder.

    \b
        sml rebuild --until 4170
        sml rebuild --until 2026-03-01T12:00:00 -o past
        SML_LEARN__DIRECTORY=past sml predict request.json
    """
    from service.commands.snapshots import rebuilt

    answer(rebuilt(settings_of(config), until, output), as_json)
