"""The ``sml bench`` commands: each measures both sides in one run and prints the ratio."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer

from service.cli.program import Json, answer, group

bench_app = group("Measure the speed, beside alternatives.")

Repeats = Annotated[int, typer.Option(min=1, help="Measure so many times, and show the medians.")]
Seconds = Annotated[float, typer.Option(min=1, help="How long to measure each.")]
LogUrl = Annotated[str | None, typer.Option("--log", help="The log, such as kafka://localhost:9092; default: a new SQLite file.")]


class _Line(Protocol):
    def _asdict(self) -> dict[str, Any]: ...


def _report(lines: Iterable[_Line], as_json: bool) -> None:
    """Print a Markdown table line by line; with ``--json`` on stderr, and at the end the lines as JSON."""
    printed: list[dict[str, Any]] = []
    for line in lines:
        printed.append(line._asdict())
        if len(printed) == 1:
            typer.echo(f"| {' | '.join(printed[-1])} |\n|{' --- |' * len(printed[-1])}", err=as_json)
        typer.echo(f"| {' | '.join(map(str, printed[-1].values()))} |", err=as_json)
    if as_json:
        answer(printed, as_json)


@bench_app.command("step")
def step(*, repeats: Repeats = 5, as_json: Json = False) -> None:
    """Learn random examples, beside eager PyTorch.

    Both learn one example a step, with the same network, in one run on one thread.

    \b
        sml bench step
        sml bench step --repeats 9 --json
    """
    from service.bench.step import steps

    _report(steps(repeats), as_json)


@bench_app.command("table")
def table(*, repeats: Repeats = 5, as_json: Json = False) -> None:
    """Find and insert values in a table, beside a dict and numpy.

    Tables of several sizes are measured.

    \b
        sml bench table
        sml bench table --repeats 9 --json
    """
    from service.bench.table import tables

    _report(tables(repeats), as_json)


@bench_app.command("learn")
def learn(
    file: Annotated[Path, typer.Argument(help="A recorded log: CSV, TSV, JSON lines or Parquet.")],
    *,
    rows: Annotated[int, typer.Option(min=100, help="Learn so many rows.")] = 50_000,
    url: LogUrl = None,
    config: Annotated[Path, typer.Option("--config", "-c", help="The settings file.", metavar="TOML")] = Path("sml.toml"),
    as_json: Json = False,
) -> None:
    """Learn the rows of a file, beside other learners.

    They are learned from the file and through the log, and by River, Vowpal Wabbit and eager PyTorch.
    What is not installed is skipped: pip install river vowpalwabbit torch.

    \b
        sml bench learn clicks.csv.gz
        sml bench learn clicks.csv.gz --rows 200000 --log kafka://localhost:9092 --json
    """
    from service.bench.learn import learners
    from service.settings import load

    _report(learners(file, load(config), rows, url), as_json)


@bench_app.command("predict")
def predict(
    *,
    seconds: Seconds = 10,
    learning: Annotated[int, typer.Option(min=1, help="Examples a second to learn meanwhile.")] = 10_000,
    url: LogUrl = None,
    as_json: Json = False,
) -> None:
    """Request predictions at a fixed rate, beside eager PyTorch.

    The model is idle, then learns. PyTorch is behind FastAPI, then behind Ray Serve.
    What is not installed is skipped: pip install torch 'ray[serve]'.

    \b
        sml bench predict
        sml bench predict --seconds 30 --log kafka://localhost:9092 --json
    """
    from service.bench.predict import predictions

    _report(predictions(seconds, learning, url), as_json)


@bench_app.command("publish")
def publish(
    *,
    rate: Annotated[float, typer.Option(min=10, help="Examples a second.")] = 2000,
    seconds: Seconds = 20,
    join: Annotated[bool, typer.Option("--join", help="Write impressions and clicks, which the joiner joins at once.")] = False,
    url: LogUrl = None,
    as_json: Json = False,
) -> None:
    """Measure the time from the log to predictions.

    It starts with an example or a click in the log, and ends with the first answer by weights that learned it.

    \b
        sml bench publish
        sml bench publish --join
        sml bench publish --rate 5000 --log kafka://localhost:9092 --json
    """
    from service.bench.publish import publications

    _report(publications(rate, seconds, url, join=join), as_json)
