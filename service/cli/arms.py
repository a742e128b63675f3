"""``sml arms`` and ``sml experiment``: several models on one stream, which of them answers whom, and what each brings."""

from pathlib import Path
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


experiment_app = group("Experiments between the arms.")


@experiment_app.command("report")
def experiment_report(
    name: Annotated[str, typer.Argument(help="The experiment: [experiment] name in the settings.")],
    *,
    picture: Annotated[Path | None, typer.Option(help="Write the uplifts to this file, too, as SVG.", metavar="SVG")] = None,
    effect: Annotated[float, typer.Option(help="A relative effect: 0.01 is 1 %. When will it be seen?", min=1e-6, max=10)] = 0.01,
    watch: Annotated[float | None, typer.Option(help="Report again after so many seconds, until interrupted.", min=1)] = None,
    sums: Annotated[Path | None, typer.Option(help="The folder that keeps the sums; default: [experiment] directory.")] = None,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Report an experiment: what would make it worthless, what each arm brings, and how sure that is.

    Look as often as you like, and stop when you like: the intervals hold at every look at once. Only what is new in the log is read.

    \b
        sml experiment report first
        sml experiment report first --json --picture first.svg
        sml experiment report first --watch 60

    Servers that find the folder of the sums show the newest report, too: GET /v1/experiments.
    """
    import msgspec

    from service.commands.experiments.picture import picture as drawn
    from service.commands.experiments.report import lines, report
    from service.signals import stop_signals

    settings = settings_of(config)
    folder = sums or Path(settings.experiment.directory)

    def show() -> None:
        found = report(settings, name, folder, effect=effect)
        if picture:
            picture.write_text(drawn(found), encoding="utf-8")
        if as_json:
            answer(msgspec.to_builtins(found), as_json)
        else:
            typer.echo("\n".join(lines(found)))

    show()
    if watch:
        with stop_signals() as stop:
            while not stop.wait(watch):
                show()


@experiment_app.command("guard")
def experiment_guard(
    *,
    sums: Annotated[
        Path | None, typer.Option(help="The folder that keeps the guard's sums; default: guard in [experiment] directory.")
    ] = None,
    config: Config = CONFIG,
) -> None:
    """Guard the experiment that runs: an arm that is worse than control beyond doubt gives its units back.

    The bound is `[experiment] guard_rail`; `sml arms list --decisions` shows what was decided, and why. Servers on this machine show the
    newest report meanwhile: GET /v1/experiments. `sml up` runs it by itself.

    \b
        sml experiment guard
    """
    from service.commands.experiments.guard import guard
    from service.signals import stop_signals

    settings = settings_of(config)
    with stop_signals() as stop:
        guard(settings, sums or Path(settings.experiment.directory) / "guard", stop.is_set)


@experiment_app.command("schema")
def experiment_schema() -> None:
    """Print the JSON schema of a report.

    sml experiment schema
    """
    from service.commands.experiments.report import schema

    answer(schema(), as_json=True)
