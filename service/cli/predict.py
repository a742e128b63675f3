"""``sml predict``: one answer from the newest checkpoint."""

from typing import Annotated

import typer

from service.cli.program import CONFIG, Arm, Config, Json, answer, settings_of


def predict(
    request: Annotated[typer.FileBinaryRead, typer.Argument(help="A request as for /v1/predict; - is stdin.")] = "-",  # type: ignore[assignment]
    *,
    arm: Arm = None,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Answer one request from the newest checkpoint.

    Neither a log nor a server is needed.

    \b
        sml predict request.json
        echo '{"candidates": [{"id": 1, "item_id": "a"}]}' | sml predict --json
    """
    from service.commands.models.predict import predict as run

    predicted = run(request.read(), settings_of(config).of_arm(arm))
    answer(predicted if as_json else predicted["predictions"], as_json)
