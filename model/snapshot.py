"""Named arrays and a header as bytes, and back: safetensors with a checksum, and never a pickle."""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors, save as save_tensors
from xxhash import xxh3_128

FORMAT = "sml-online/1"

Arrays = dict[str, NDArray[Any]]


class SnapshotError(ValueError):
    """The bytes are no snapshot of ours, or are damaged."""


def dump(arrays: Arrays, header: dict[str, Any]) -> bytes:
    """Write ``arrays`` and a JSON ``header`` as one safetensors file."""
    text = json.dumps(header)
    metadata = {"format": FORMAT, "header": text, "checksum": _checksum(arrays, text)}
    return save_tensors({name: np.ascontiguousarray(array) for name, array in arrays.items()}, metadata)


def load(data: bytes) -> tuple[Arrays, dict[str, Any]]:
    """Read what :func:`dump` wrote.

    Raises:
        SnapshotError: the bytes are cut, changed, or not ours.
    """
    try:
        arrays = load_tensors(data)
        length = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    except (SafetensorError, ValueError) as error:
        message = f"not a snapshot: {error}"
        raise SnapshotError(message) from error
    if metadata.get("format") != FORMAT:
        message = f"not a snapshot of this format: got {metadata.get('format')!r}, expected {FORMAT!r}"
        raise SnapshotError(message)
    header, expected = metadata.get("header", ""), metadata.get("checksum")
    checksum = _checksum(arrays, header)
    if checksum != expected:
        message = f"damaged snapshot: its checksum is {checksum}, expected {expected}"
        raise SnapshotError(message)
    return arrays, json.loads(header)


def _checksum(arrays: Arrays, header: str) -> str:
    digest = xxh3_128(header.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name}{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
