"""``sml import``: begin with a model from elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.program import CONFIG, Arm, Config, Json, answer, settings_of


def import_model(
    checkpoint: Annotated[Path, typer.Argument(help="A state_dict of torch, or a .safetensors file; float32.", metavar="CHECKPOINT")],
    *,
    rows: Annotated[
        Path | None, typer.Option(help="Parquet with the columns field, id, embedding and, if you like, wide.", metavar="PARQUET")
    ] = None,
    arm: Arm = None,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Begin with weights from elsewhere: the next `sml learn` publishes them as its first version, and goes on from there.

    The tensors are those of the settings' network, by name and shape (`sml export --format safetensors` shows them). Accumulators and
    records begin anew, and so does the bias under base_rate. The state stays beside the checkpoints, in .imported, as long as the model
    is used: the log can't make it again. A model that has learned is left as it is.

    \b
        sml import model.pt --rows embeddings.parquet
        sml import model.safetensors --arm treatment
    """
    from service.commands.models.import_model import import_model as run

    answer(run(settings_of(config).of_arm(arm), checkpoint, rows), as_json)
