"""``sml init``: the options of the settings file that it writes."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Format = Literal["auto", "csv", "tsv", "jsonl", "parquet", "avazu", "criteo"]


def init(
    file: Annotated[Path, typer.Argument(help="A recorded log: CSV, TSV, JSON lines or Parquet, gzipped or not.")],
    *,
    label: Annotated[str, typer.Option(help="The column that says whether the impression was clicked: 0 or 1.")] = "click",
    time: Annotated[str | None, typer.Option(help="The column of the impression's time.")] = None,
    click_time: Annotated[str | None, typer.Option(help="The column of the click's time, if there is one.")] = None,
    file_format: Annotated[Format, typer.Option("--format", help="The format of the file; auto takes it from the file's name.")] = "auto",
    every: Annotated[bool, typer.Option("--all", help="Write every setting, not only those that most people need.")] = False,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where to write; a file that is there is kept as TOML.old.", metavar="TOML")
    ] = Path("sml.toml"),
) -> None:
    """Write sml.toml from a sample of your data.

    Each choice has its reason beside it, as a comment.

    \b
        sml init clicks.csv.gz --label click --time ts
        sml init train.csv --format avazu -o avazu.toml
        sml init train.txt --format criteo --all -o criteo.toml
    """
    from service.commands.init import NoSuchColumnError, init as run
    from stream.settings import DataSettings

    data = DataSettings(format=file_format, label=label, time=time or ("hour" if file_format == "avazu" else None), click_time=click_time)
    try:
        typer.echo(run(file, data, output, every=every))
    except NoSuchColumnError as error:
        raise typer.BadParameter(str(error), param_hint=error.option) from error
