"""``sml export``: write a version of the model to a folder that other programs load."""

import os
import warnings
from pathlib import Path
from typing import Any, Literal

from model.weights import Weights
from service.export.folder import all_or_nothing, write_common, write_safetensors
from service.settings import Settings
from stream.learn.restore.rollback import rebuild
from stream.learn.saving.checkpoint import Checkpoint, Checkpoints
from stream.log.connect import open_log
from stream.records.version import Version
from stream.weights.chunks import WeightsHeader
from stream.weights.follow import newest_weights
from stream.weights.versions import version_at

Form = Literal["safetensors", "onnx", "torch", "mlflow"]


class MissingExtraError(Exception):
    """A format needs packages that are not installed."""


def export(settings: Settings, form: Form, folder: Path, *, version: str | None, checkpoint: Path | None) -> dict[str, Any]:
    """Write the model in a format; return which version it is.

    Args:
        settings: The settings of the model's arm.
        form: The format.
        folder: Where to write; it must be empty, or not be there yet.
        version: A version, or a time, made again from checkpoints and the log; None: what a server would serve now.
        checkpoint: A checkpoint's file to take in place of all that; no log is needed.

    Raises:
        MissingExtraError: a package that the format needs is not installed.
        NotEmptyError: the folder holds something.
        NoSuchVersionError: ``version`` names none.
        LearnError: the version can't be made again.
        BrokenWeightsError: the log holds no weights.
        DamagedCheckpointError: the checkpoint is not as it was saved.
        LogError: the log can't be used.
        OSError: the folder can't be written.
    """
    try:
        with all_or_nothing(folder):
            origin, weights = _source(settings, version, checkpoint)
            _write(form, folder, origin, weights)
    except ImportError as error:
        raise MissingExtraError(f"--format {form} needs packages that are not here: pip install 'sml-online[export]' ({error})") from error
    return {"version": origin.version, "digest": origin.digest, "examples": origin.examples, "format": form, "folder": str(folder)}


def _source(settings: Settings, version: str | None, checkpoint: Path | None) -> tuple[Version | WeightsHeader, Weights]:
    if checkpoint is not None:
        return _of(Checkpoint.from_bytes(checkpoint.read_bytes()))
    with open_log(settings.log) as log:
        if version is None:
            return newest_weights(log, settings.topics)
        number = version_at(log, settings.topics, version)
        return _of(rebuild(log, settings.topics, settings.spec, Checkpoints.of(settings.learn), number))


def _of(state: Checkpoint) -> tuple[Version, Weights]:
    return state.version, state.restore().model.weights


def _write(form: Form, folder: Path, origin: Version | WeightsHeader, weights: Weights) -> None:
    if form == "mlflow":
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # from its import on
        from service.export.mlflow_model import write_mlflow

        with warnings.catch_warnings(action="ignore"):  # of its own making, on import
            write_mlflow(folder, origin, weights)
        return
    if form == "safetensors":
        write_safetensors(folder, weights)
    else:
        from service.export.graph import program, write_onnx, write_torch

        {"onnx": write_onnx, "torch": write_torch}[form](folder, program(weights))
    write_common(folder, origin, weights, form)
