"""``sml snapshots`` and ``sml rebuild``: the saved states of the model, and how to go back to a past one."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.program import CONFIG, Arm, Config, Json, answer, group, settings_of

snapshots_app = group("The checkpoints, which are the saved states of the model.")


@snapshots_app.command("list")
def snapshots_list(*, arm: Arm = None, config: Config = CONFIG, as_json: Json = False) -> None:
    """List the checkpoints, the oldest first.

    \b
        sml snapshots list
        sml snapshots list --json
    """
    from service.commands.models.snapshots import kept

    answer(kept(settings_of(config).of_arm(arm)), as_json)


@snapshots_app.command("verify")
def snapshots_verify(*, arm: Arm = None, config: Config = CONFIG, as_json: Json = False) -> None:
    """Verify the checkpoints: files by their checksums, weights by their digests. The exit status is 1 if one is damaged.

    \b
        sml snapshots verify
    """
    from service.commands.models.snapshots import verified

    checked = verified(settings_of(config).of_arm(arm))
    answer(checked if as_json else [{"file": each["file"], "found": each["problem"] or "as it was saved"} for each in checked], as_json)
    if any(each["problem"] for each in checked):
        raise typer.Exit(1)


@snapshots_app.command("rollback")
def snapshots_rollback(
    *,
    to: Annotated[str, typer.Option(metavar="VERSION|TIME", help="A version, or a time: the newest version at that time.")],
    replay: Annotated[bool, typer.Option("--replay", help="Learn the examples after it again; default: continue behind them.")] = False,
    arm: Arm = None,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Publish the weights of a past version as the next version.

    Servers follow at once. A running learner continues from there; without one, nothing is learned until the next starts.

    \b
        sml snapshots rollback --to 4170
        sml snapshots rollback --to 2026-03-01T12:00:00+01:00 --replay
    """
    from service.commands.models.snapshots import go_back

    answer(go_back(settings_of(config).of_arm(arm), to, replay=replay), as_json)


@snapshots_app.command("approve")
def snapshots_approve(*, arm: Arm = None, config: Config = CONFIG, as_json: Json = False) -> None:
    """Serve the versions that the guard holds, and judge the next ones by them.

    For a change that is real: the learner publishes what it has learned so far. Without a running learner, that waits for the next one.

    \b
        sml snapshots approve
    """
    from service.commands.models.snapshots import order

    answer(order(settings_of(config).of_arm(arm), "approve"), as_json)


@snapshots_app.command("hold")
def snapshots_hold(*, arm: Arm = None, config: Config = CONFIG, as_json: Json = False) -> None:
    """Serve no newer version, whatever the guard says, until `sml snapshots approve`. Learning goes on.

    \b
        sml snapshots hold
    """
    from service.commands.models.snapshots import order

    answer(order(settings_of(config).of_arm(arm), "hold"), as_json)


def rebuild(
    *,
    until: Annotated[str, typer.Option(metavar="VERSION|TIME", help="A version, or a time: the newest version at that time.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write the state to.")] = Path("rebuilt"),
    arm: Arm = None,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Rebuild the state of any past moment from the log.

    The weights have the digest that was published then. The file is a checkpoint:
    `sml predict` answers from it if learn.directory is its folder.

    \b
        sml rebuild --until 4170
        sml rebuild --until 2026-03-01T12:00:00 -o past
        SML_LEARN__DIRECTORY=past sml predict request.json
    """
    from service.commands.models.snapshots import rebuilt

    answer(rebuilt(settings_of(config).of_arm(arm), until, output), as_json)
