"""``sml keys``: create, list and revoke the API keys."""

from typing import Annotated

import typer

from service.cli.program import CONFIG, Config, Json, answer, group, settings_of

keys_app = group("The API keys, each with the roles of its holder: predict, ingest, operate, read.")


@keys_app.command("create")
def keys_create(
    *,
    role: Annotated[list[str], typer.Option(help="What the holder may do: predict, ingest, operate or read; may be repeated.")],
    name: Annotated[str, typer.Option(help="What the key is for, to tell it from others.")] = "",
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Create a key, and show it once.

    The file holds its hash only. Servers know the key within a second. To change a key, create another, and revoke the first once nobody
    uses it any more.

    \b
        sml keys create --role predict --role ingest --name shop
    """
    from service.commands.keys import create

    answer(create(settings_of(config), role, name), as_json)


@keys_app.command("list")
def keys_list(*, config: Config = CONFIG, as_json: Json = False) -> None:
    """List the keys, without their secrets.

    \b
        sml keys list
    """
    from service.commands.keys import listed

    answer(listed(settings_of(config)), as_json)


@keys_app.command("revoke")
def keys_revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The id of the key: what stands between its first and second underscore.")],
    *,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Revoke a key. Servers refuse it within a second.

    \b
        sml keys revoke 5f0c2a91
    """
    from service.commands.keys import revoke

    answer(revoke(settings_of(config), key_id), as_json)
