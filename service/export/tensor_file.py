"""Read the tensors of a file that torch or safetensors has written. Nothing in it is run: torch reads weights only."""

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file


class TensorFileError(ValueError):
    """The file holds no named tensors, or something else too."""


def read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """Return the tensors by name.

    Raises:
        TensorFileError: the file is damaged, or holds something other than named tensors.
        ImportError: it is torch's, and torch is not installed.
        OSError: it can't be read.
    """
    if path.suffix == ".safetensors":
        try:
            return dict(load_file(path))
        except (SafetensorError, KeyError, TypeError) as error:
            raise TensorFileError(f"{path}: got {error}, expected a safetensors file of float32") from error
    import torch  # noqa: PLC0415 - safetensors do without it

    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise TensorFileError(f"{path}: expected the state_dict of a torch module, and nothing but tensors: {error}") from error
    if not isinstance(tensors, dict):
        raise TensorFileError(f"{path}: got {type(tensors).__name__}, expected a state_dict")
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor) or tensor.dtype != torch.float32:
            kind = tensor.dtype if isinstance(tensor, torch.Tensor) else type(tensor).__name__
            raise TensorFileError(f"{path}: tensor {name}: got {kind}, expected torch.float32")
    return {name: tensor.numpy() for name, tensor in tensors.items()}
