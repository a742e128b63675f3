"""``sml experiment``: what the arms of an experiment bring."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.program import CONFIG, Config, Json, answer, group, settings_of

experiment_app = group("Experiments between the arms.")


@experiment_app.command("report")
def experiment_report(
    name: Annotated[str, typer.Argument(help="The experiment: [experiment] name in the settings.")],
    *,
    picture: Annotated[Path | None, typer.Option(help="Write the uplifts to this file, too, as SVG.", metavar="SVG")] = None,
    effect: Annotated[float, typer.Option(help="A relative effect: 0.01 is 1 %. When will it be seen?", min=1e-6, max=10)] = 0.01,
    sums: Annotated[Path, typer.Option(help="The folder that keeps the sums from one report to the next.")] = Path("data/experiments"),
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Report an experiment: what would make it worthless, what each arm brings, and how sure that is.

    Look as often as you like, and stop when you like: the intervals hold at every look at once. Only what is new in the log is read.

    \b
        sml experiment report first
        sml experiment report first --json --picture first.svg
    """
    from service.commands.experiment import lines, report
    from service.commands.experiment_picture import picture as drawn

    found = report(settings_of(config), name, sums, effect=effect)
    if picture:
        picture.write_text(drawn(found), encoding="utf-8")
    if as_json:
        import msgspec

        answer(msgspec.to_builtins(found), as_json)
    else:
        typer.echo("\n".join(lines(found)))


@experiment_app.command("guard")
def experiment_guard(
    *,
    sums: Annotated[Path, typer.Option(help="The folder that keeps the guard's sums.")] = Path("data/experiments/guard"),
    config: Config = CONFIG,
) -> None:
    """Guard the experiment that runs: an arm that is worse than control beyond doubt gives its units back.

    The bound is `[experiment] guard_rail`; `sml arms list --decisions` shows what was decided, and why. `sml up` runs it by itself.

    \b
        sml experiment guard
    """
    from service.commands.experiment_guard import guard
    from service.signals import stop_signals

    with stop_signals() as stop:
        guard(settings_of(config), sums, stop.is_set)


@experiment_app.command("schema")
def experiment_schema() -> None:
    """Print the JSON schema of a report.

    sml experiment schema
    """
    from service.commands.experiment import schema

    answer(schema(), as_json=True)
