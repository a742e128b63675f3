"""The ``sml`` command and its options.

A command imports its work when it runs, so that ``sml --help`` answers at once.
"""

import os
from typing import Annotated

import typer

from service.cli.arms import arms_app, experiment_app
from service.cli.bench import bench_app
from service.cli.evaluate import compare, evaluate
from service.cli.first_steps import compile_kernels, doctor, init
from service.cli.keys import keys_app
from service.cli.models import explain, export, import_model, predict
from service.cli.processes import join, join_task, learn, serve, up
from service.cli.program import Program, print_version
from service.cli.records import dead_letters_app, forget, topics_app
from service.cli.reproduce import reproduce
from service.cli.schema import schema
from service.cli.snapshots import rebuild, snapshots_app
from service.cli.traffic import replay, simulate
from service.telemetry.log_lines import LOG_FORMAT, LogFormat, log_to_stderr
from service.up.lifeline import end_with_parent

app = typer.Typer(cls=Program, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None, add_completion=False)


for name, group in {
    "topics": topics_app,
    "arms": arms_app,
    "snapshots": snapshots_app,
    "dead-letters": dead_letters_app,
    "keys": keys_app,
    "experiment": experiment_app,
    "bench": bench_app,
}.items():
    app.add_typer(group, name=name)


@app.callback()
def main(
    *,
    version: Annotated[bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version and exit.")] = False,  # noqa: ARG001
    log_format: Annotated[
        LogFormat, typer.Option(envvar=LOG_FORMAT, help="Log lines for people, or a JSON object a line for programs.")
    ] = "text",
) -> None:
    """Learn click probability from a live stream of clicks, and serve it.

    Start with `sml init SAMPLE`, which writes sml.toml from a sample of your data, then `sml up`, which runs everything on one machine.
    """
    os.umask(0o077)  # log, checkpoints and settings hold people's data and perhaps a secret: files 0600, folders 0700
    log_to_stderr(log_format)
    os.environ[LOG_FORMAT] = log_format  # for the processes that it starts, too
    end_with_parent()


# In the order in which a reader of `sml --help` comes to need them.
app.command()(init)
app.command()(up)
app.command()(doctor)
app.command()(evaluate)
app.command()(compare)
app.command()(join)
app.command("join-task", hidden=True)(join_task)
app.command()(learn)
app.command()(serve)
app.command()(replay)
app.command()(simulate)
app.command()(predict)
app.command()(explain)
app.command()(rebuild)
app.command()(forget)
app.command()(export)
app.command("import")(import_model)
app.command("compile")(compile_kernels)
app.command()(reproduce)
app.command()(schema)
