"""``sml compile``: compile the kernels ahead of the first start."""

from service.cli.program import CONFIG, Config, settings_of


def compile_kernels(*, config: Config = CONFIG) -> None:
    """Compile the kernels of the settings' network, once on a machine.

    `sml up`, `learn`, `serve` and `evaluate` do so by themselves when they first start; while an image is built, it saves them the wait.

    \b
        sml compile
        NUMBA_CACHE_DIR=/var/cache/sml sml compile
    """
    from service.commands.compile import compile_kernels as run

    for each in settings_of(config).of_every_arm():
        run(each.model.network)
