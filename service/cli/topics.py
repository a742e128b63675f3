"""``sml topics``: create the topics of the model."""

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
