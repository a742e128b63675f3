"""``sml init``: write ``sml.toml`` from a sample of the data."""

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from stream.settings import DataSettings

Format = Literal["auto", "csv", "tsv", "jsonl", "parquet", "avazu", "criteo"]


def init(
    file: Annotated[Path, typer.Argument(help="A recorded log: CSV, TSV, JSON lines or Parquet, gzipped or not.")],
    *,
    label: Annotated[str, typer.Option(help="The column that says whether it was clicked: 0 or 1.")] = "click",
    time: Annotated[str | None, typer.Option(help="The column of the impression's time.")] = None,
    click_time: Annotated[str | None, typer.Option(help="The column of the click's time, if there is one.")] = None,
    file_format: Annotated[Format, typer.Option("--format", help="By the file's name, or what the file is.")] = "auto",
    every: Annotated[bool, typer.Option("--all", help="Write every setting, not only those that most people see.")] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="A file there is kept as FILE.old.", metavar="TOML")] = Path("sml.toml"),
) -> None:
    """Write sml.toml from a sample of your data, with its reasons as comments.

    \b
        sml init clicks.csv.gz --label click --time ts
        sml init train.csv --format avazu -o avazu.toml
        sml init train.txt --format criteo --all -o criteo.toml
    """
    from service.onboarding.sample import Sample, chunks
    from service.onboarding.settings_file import settings_text
    from service.screen import counting
    from stream.settings import DataSettings

    data = DataSettings(format=file_format, label=label, time=time or ("hour" if file_format == "avazu" else None), click_time=click_time)
    _check_columns(file, data)
    sample = Sample()
    for chunk in counting(chunks(file, data), "reading"):
        sample.add(chunk)
    text = settings_text(file, data, sample, every=every)
    if output.exists():
        output.replace(output.with_name(output.name + ".old"))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text, encoding="utf-8")
    typer.echo(f"{output}: {text.count('[[field]]')} fields from {sample.rows:,} rows")


def _check_columns(file: Path, data: "DataSettings") -> None:
    """Refuse a column that the first row does not have, naming the nearest that it has."""
    from stream.files import columns

    there = columns(file, data)
    for option, name in (("--label", data.label), ("--time", data.time), ("--click-time", data.click_time)):
        if name is not None and name not in there:
            nearest = difflib.get_close_matches(name, there, n=1, cutoff=0)
            message = f"got {name!r}, expected a column, nearest is {nearest[0]!r} (all: {', '.join(there)})"
            raise typer.BadParameter(message, param_hint=option)
