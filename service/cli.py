"""The ``sml`` command: what can be asked of it, and how an answer or a failure is told.

A command's work is imported when the command runs, so that ``sml --help`` answers at once.
Exit status: 0 done, 1 failed, 2 wrong usage or settings.
"""

import json
import logging
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from service.commands.init import init

if TYPE_CHECKING:
    from service.settings import Settings


class Program(TyperGroup):
    """Tells a failure that was foreseen in a line on stderr, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            status = _status(error)
            if status is None:
                raise
            typer.secho(f"sml: {error}", err=True, fg="red")
            raise typer.Exit(status) from error


def _status(error: Exception) -> int | None:
    """Give the exit status of an error that was foreseen: one that has a name of ours, or the system's."""
    from service.settings import SettingsError

    if isinstance(error, SettingsError):
        return 2
    ours = type(error).__module__.partition(".")[0] in {"model", "stream", "service"}
    return 1 if ours or isinstance(error, OSError | ImportError) else None


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sml {version_of('sml-online')}")
        raise typer.Exit


def _settings(config: Path) -> "Settings":
    from service.settings import load

    return load(config)


def _answer(value: Any, as_json: bool) -> None:
    """Print a command's result: one JSON value; or a line for each part of it, or for each of a list."""
    if as_json:
        typer.echo(json.dumps(value))
    elif isinstance(value, list):
        for item in value:
            typer.echo("  ".join(f"{name} {_short(part)}" for name, part in item.items()))
    else:
        width = max(map(len, value))
        for name, part in value.items():
            typer.echo(f"{name:{width}}  {_short(part)}")


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else f"{value}"


def _group(text: str) -> typer.Typer:
    return typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=text)


app = typer.Typer(cls=Program, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None, add_completion=False)
topics_app, snapshots_app, bench_app = (
    _group("The topics of the model."),
    _group("The saved states of the model."),
    _group("How fast it is."),
)
app.add_typer(topics_app, name="topics")
app.add_typer(snapshots_app, name="snapshots")
app.add_typer(bench_app, name="bench")

