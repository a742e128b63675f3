"""``sml evaluate`` and ``sml compare``: the options of what is learned from a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from service.cli.program import CONFIG, Arm, Config, Json, MaxBad, Recorded, RecordedFiles, answer, settings_reading
from service.tables import labelled

if TYPE_CHECKING:
    from service.commands.evaluation.compare import Report

Protocol = Annotated[
    Literal["served", "usual"] | None,
    typer.Option(help="served: predict with what a server would know; usual: learn each row at once. Default: served if there is a time."),
]
Delay = Annotated[str | None, typer.Option(help="From a row's time to its label: 10m, 0, or window (as the joiner waits).")]
Together = Annotated[
    str | None, typer.Option(help="Columns that a page's rows have equal: a page is predicted before it is learned. Or none.")
]
Salt = Annotated[
    str | None,
    typer.Option(help="Of a learner's versions (sml snapshots list): with keep_negatives, learn the rows that it learned.", metavar="HEX"),
]
Page = Annotated[Path | None, typer.Option("--report", help="Write a page with charts, for any browser, offline.", metavar="HTML")]
Sliced = Annotated[
    list[str] | None,
    typer.Option("--slice", help="On the page, slice by this field; may be given more than once. Default: some with few values."),
]


def evaluate(
    files: RecordedFiles,
    *,
    protocol: Protocol = None,
    delay: Delay = None,
    together: Together = None,
    report: Page = None,
    sliced: Sliced = None,
    salt: Salt = None,
    max_bad: MaxBad = None,
    arm: Arm = None,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Predict, score and learn each row of a recorded log.

    The rows are learned in their own order, whatever the protocol; no log is needed. With [learn] keep_negatives, all are scored.

    \b
        sml evaluate clicks.csv.gz
        sml evaluate clicks.csv.gz --protocol usual --json
        sml evaluate days/ --max-bad 0.01
        gunzip -c clicks.csv.gz | sml evaluate -
        sml evaluate clicks.csv.gz --delay 10m --together time,user_id
        sml evaluate clicks.csv.gz --report page.html --slice country --slice hour
    """
    from service.commands.evaluation.evaluate import evaluate as run, protocol_of
    from stream.sampling import NO_SALT

    salt = NO_SALT if salt is None else salt
    settings = settings_reading(config, max_bad).of_arm(arm)
    followed = protocol_of(settings, protocol, delay, together)
    if page := _report(report, sliced):
        from service.commands.evaluation.compare import compare as compared

        [found] = compared(files, {str(config): settings}, [followed], page, salt)
        result = {**found.result, **followed.told()}
    else:
        result = run(files, settings, followed, salt)
    _warn(result)
    answer(result, as_json)


def compare(
    file: Recorded,
    settings: Annotated[list[Path], typer.Argument(help="Settings files, two or more.", metavar="TOML...")],
    *,
    protocol: Protocol = None,
    delay: Delay = None,
    together: Together = None,
    report: Page = None,
    sliced: Sliced = None,
    max_bad: MaxBad = None,
    as_json: Json = False,
) -> None:
    """Evaluate several settings on one reading of a file.

    Says which is the best, by how much, with a 95 % interval over blocks of rows, and what each costs in speed. A difference
    whose interval holds 0 is not told apart from none.

    \b
        sml compare clicks.csv.gz sml.toml wider.toml
        sml compare clicks.csv.gz sml.toml wider.toml deeper.toml --report page.html --json
    """
    from service.commands.evaluation.compare import compare as run, verdict
    from service.commands.evaluation.evaluate import protocol_of

    read = {str(path): settings_reading(path, max_bad) for path in settings}
    if len(read) < 2:  # noqa: PLR2004 - one can't be compared
        raise typer.BadParameter("expected two different files of settings or more", param_hint="TOML")
    protocols = [protocol_of(each, protocol, delay, together) for each in read.values()]
    compared = run(file, read, protocols, _report(report, sliced))
    _warn(compared[0].result)
    if as_json:
        answer({"verdict": verdict(compared), "settings": [each.plain() for each in compared]}, as_json)
        return
    answer([each.plain() for each in compared], as_json)
    typer.echo(labelled("", verdict(compared)))


def _warn(result: Mapping[str, Any]) -> None:
    """Say what makes scores doubtful."""
    from service.commands.evaluation.evaluate import TOO_GOOD

    if not result["in_time_order"]:
        typer.echo("note: the file's order is not the order of time; rows were learned in the file's order", err=True)
        if result.get("protocol") == "served":
            typer.echo(
                "note: a row that is earlier than one before it counts as shown at that one's time, so labels came late: sort the file by "
                "time for what a server would have scored, or use --protocol usual",
                err=True,
            )
    if (result["auc"] or 0) > TOO_GOOD:
        typer.echo(f"warning: an AUC of {result['auc']:.4f} is too good: a field may be known only after the click", err=True)


def _report(path: Path | None, sliced: list[str] | None) -> "Report | None":
    """Return the page that is asked for."""
    from service.commands.evaluation.compare import Report

    if sliced and not path:
        raise typer.BadParameter("expected --report too, the page that is sliced", param_hint="--slice")
    return Report(path, sliced) if path else None
