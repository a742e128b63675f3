"""The model as a graph of torch or ONNX: rows and times → probabilities."""

import logging
import warnings
from io import BytesIO
from pathlib import Path

import torch
from torch.export import Dim, ExportedProgram

from model.networks.from_rows import FromRows
from model.weights import Weights

_OPSET = 20


def program(weights: Weights) -> ExportedProgram:
    """Return the model for any number of examples, and of values in a field."""
    fields = len(weights.spec.fields)
    inputs = torch.ones(3, fields, 2, dtype=torch.int64), torch.zeros(3, dtype=torch.int64)
    examples, values = Dim("examples", min=1), Dim("values", min=1)
    exported = torch.export.export(FromRows(weights), inputs, dynamic_shapes={"rows": {0: examples, 2: values}, "times": {0: examples}})
    exported.example_inputs = None  # they would be saved as a pickle
    return exported


def write_torch(folder: Path, exported: ExportedProgram) -> None:
    """Write ``model.pt2``, for ``torch.export.load``."""
    with warnings.catch_warnings(action="ignore"):  # of weights that are no complete tensors, which concerns other devices
        torch.export.save(exported, made := BytesIO())  # given a path on a full disk, it aborts the process
    (folder / "model.pt2").write_bytes(made.getbuffer())


def write_onnx(folder: Path, exported: ExportedProgram) -> None:
    """Write ``model.onnx``, and its weights as ``model.onnx.data``: they may be larger than a message of protobuf, 2 GB."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it names each library that is not installed
    with warnings.catch_warnings(action="ignore"):  # of the names of axes
        torch.onnx.export(
            exported,
            f=folder / "model.onnx",
            input_names=["rows", "times"],
            output_names=["probabilities"],
            opset_version=_OPSET,
            verbose=False,
        )
