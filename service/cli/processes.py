"""``sml up``, ``join``, ``learn`` and ``serve``: the processes of a site."""

import os
from typing import Annotated, Literal

import typer

from service.cli.program import CONFIG, Arm, Config, Json, UntilCaughtUp, answer, named_settings, settings_of

INSECURE = "SML_ACCESS__INSECURE"
Insecure = Annotated[
    bool, typer.Option("--insecure", help="Let everybody who reaches the address do everything: only where the network itself is guarded.")
]


def up(
    *,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Run a simulated site as well, whose true click probabilities are known.")
    ] = False,
    experiment: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="With --simulate: an experiment of this name, with and without skip terms, each for half of the visitors.",
        ),
    ] = None,
    takeover: Annotated[
        bool, typer.Option("--takeover", help="If another `sml up` runs in this folder, end it in order, then start.")
    ] = False,
    insecure: Insecure = False,
    config: Config = CONFIG,
) -> None:
    """Join, learn and serve on this machine, until Ctrl-C.

    The next `sml up` continues where this one stopped. Only one can run in a folder. Its processes end with it, even after a
    `kill -9`. Records that are set aside or come too late are reported on the screen within a minute.

    \b
        sml up
        sml up --simulate
        sml up --simulate --experiment sml
        sml up --takeover
    """
    from service.commands.up import up as run

    if insecure:
        os.environ[INSECURE] = "true"  # for the processes that it starts, too
    settings = settings_of(config)
    if experiment is not None:
        from service.commands.simulation.experiment import settings_file

        if not simulate:
            raise typer.BadParameter("it needs --simulate", param_hint="--experiment")
        config = settings_file(config, settings, experiment)
        settings = settings_of(config)
    run(config, settings, simulate="feed" if experiment else "page" if simulate else None, takeover=takeover)


def join(
    *,
    until_caught_up: UntilCaughtUp = False,
    from_now: Annotated[bool, typer.Option("--from-now", help="Skip all records that the log holds now, read or not.")] = False,
    accept_gap: Annotated[
        bool, typer.Option("--accept-gap", help="Continue although records were deleted before they were joined.")
    ] = False,
    engine: Annotated[
        Literal["sml", "flink"],
        typer.Option("--engine", help="What runs the join: this process, or a job of Flink's, here on this machine."),
    ] = "sml",
    partitions: Annotated[
        str | None,
        typer.Option("--partitions", help="Join these partitions only, while other joiners join the rest.", metavar="FIRST-LAST"),
    ] = None,
    config: Config = CONFIG,
) -> None:
    """Join impressions and clicks into examples.

    \b
        sml join --config sml.toml
        sml join --partitions 0-7
        sml join --engine flink
    """
    from stream.join.share import Share

    try:
        share = None if partitions is None else Share.parse(partitions)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--partitions") from error
    settings = settings_of(config)
    if engine == "sml":
        from service.commands.join import join as run

        run(settings, until_caught_up=until_caught_up, from_now=from_now, accept_gap=accept_gap, share=share)
        return
    from service.commands.join_on_flink import join_on_flink

    if until_caught_up or from_now or accept_gap or share:
        expected = "no option of `sml join`'s own: that can be asked to do it, and Flink goes on from where it stopped"
        raise typer.BadParameter(f"expected {expected}", param_hint="--engine flink")
    join_on_flink(settings, config)


def join_task(
    *,
    plan: Annotated[bool, typer.Option("--plan", help="Print what the job must know, and take over from `sml join`.")] = False,
    token: Annotated[str, typer.Option("--token", help="By which the job holds its name, as the plan has it.")] = "",
    config: Config = CONFIG,
) -> None:
    """Join some partitions for a job of Flink's, which starts this and speaks to it by pipes.

    \b
        sml join-task --config sml.toml --token 2f1c…
        sml join-task --plan --config sml.toml
    """
    from service.commands.join_on_flink import join_task as run, print_plan

    settings = settings_of(config)
    print_plan(settings) if plan else run(settings, token)


def learn(
    *,
    until_caught_up: UntilCaughtUp = False,
    accept_gap: Annotated[
        bool, typer.Option("--accept-gap", help="Continue although examples were deleted before they were learned.")
    ] = False,
    arm: Arm = None,
    arms: Annotated[
        str | None, typer.Option("--arms", help="Several arms in one process, on one reading of the examples.", metavar="NAME,NAME")
    ] = None,
    ranks: Annotated[
        int,
        typer.Option("--ranks", min=1, max=64, help="Processes that share the examples once the model is mature; needs the extra torch."),
    ] = 1,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Learn from the examples and publish the weights.

    Each example is one step. Several ranks share what waits, and each version says how; `sml rebuild` learns the same again in one process.

    \b
        sml learn
        sml learn --ranks 2
        sml learn --until-caught-up --json
        sml learn --arm treatment
        sml learn --arms control,treatment
    """
    from service.commands.learn import learn as run, learn_together

    settings = settings_of(config)
    if arms is None:
        answer(run(settings.of_arm(arm), ranks=ranks, until_caught_up=until_caught_up, accept_gap=accept_gap), as_json)
        return
    if ranks > 1:
        raise typer.BadParameter("one of --ranks and --arms", param_hint="--ranks")
    names = arms.split(",")
    if arm is not None or len(set(names)) < len(names):
        raise typer.BadParameter(f"got {arms!r}{f' and --arm {arm}' if arm else ''}, expected each arm once", param_hint="--arms")
    learned = learn_together([settings.of_arm(name) for name in names], until_caught_up=until_caught_up, accept_gap=accept_gap)
    answer(learned, as_json)


def serve(
    *,
    certfile: Annotated[str | None, typer.Option(help="The server's certificate chain, PEM; default: from the settings.")] = None,
    keyfile: Annotated[str | None, typer.Option(help="Its private key, PEM, if the certificate's file does not hold it.")] = None,
    insecure: Insecure = False,
    workers: Annotated[
        int, typer.Option(min=1, max=256, help="Processes that answer. Several share one copy of the weights, and need Linux.")
    ] = 1,
    model: Annotated[
        list[str] | None,
        typer.Option(help="A model by its name and its settings, instead of --config; may be said again.", metavar="NAME=TOML"),
    ] = None,
    config: Config = CONFIG,
) -> None:
    """Serve predictions from the newest weights.

    The server accepts impressions and clicks, too, for sites without a client of the log. On an address that others reach, it needs
    [access] keys or an issuer, or --insecure. Each worker counts for itself what a client may ask for, and what the console shows.

    \b
        sml serve
        sml serve --workers 4
        sml serve --certfile server.pem --keyfile server.key
        SML_SERVE__PORT=8001 sml serve
        sml serve --model ctr=ctr.toml --model cvr=cvr.toml
        curl localhost:8000/v1/predict -d '{"context": {"user_id": "u17"}, "candidates": [{"id": 1, "item_id": "a"}]}'
    """
    from service.commands.serve import serve as run, serve_by_workers, serve_several

    for variable, value in {"SML_SERVE__CERTFILE": certfile, "SML_SERVE__KEYFILE": keyfile, INSECURE: insecure and "true"}.items():
        if value:
            os.environ[variable] = value  # an option is the nearest of the settings' sources
    if model and workers > 1:
        raise typer.BadParameter("one of --workers and --model", param_hint="--workers")
    if model:
        serve_several({name: settings_of(file) for name, file in named_settings(model).items()})
    elif workers > 1:
        serve_by_workers(settings_of(config), workers)
    else:
        run(settings_of(config))