Config = Annotated[Path, typer.Option("--config", "-c", help="The settings.", metavar="TOML")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON value, as the last line of stdout.")]
UntilCaughtUp = Annotated[bool, typer.Option("--until-caught-up", help="End once all is done that the log held at the start.")]
CONFIG = Path("sml.toml")


@app.callback()
def main(
    *,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")] = False,  # noqa: ARG001
) -> None:
    """Learn click probability from a live stream of clicks, and serve it.

    Start with `sml init SAMPLE`, which writes sml.toml from a sample of your data, then `sml up`, which runs everything on one machine.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every request


app.command()(init)


@app.command()
def up(
    *,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Run a made-up site as well, whose true click probabilities are known.")
    ] = False,
    config: Config = CONFIG,
) -> None:
    r"""Join, learn and serve on this machine, until Ctrl-C; the next `sml up` goes on from there.

    \b
        sml up
        sml up --simulate
    """
    from service.commands.up import up as run

    run(config, _settings(config), simulate=simulate)


@topics_app.command("create")
def topics_create(*, config: Config = CONFIG, as_json: Json = False) -> None:
    r"""Create the model's topics where they are missing.

    \b
        sml topics create
        SML_LOG__URL=kafka://localhost:9092 sml topics create
    """
    from service.commands.topics import create

    created = create(_settings(config))
    _answer(created if as_json else {name: "created" if new else "is there" for name, new in created.items()}, as_json)


@app.command()
def join(*, until_caught_up: UntilCaughtUp = False, config: Config = CONFIG) -> None:
    r"""Join impressions and clicks to examples.

    \b
        sml join --config sml.toml
    """
    from service.commands.join import join as run

    run(_settings(config), until_caught_up=until_caught_up)


@app.command()
def learn(
    *,
    until_caught_up: UntilCaughtUp = False,
    accept_gap: Annotated[bool, typer.Option("--accept-gap", help="Go on where examples were deleted before they were learned.")] = False,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    r"""Learn the examples, one a step, and publish the weights.

    \b
        sml learn
        sml learn --until-caught-up --json
    """
    from service.commands.learn import learn as run

    _answer(run(_settings(config), until_caught_up=until_caught_up, accept_gap=accept_gap), as_json)


@app.command()
def serve(*, config: Config = CONFIG) -> None:
    r"""Answer predictions from the newest weights; take impressions and clicks.

    \b
        sml serve
        SML_SERVE__PORT=8001 sml serve
        curl localhost:8000/v1/predict -d '{"context": {"user_id": "u17"}, "candidates": [{"id": 1, "item_id": "a"}]}'
    """
    from service.commands.serve import serve as run

    run(_settings(config))


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(help="A recorded log: CSV, TSV, JSON lines or Parquet.")],
    *,
    events: Annotated[
        Literal["impressions", "examples"], typer.Option("--as", help="Impressions and clicks, or labelled examples.")
    ] = "impressions",
    speed: Annotated[
        float | None, typer.Option(help="How many times as fast as it was recorded; default: as fast as the log takes it.")
    ] = None,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    r"""Stream a recorded log into the topics.

    \b
        sml replay clicks.csv.gz
        sml replay clicks.csv.gz --speed 60
        sml replay clicks.csv.gz --as examples --json
    """
    from service.commands.replay import replay as run

    _answer(run(file, _settings(config), events=events, speed=speed), as_json)


@app.command()
def simulate(
    *,
    url: Annotated[str | None, typer.Option(help="The server; default: where the settings say that it is.")] = None,
    rate: Annotated[float, typer.Option(help="Visits a second.", min=0.01)] = 150,
    seed: Annotated[int, typer.Option(help="Makes another site.")] = 0,
    duration: Annotated[float | None, typer.Option(help="Seconds; default: until Ctrl-C.")] = None,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    r"""Send traffic from a made-up site, and compare what is served with the best possible.

    \b
        sml simulate --rate 50
        sml simulate --url http://localhost:8000 --duration 60 --json
    """
    from service.commands.simulate import simulate as run

    _answer(run(_settings(config), url=url, rate=rate, seed=seed, duration=duration), as_json)


@app.command()
def evaluate(
    file: Annotated[Path, typer.Argument(help="A recorded log: CSV, TSV, JSON lines or Parquet.")],
    *,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    r"""Predict, score, then learn each row of a file, in its order; no log needed.

    \b
        sml evaluate clicks.csv.gz
        sml evaluate clicks.csv.gz --config sml.toml --json
    """
    from service.commands.evaluate import evaluate as run

    result = run(file, _settings(config))
    if not result["in_time_order"]:
        typer.echo("note: the file's order is not the order of time; rows were learned in the file's order", err=True)
    _answer(result, as_json)


@app.command()
def predict(
    request: Annotated[typer.FileBinaryRead, typer.Argument(help="A request as /v1/predict takes it; - is stdin.")] = "-",  # type: ignore[assignment]
    *,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    r"""Predict once, from the learner's newest checkpoint; no log or server needed.

    \b
        sml predict request.json
        echo '{"candidates": [{"id": 1, "item_id": "a"}]}' | sml predict --json
    """
    from service.commands.predict import predict as run

    answer = run(request.read(), _settings(config))
    _answer(answer if as_json else answer["predictions"], as_json)


@snapshots_app.command("list")
def snapshots_list(*, config: Config = CONFIG, as_json: Json = False) -> None:
    r"""List the saved states, the oldest first.

    \b
        sml snapshots list
        sml snapshots list --json
    """
    from service.commands.snapshots import kept

    _answer(kept(_settings(config)), as_json)


@bench_app.command("step")
def bench_step(
    *, repeats: Annotated[int, typer.Option(min=1, help="Measure so often; the medians are shown.")] = 5, as_json: Json = False
) -> None:
    """Learn random examples one a step, beside the same network in eager PyTorch, in one run on one thread.

    \b
        sml bench step
        sml bench step --repeats 9 --json
    """  # noqa: D301
    from service.commands.bench import steps

    speeds = []
    for speed in steps(repeats):
        typer.echo(f"{speed.hidden} {speed.skip}: {speed.examples_per_second} examples/s, {speed.ratio} times eager", err=True)
        speeds.append(speed._asdict())
    _answer(speeds, as_json)
