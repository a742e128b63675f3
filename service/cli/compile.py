"""``sml compile``: compile the kernels ahead of the first start."""

from typing import Annotated

import typer

from service.cli.program import CONFIG, Config, settings_of


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
