"""The ``sml bench`` commands: each measures both sides in one run and prints the ratio."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer

from service.cli.program import Json, answer, group

bench_app = group("How fast it is, beside what else there is.")

Repeats = Annotated[int, typer.Option(min=1, help="Measure so often; the medians are shown.")]
Seconds = Annotated[float, typer.Option(min=1, help="Measure each for so long.")]
LogUrl = Annotated[str | None, typer.Option("--log", help="The log, such as kafka://localhost:9092; default: a new SQLite file.")]


class _Line(Protocol):
    def _asdict(self) -> dict[str, Any]: ...


def _tell(lines: Iterable[_Line], as_json: bool) -> None:
    """Show each line as it comes, as a table in Markdown; with ``--json`` on stderr, and all of them at the end."""
    told: list[dict[str, Any]] = []
    for line in lines:
        told.append(line._asdict())
        if len(told) == 1:
            typer.echo(f"| {' | '.join(told[-1])} |\n|{' --- |' * len(told[-1])}", err=as_json)
        typer.echo(f"| {' | '.join(map(str, told[-1].values()))} |", err=as_json)
    if as_json:
        answer(told, as_json)


@bench_app.command("step")
def step(*, repeats: Repeats = 5, as_json: Json = False) -> None:
    """Learn random examples one a step, beside the same network in eager PyTorch, in one run on one thread.

    \b
        sml bench step
        sml bench step --repeats 9 --json
    """
    from service.bench.step import steps

    _tell(steps(repeats), as_json)


@bench_app.command("table")
def table(*, repeats: Repeats = 5, as_json: Json = False) -> None:
    """Find and insert values in tables of several sizes, beside a Python dict and numpy.

    \b
        sml bench table
        sml bench table --repeats 9 --json
    """
    from service.bench.table import tables

    _tell(tables(repeats), as_json)


@bench_app.command("learn")
def learn(
    file: Annotated[Path, typer.Argument(help="A recorded log: CSV, TSV, JSON lines or Parquet.")],
    *,
    rows: Annotated[int, typer.Option(min=100, help="Learn so many.")] = 50_000,
    url: LogUrl = None,
    config: Annotated[Path, typer.Option("--config", "-c", help="The settings.", metavar="TOML")] = Path("sml.toml"),
    as_json: Json = False,
) -> None:
    """Learn the rows of a file, by file and through the log, beside River, Vowpal Wabbit and eager PyTorch.

    What is not installed is left out: pip install river vowpalwabbit torch.

    \b
        sml bench learn clicks.csv.gz
        sml bench learn clicks.csv.gz --rows 200000 --log kafka://localhost:9092 --json
    """
    from service.bench.learn import learners
    from service.settings import load

    _tell(learners(file, load(config), rows, url), as_json)


@bench_app.command("predict")
def predict(
    *,
    seconds: Seconds = 10,
    learning: Annotated[int, typer.Option(min=1, help="Examples a second that are learned meanwhile.")] = 10_000,
    url: LogUrl = None,
    as_json: Json = False,
) -> None:
    """Ask for predictions at a fixed rate, idle and while the model learns, beside eager PyTorch behind plain FastAPI and Ray Serve.

    What is not installed is left out: pip install torch 'ray[serve]'.

    \b
        sml bench predict
        sml bench predict --seconds 30 --log kafka://localhost:9092 --json
    """
    from service.bench.predict import predictions

    _tell(predictions(seconds, learning, url), as_json)


@bench_app.command("publish")
def publish(
    *,
    rate: Annotated[float, typer.Option(min=10, help="Examples a second.")] = 2000,
    seconds: Seconds = 20,
    join: Annotated[
        bool, typer.Option("--join", help="Write impressions and clicks, of which the joiner makes the examples at once.")
    ] = False,
    url: LogUrl = None,
    as_json: Json = False,
) -> None:
    """Time how long it takes from an example or a click in the log to an answer by weights that learned it.

    \b
        sml bench publish
        sml bench publish --join
        sml bench publish --rate 5000 --log kafka://localhost:9092 --json
    """
    from service.bench.publish import publications

    _tell(publications(rate, seconds, url, join=join), as_json)
