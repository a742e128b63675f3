"""``sml topics``, ``dead-letters`` and ``forget``: the topics of the model, what was set aside of them, and the erasure of a person."""

import json
from typing import Annotated, Literal

import typer

from service.cli.program import CONFIG, Config, Json, answer, group, settings_of

topics_app = group("The topics of the model.")


@topics_app.command("create")
def topics_create(*, config: Config = CONFIG, as_json: Json = False) -> None:
    """Create the model's topics that are missing.

    \b
        sml topics create
        SML_LOG__URL=kafka://localhost:9092 sml topics create
    """
    from service.commands.topics import create

    created = create(settings_of(config))
    answer(created if as_json else {name: "created" if new else "exists" for name, new in created.items()}, as_json)


@topics_app.command("update")
def topics_update(*, config: Config = CONFIG, as_json: Json = False) -> None:
    """Let topics that exist keep their records as long as the settings say.

    What is older is deleted soon after, and can't be had back. `sml doctor` says what would change.

    \b
        sml topics update
        sml topics update --json
    """
    from service.commands.topics import update

    answer(update(settings_of(config)), as_json)


@topics_app.command("schema")
def topics_schema(
    topic: Annotated[Literal["impressions", "clicks", "examples", "versions", "arms"], typer.Argument(help="The topic, without prefix.")],
) -> None:
    """Print the JSON Schema of a topic's records: of those that your site writes, and of those that you may read.

    \b
        sml topics schema impressions
    """
    from stream.record_schemas import schema

    typer.echo(json.dumps(schema(topic)))


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


def forget(
    *,
    value: Annotated[str, typer.Option(help="The value that stands for the person.")],
    field: Annotated[str | None, typer.Option(help="The field that holds it; default: those of privacy.fields.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Forget nothing: show what still answers to the value.")] = False,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Forget a person: what the model has learned of a value.

    The learner empties the value's row, and learns no impression from before the request any more; servers and checkpoints follow,
    and a rollback does it again. What can't be reached is printed. With --verify the exit status is 1 if anything
    answers to the value, or could not be looked into: each place stands there with its answer.

    \b
        sml forget --field user_id --value u17
        sml forget --field user_id --value u17 --verify
    """
    from service.commands.forget import forget as run, verify as look

    settings = settings_of(config)
    if not verify:
        answer(run(settings, value, field), as_json)
        return
    found = look(settings, value, field)
    answer(found, as_json)
    if any(each.get("answers", False) is not False for each in found):
        raise typer.Exit(1)
