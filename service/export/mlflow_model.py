"""The model as MLflow's ``pyfunc``, whose code is the encoder and :mod:`service.export.pyfunc`, and whose artifact is the ONNX model."""

import logging
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

from model.weights import Weights
from service.export.folder import ENCODER, write_common
from service.export.graph import program, write_onnx
from stream.records.version import Version
from stream.weights.chunks import WeightsHeader

_NEEDED = ("mlflow-skinny", "numpy", "onnxruntime", "pandas", "xxhash")


def write_mlflow(folder: Path, origin: Version | WeightsHeader, weights: Weights) -> None:
    """Write the model for ``mlflow.pyfunc.load_model``; nothing of it is pickled."""
    import mlflow.pyfunc  # noqa: PLC0415 - it takes seconds

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as temporary:
        parts = Path(temporary) / "model"
        parts.mkdir()
        write_common(parts, origin, weights, "mlflow")
        write_onnx(parts, program(weights))
        mlflow.pyfunc.save_model(
            folder,
            python_model=str(Path(__file__).with_name("pyfunc.py")),
            code_paths=[str(parts / ENCODER)],
            artifacts={"model": str(parts)},
            pip_requirements=[f"{name}=={version(name)}" for name in _NEEDED],
            metadata={"version": origin.version, "digest": origin.digest},
        )
        shutil.copy(parts / "README.md", folder / "README.md")
