"""``sml arms``: several models on one stream, and which of them answers whom."""

from typing import Annotated

import typer

from service.cli.program import CONFIG, Config, Json, answer, group, settings_of

arms_app = group("The models of [arms] in the settings, and which of them answers whom. Servers follow at once, without a restart.")

Name = Annotated[str, typer.Argument(help="An arm of the settings.", metavar="NAME")]


@arms_app.command("list")
def arms_list(
    *,
    decisions: Annotated[bool, typer.Option("--decisions", help="List what was decided instead: when, by whom, and what.")] = False,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """List the arms: role, share of the units, newest version, examples that it has yet to learn, and how many it learns a second.

    The log losses are of the last 10,000 predictions made before learning: that of the arm, and that of the arm in control on the same
    examples. It is empty until the arm has come as far, and where one of the two learns only from its own.

    \b
        sml arms list
        sml arms list --decisions --json
    """
    from service.commands.experiments.arms import decisions as all_decisions, listed

    settings = settings_of(config)
    answer(all_decisions(settings) if decisions else listed(settings), as_json)


@arms_app.command("start")
def arms_start(
    arm: Name,
    *,
    share: Annotated[float, typer.Option(help="Of the units; the rest is control's and the other arms'.", min=0, max=1)],
    experiment: Annotated[
        str | None, typer.Option(help="Begin an experiment of this name, which splits the units anew.", metavar="NAME")
    ] = None,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Let an arm answer a share of the units. A greater share later moves units from control into it, and no others.

    \b
        sml arms start treatment --share 0.01 --experiment skip-terms
        sml arms start treatment --share 0.5
    """
    from service.commands.experiments.arms import start

    answer(start(settings_of(config), arm, share, experiment), as_json)


@arms_app.command("stop")
def arms_stop(arm: Name, *, config: Config = CONFIG, as_json: Json = False) -> None:
    """Give the units of an arm back to control. It goes on learning, as a shadow.

    \b
        sml arms stop treatment
    """
    from service.commands.experiments.arms import stop

    answer(stop(settings_of(config), arm), as_json)


@arms_app.command("promote")
def arms_promote(
    arm: Name,
    *,
    anyway: Annotated[bool, typer.Option("--anyway", help="Whatever the log losses are: an experiment shows that it is better.")] = False,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Put an arm in control: it answers everybody, and for every arm that can't. The others go on as shadows.

    Its recent log loss must be no worse than that of the arm in control, on the same examples (`sml arms list` shows both).

    \b
        sml arms promote treatment
    """
    from service.commands.experiments.arms import promote

    answer(promote(settings_of(config), arm, anyway=anyway), as_json)


@arms_app.command("retire")
def arms_retire(arm: Name, *, config: Config = CONFIG, as_json: Json = False) -> None:
    """End an arm that answers nobody, for good: its learner ends, servers free its memory.

    \b
        sml arms retire control
    """
    from service.commands.experiments.arms import retire

    answer(retire(settings_of(config), arm), as_json)
