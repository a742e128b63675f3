"""``sml predict``, ``explain``, ``export`` and ``import``: what is done with a model that was learned, without a server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from service.cli.program import CONFIG, Arm, Config, Json, answer, settings_of
from service.telemetry.log_lines import printable


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


def explain(
    request: Annotated[typer.FileBinaryRead, typer.Argument(help="A request as for /v1/explain; - is stdin.")] = "-",  # type: ignore[assignment]
    *,
    arm: Arm = None,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Explain one request's predictions, from the newest checkpoint.

    A logit is a sum, and these are its terms. Beside each field's own weight stands what it gives the deep part: what goes there when the
    field is as one never seen. Neither a log nor a server is needed.

    \b
        sml explain request.json
        echo '{"candidates": [{"id": 1, "item_id": "a"}]}' | sml explain --json
    """
    from service.commands.models.explain import explain as run

    explained = run(request.read(), settings_of(config).of_arm(arm))
    if as_json:
        answer(explained, as_json)
        return
    typer.echo(_weights(explained))
    for each in explained["explanations"]:
        for line in _lines(each):
            typer.echo(printable(line))


def _weights(explained: dict[str, Any]) -> str:
    from stream.records.times import in_utc

    through = explained["trained_through"]
    learned = "nothing learned yet" if through is None else f"learned through {in_utc(through)}"
    return f"by version {explained['version']}, {learned}"


def _lines(explained: dict[str, Any]) -> Iterator[str]:
    yield f"candidate {explained['id']}: probability {explained['probability']:.6g}, logit {explained['logit']:+.4f}"
    terms = {"bias": explained["bias"], "wide": sum(explained["wide"].values())}
    for name, of_layers in (("skip", explained["skip"]), ("cross", explained.get("cross", []))):
        terms |= {f"{name} {layer}": term for layer, term in enumerate(of_layers, 1)}
    terms["main path"] = explained["main"]
    if branch := explained.get("branch"):  # a network without one adds nothing there
        terms["branch"] = branch
    yield from (f"  {name:12} {term:+9.4f}" for name, term in terms.items())
    names = explained["wide"]
    width = max([5, *map(len, names)])
    records = explained.get("records", {})
    yield f"  {'field':{width}} {'wide':>9} {'deep':>9}{'   record' if records else ''}"
    for name in names:
        record = f" {records[name]:+8.4f}" if records else ""
        yield f"  {name:{width}} {explained['wide'][name]:+9.4f} {explained['deep'][name]:+9.4f}{record}"


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
