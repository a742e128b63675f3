"""``sml topics``: create the topics of the model, and say how long they keep their records, and of what form these are."""

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
