"""``sml dead-letters``: count, show and retry the records that were set aside."""

from typing import Annotated

import typer

from service.cli.program import CONFIG, Config, Json, answer, group, settings_of

dead_letters_app = group("The records that were set aside.")


@dead_letters_app.command("list")
def dead_letters_list(*, config: Config = CONFIG, as_json: Json = False) -> None:
    """Count the records that were set aside, by topic and reason.

    \b
        sml dead-letters list
        sml dead-letters list --json
    """
    from service.commands.dead_letters import counted

    answer(counted(settings_of(config)), as_json)


@dead_letters_app.command("show")
def dead_letters_show(
    offset: Annotated[int, typer.Argument(help="The offset of the dead letter; `list` shows the newest of each kind.")],
    *,
    raw: Annotated[bool, typer.Option("--raw", help="Write only the record's original bytes.")] = False,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Show a record that was set aside: its content, its topic, partition and offset, and the reason.

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


@dead_letters_app.command("retry")
def dead_letters_retry(*, config: Config = CONFIG, as_json: Json = False) -> None:
    """Write the records that were set aside back to their topics, once the cause is fixed.

    Each is written back once: the next retry begins where this one ended. A record that still can't be used is set aside again.

    \b
        sml dead-letters retry
    """
    from service.commands.dead_letters import written_back

    answer(written_back(settings_of(config)), as_json)
