"""``sml init``, ``doctor`` and ``compile``: what comes before the first start."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from service.cli.program import CONFIG, RECORDED, Config, Json, MaxBad, answer, settings_of
from service.tables import labelled

if TYPE_CHECKING:
    from pydantic import ValidationError

Format = Literal["auto", "csv", "tsv", "jsonl", "parquet", "avazu", "criteo", "libsvm", "libffm", "vw"]


def init(
    files: Annotated[list[str], typer.Argument(help=f"{RECORDED} Or a topic of views, and one of clicks.", metavar="FILE...")],
    *,
    label: Annotated[str, typer.Option(help="The column that says whether the impression was clicked.")] = "click",
    positive: Annotated[str | None, typer.Option(help="Which labels are clicks, where they are numbers or words: '>= 4', '= oui'.")] = None,
    time: Annotated[str | None, typer.Option(help="The column of the impression's time; or those of its date and hour: date,hour.")] = None,
    time_format: Annotated[str | None, typer.Option(help="How the time is written: '%d/%m/%Y %H:%M'. Default: epoch or ISO 8601.")] = None,
    click_time: Annotated[str | None, typer.Option(help="The column of the click's time, if there is one.")] = None,
    file_format: Annotated[Format, typer.Option("--format", help="The format of the file; auto takes it from the file's name.")] = "auto",
    encoding: Annotated[str | None, typer.Option(help="The encoding of a text, such as latin-1. Default: UTF-8 or UTF-16.")] = None,
    names: Annotated[str | None, typer.Option(help="The columns of a CSV or TSV without a header: click,ts,user.")] = None,
    max_bad: MaxBad = None,
    every: Annotated[bool, typer.Option("--all", help="Write every setting, not only those that most people need.")] = False,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where to write; a file that is there is kept as TOML.old.", metavar="TOML")
    ] = Path("sml.toml"),
) -> None:
    """Write sml.toml from a sample of your data.

    Each choice has its reason beside it, as a comment. Of topics of your own, named by the log's address and a slash, it says where
    their events hold what was shown and clicked ([input]).

    \b
        sml init clicks.csv.gz --label click --time ts
        sml init ratings.csv --label stars --positive '>= 4' --time date,hour
        sml init train.csv --format avazu -o avazu.toml
        sml init train.txt --format criteo --all -o criteo.toml
        sml init kafka://broker:9092/site.views kafka://broker:9092/site.clicks
    """
    from pydantic import ValidationError

    from service.commands.init import NoSuchColumnError, init as run, init_from_topics
    from service.onboarding.topic_sample import Address
    from stream.settings import DataSettings

    addresses = [Address.of(each) for each in files]
    if named := [each for each in addresses if each]:
        if len(named) < len(addresses):
            raise typer.BadParameter(f"got {' '.join(files)}, expected files or topics, not both", param_hint="FILE")
        typer.echo(init_from_topics(named, output, every=every))
        return
    given = {
        "format": file_format,
        "label": label,
        "positive": positive,
        "time": _time(time) or ("hour" if file_format == "avazu" else None),
        "time_format": time_format,
        "click_time": click_time,
        "encoding": encoding,
        "names": _split(names),
        "max_bad": max_bad,
    }
    try:
        data = DataSettings.model_validate({key: value for key, value in given.items() if value is not None})
        typer.echo(run([Path(each) for each in files], data, output, every=every))
    except NoSuchColumnError as error:
        raise typer.BadParameter(str(error), param_hint=error.option) from error
    except ValidationError as error:
        raise _bad_option(error) from error


def _bad_option(error: "ValidationError") -> typer.BadParameter:
    """Return the error that names the option at fault: each is named as its setting is."""
    from service.setting_errors import expected

    [first, *_] = error.errors()
    option = f"--{first['loc'][0]}".replace("_", "-") if first["loc"] else None
    return typer.BadParameter(f"got {first['input']!r}, expected {expected(first)}", param_hint=option)


def _split(names: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(",")) if names else ()


def _time(columns: str | None) -> str | tuple[str, ...] | None:
    return columns if columns is None or "," not in columns else _split(columns)


def doctor(*, config: Config = CONFIG, as_json: Json = False) -> None:
    """Report what the settings will cost, what would fail, and what to do.

    Nothing is created or changed. The exit status is 1 if something would fail.

    \b
        sml doctor
        SML_LOG__URL=kafka://localhost:9092 sml doctor --json
    """
    from service.commands.doctor import examine

    findings = list(examine(settings_of(config)))
    if as_json:
        answer([finding._asdict() for finding in findings], as_json)
    else:
        for finding in findings:
            label = f"{'ok' if finding.fine else 'FAILS':5}  {finding.what:24}  "
            typer.secho(labelled(label, finding.found), fg=None if finding.fine else "red")
            if finding.todo:
                typer.echo(labelled(f"{'':33}→ ", finding.todo))
    if not all(finding.fine for finding in findings):
        raise typer.Exit(1)


def compile_kernels(
    *,
    every: Annotated[bool, typer.Option("--all", help="Those of every network; no settings are needed.")] = False,
    config: Config = CONFIG,
) -> None:
    """Compile the kernels of the settings' network, once on a machine.

    `sml up`, `learn`, `serve` and `evaluate` do so by themselves when they first start; while an image is built, it saves them the wait.

    \b
        sml compile
        NUMBA_CACHE_DIR=/var/cache/sml sml compile --all
    """
    from model.registry import NETWORKS
    from service.commands.compile import compile_kernels as run

    for network in NETWORKS if every else [each.model.network for each in settings_of(config).of_every_arm()]:
        run(network)
