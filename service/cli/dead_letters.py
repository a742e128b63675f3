"""``sml dead-letters``: the records that could not be used."""

from typing import Annotated

import typer

from service.cli.program import CONFIG, Config, Json, answer, group, settings_of

letters_app = group("The records that could not be used.")


@letters_app.command("list")
def letters_list(*, config: Config = CONFIG, as_json: Json = False) -> None:
    """Count the records that were set aside, by where they come from and why.

    \b
        sml dead-letters list
        sml dead-letters list --json
    """
    from service.commands.dead_letters import counted

    answer(counted(settings_of(config)), as_json)


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

    known, value = shown(settings_of(config), offset)
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

    answer(written_back(settings_of(config)), as_json)
