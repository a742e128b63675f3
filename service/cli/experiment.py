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
