"""``sml replay`` and ``sml simulate``: traffic that was recorded, or is made up."""

from typing import Annotated, Literal

import typer

from service.cli.program import CONFIG, Config, Json, MaxBad, RecordedFiles, answer, settings_of, settings_reading


def replay(
    files: RecordedFiles,
    *,
    events: Annotated[
        Literal["impressions", "examples"], typer.Option("--as", help="Write impressions and clicks, or labelled examples.")
    ] = "impressions",
    speed: Annotated[float | None, typer.Option(help="A multiple of the recorded speed; default: as fast as the log accepts it.")] = None,
    future: Annotated[
        bool,
        typer.Option("--future", help="The times are made up and may be in the future; joining them needs [join] accept_future = true."),
    ] = False,
    max_bad: MaxBad = None,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Write a recorded log into the topics.

    Impressions and clicks are written in the order of time, which the joiner follows; rows that are in another order are sorted first.
    Examples keep the order of the rows. Times in the future are refused without --future.

    \b
        sml replay clicks.csv.gz
        sml replay clicks.csv.gz --speed 60
        sml replay made-up.csv --future
        sml replay clicks.csv.gz --as examples --json
    """
    from service.commands.replay import replay as run

    answer(run(files, settings_reading(config, max_bad), events=events, speed=speed, future=future), as_json)


def simulate(
    *,
    url: Annotated[str | None, typer.Option(help="The server's address; default: from the settings.")] = None,
    rate: Annotated[float, typer.Option(help="Visits a second, in the mean of a day.", min=0.01)] = 150,
    seed: Annotated[int, typer.Option(help="Another seed gives another site.")] = 0,
    duration: Annotated[float | None, typer.Option(help="Stop after so many seconds; default: at Ctrl-C.")] = None,
    scenario: Annotated[
        Literal["page", "feed", "video"],
        typer.Option(help="page shows all candidates; feed and video those of the most value, by the predictions. A day is ten minutes."),
    ] = "page",
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Send traffic from a simulated site.

    The predictions served are compared with the best possible. Where the server asks for a key, SML_KEY holds one for predict and ingest.

    \b
        sml simulate --rate 50
        sml simulate --scenario feed
        sml simulate --url http://localhost:8000 --duration 60 --json
    """
    from service.commands.simulation.simulate import simulate as run

    answer(run(settings_of(config), url=url, rate=rate, seed=seed, duration=duration, scenario=scenario), as_json)
