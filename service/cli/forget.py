"""``sml forget``: erase a person."""

from typing import Annotated

import typer

from service.cli.program import CONFIG, Config, Json, answer, settings_of


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
