"""The ``sml`` command: what can be asked of it.

A command's work is imported when the command runs, so that ``sml --help`` answers at once.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from service.commands.benches import bench_app
from service.commands.init import init
from service.program import Program, answer, print_version

if TYPE_CHECKING:
    from service.settings import Settings


def _settings(config: Path) -> "Settings":
    from service.settings import load

    return load(config)


app = typer.Typer(cls=Program, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None, add_completion=False)


def _group(name: str, text: str) -> typer.Typer:
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=text)
    app.add_typer(group, name=name)
    return group


topics_app = _group("topics", "The topics of the model.")
snapshots_app = _group("snapshots", "The saved states of the model.")
letters_app = _group("dead-letters", "The records that could not be used.")
app.add_typer(bench_app, name="bench")

Config = Annotated[Path, typer.Option("--config", "-c", help="The settings.", metavar="TOML")]
Recorded = Annotated[Path, typer.Argument(help="A recorded log: CSV, TSV, JSON lines or Parquet.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON value, as the last line of stdout.")]
UntilCaughtUp = Annotated[bool, typer.Option("--until-caught-up", help="End once all is done that the log held at the start.")]
CONFIG = Path("sml.toml")


@app.callback()
def main(
    *,
    version: Annotated[bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version and exit.")] = False,  # noqa: ARG001
) -> None:
    """Learn click probability from a live stream of clicks, and serve it.

    Start with `sml init SAMPLE`, which writes sml.toml from a sample of your data, then `sml up`, which runs everything on one machine.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every request
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # it logs every try; that the log is away is said by us, once


app.command()(init)


@app.command()
def up(
    *,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Run a made-up site as well, whose true click probabilities are known.")
    ] = False,
    config: Config = CONFIG,
) -> None:
    """Join, learn and serve on this machine, until Ctrl-C.

    The next `sml up` goes on from where this one stopped.

    \b
        sml up
        sml up --simulate
    """
    from service.commands.up import up as run

    run(config, _settings(config), simulate=simulate)


@topics_app.command("create")
def topics_create(*, config: Config = CONFIG, as_json: Json = False) -> None:
    """Create the model's topics where they are missing.

    \b
        sml topics create
        SML_LOG__URL=kafka://localhost:9092 sml topics create
    """
    from service.commands.topics import create

    created = create(_settings(config))
    answer(created if as_json else {name: "created" if new else "is there" for name, new in created.items()}, as_json)


@app.command()
def join(*, until_caught_up: UntilCaughtUp = False, config: Config = CONFIG) -> None:
    """Join impressions and clicks to examples.

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
    """Learn the examples, one a step, and publish the weights.

    \b
        sml learn
        sml learn --until-caught-up --json
    """
    from service.commands.learn import learn as run

    answer(run(_settings(config), until_caught_up=until_caught_up, accept_gap=accept_gap), as_json)


@app.command()
def serve(*, config: Config = CONFIG) -> None:
    """Answer predictions from the newest weights.

    Impressions and clicks are taken too, for sites without a client of the log.

    \b
        sml serve
        SML_SERVE__PORT=8001 sml serve
        curl localhost:8000/v1/predict -d '{"context": {"user_id": "u17"}, "candidates": [{"id": 1, "item_id": "a"}]}'
    """
    from service.commands.serve import serve as run

    run(_settings(config))


@app.command()
def replay(
    file: Recorded,
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
    """Stream a recorded log into the topics.

    \b
        sml replay clicks.csv.gz
        sml replay clicks.csv.gz --speed 60
        sml replay clicks.csv.gz --as examples --json
    """
    from service.commands.replay import replay as run

    answer(run(file, _settings(config), events=events, speed=speed), as_json)


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
    """Send traffic from a made-up site, and compare what is served with the best possible.

    \b
        sml simulate --rate 50
        sml simulate --url http://localhost:8000 --duration 60 --json
    """
    from service.commands.simulate import simulate as run

    answer(run(_settings(config), url=url, rate=rate, seed=seed, duration=duration), as_json)


@app.command()
def evaluate(
    file: Recorded,
    *,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Predict, score, then learn each row of a file.

    The rows are taken in the order of the file; no log is needed.

    \b
        sml evaluate clicks.csv.gz
        sml evaluate clicks.csv.gz --config sml.toml --json
    """
    from service.commands.evaluate import evaluate as run

    result = run(file, _settings(config))
    if not result["in_time_order"]:
        typer.echo("note: the file's order is not the order of time; rows were learned in the file's order", err=True)
    answer(result, as_json)


