"""``sml export``: the model for other programs."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from service.cli.program import CONFIG, Arm, Config, Json, answer, settings_of


def export(
    *,
    form: Annotated[Literal["safetensors", "onnx", "torch", "mlflow"], typer.Option("--format", help="What to write.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write to.")] = Path("exported"),
    version: Annotated[
        str | None,
        typer.Option(metavar="VERSION|TIME", help="A version, or a time: the newest at that time. Default: what a server would serve now."),
    ] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="A checkpoint to take it from, without a log.", metavar="FILE")] = None,
    arm: Arm = None,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Write the model to a folder, for programs that are not `sml`.

    onnx and torch (torch.export) take rows of the table and times, and give the probabilities that the server answers; `sml_encoder.py`
    in the folder turns features into rows, and needs numpy and xxhash. mlflow is a pyfunc around onnx, and safetensors the arrays alone.
    No file is a pickle. All but safetensors need the extra `export`.

    \b
        sml export --format onnx
        sml export --format mlflow --version 2026-03-01T12:00:00 -o exported/march
        sml export --format safetensors --checkpoint data/checkpoints/version-000000004170.checkpoint
    """
    from service.commands.models.export import export as run

    if version is not None and checkpoint is not None:
        raise typer.BadParameter("got --checkpoint too, expected one of the two", param_hint="--version")
    answer(run(settings_of(config).of_arm(arm), form, output, version=version, checkpoint=checkpoint), as_json)