@app.command()
def predict(
    request: Annotated[typer.FileBinaryRead, typer.Argument(help="A request as /v1/predict takes it; - is stdin.")] = "-",  # type: ignore[assignment]
    *,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Predict once, from the newest checkpoint.

    Neither a log nor a server is needed.

    \b
        sml predict request.json
        echo '{"candidates": [{"id": 1, "item_id": "a"}]}' | sml predict --json
    """
    from service.commands.predict import predict as run

    predicted = run(request.read(), _settings(config))
    answer(predicted if as_json else predicted["predictions"], as_json)


@app.command()
def doctor(*, config: Config = CONFIG, as_json: Json = False) -> None:
    """Say what the settings will cost, and whether anything would fail.

    Nothing is created or changed. The status is 1 when something would fail.

    \b
        sml doctor
        SML_LOG__URL=kafka://localhost:9092 sml doctor --json
    """
    from service.commands.doctor import examine

    findings = list(examine(_settings(config)))
    if as_json:
        answer([finding._asdict() for finding in findings], as_json)
    else:
        for what, fine, found in findings:
            typer.secho(f"{'ok' if fine else 'FAILS':5}  {what:18}  {found}", fg=None if fine else "red")
    if not all(finding.fine for finding in findings):
        raise typer.Exit(1)


@snapshots_app.command("list")
def snapshots_list(*, config: Config = CONFIG, as_json: Json = False) -> None:
    """List the saved states, the oldest first.

    \b
        sml snapshots list
        sml snapshots list --json
    """
    from service.commands.snapshots import kept

    answer(kept(_settings(config)), as_json)


@snapshots_app.command("verify")
def snapshots_verify(*, config: Config = CONFIG, as_json: Json = False) -> None:
    """Check the saved states: the files by their checksums, the weights by their digests. Exit status 1 if one is damaged.

    \b
        sml snapshots verify
    """
    from service.commands.snapshots import verified

    checked = verified(_settings(config))
    answer(checked if as_json else [{each["file"]: each["problem"] or "is as it was saved"} for each in checked], as_json)
    if any(each["problem"] for each in checked):
        raise typer.Exit(1)


@snapshots_app.command("rollback")
def snapshots_rollback(
    *,
    to: Annotated[str, typer.Option(metavar="VERSION|TIME", help="A version's number; or a time, for the newest version then.")],
    replay: Annotated[bool, typer.Option("--replay", help="Learn again what came after it; default: go on behind it.")] = False,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Go back to the weights of a past version: they become the next version.

    Servers follow at once. A learner at work goes on from there; without one, nothing is learned until the next starts.

    \b
        sml snapshots rollback --to 4170
        sml snapshots rollback --to 2026-03-01T12:00:00+01:00 --replay
    """
    from service.commands.snapshots import go_back

    answer(go_back(_settings(config), to, replay=replay), as_json)


@app.command()
def rebuild(
    *,
    until: Annotated[str, typer.Option(metavar="VERSION|TIME", help="A version's number; or a time, for the newest version then.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder that the state is written to.")] = Path("rebuilt"),
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Make the state of any past moment again from the log, with the digest that was published then.

    The file is a checkpoint: `sml predict` answers by it where learn.directory is its folder.

    \b
        sml rebuild --until 4170
        sml rebuild --until 2026-03-01T12:00:00 -o past
        SML_LEARN__DIRECTORY=past sml predict request.json
    """
    from service.commands.snapshots import rebuilt

    answer(rebuilt(_settings(config), until, output), as_json)


@letters_app.command("list")
def letters_list(*, config: Config = CONFIG, as_json: Json = False) -> None:
    """Count the records that were set aside, by where they come from and why.

    \b
        sml dead-letters list
        sml dead-letters list --json
    """
    from service.commands.dead_letters import counted

    answer(counted(_settings(config)), as_json)


@letters_app.command("show")
def letters_show(
    offset: Annotated[int, typer.Argument(help="Its offset among the dead letters; `list` names the newest of each kind.")],
    *,
    raw: Annotated[bool, typer.Option("--raw", help="Write nothing but the record's bytes, as they came.")] = False,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Show a record that was set aside: what it held, where it stood, and why.

    \b
        sml dead-letters show 17
        sml dead-letters show 17 --raw > record.json
    """
    from service.commands.dead_letters import shown

    known, value = shown(_settings(config), offset)
    if raw:
        typer.get_binary_stream("stdout").write(value)
    else:
        answer(known, as_json)


@letters_app.command("retry")
def letters_retry(*, config: Config = CONFIG, as_json: Json = False) -> None:
    """Write the records that were set aside back to where they came from, after a fix.

    Each goes back once: the next retry begins where this one ended. What still can't be used is set aside anew.

    \b
        sml dead-letters retry
    """
    from service.commands.dead_letters import written_back

    answer(written_back(_settings(config)), as_json)
