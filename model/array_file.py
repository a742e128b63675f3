"""Turn named arrays and a header into bytes, and back: safetensors with a checksum, never a pickle."""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save as save_tensors
from xxhash import xxh3_128

FORMAT = "sml-online/1"

_TYPES = {
    "F32": np.float32,
    "I16": np.int16,
    "I32": np.int32,
    "F64": np.float64,
    "I64": np.int64,
    "U64": np.uint64,
    "BOOL": np.bool_,
}  # by their names in safetensors
_LENGTH = 8  # bytes: the file starts with the length of its header

Arrays = dict[str, NDArray[Any]]


class ArrayFileError(ValueError):
    """The bytes are not an array file of ours, or are damaged."""


def dump(arrays: Arrays, header: dict[str, Any]) -> bytes:
    """Return ``arrays`` (integers of 16 bits or more, floats, booleans) and a JSON ``header`` as one safetensors file."""
    text = json.dumps(header)
    metadata = {"format": FORMAT, "header": text, "checksum": _checksum(arrays, text)}
    return save_tensors({name: np.ascontiguousarray(array) for name, array in arrays.items()}, metadata)


def load(data: bytes) -> tuple[Arrays, dict[str, Any]]:
    """Return what :func:`dump` was given. The library's own ``load`` blocks every other thread while it copies: 24 ms for a million rows.

    Raises:
        ArrayFileError: the bytes are cut, changed, or not ours.
    """
    try:
        start = _LENGTH + int.from_bytes(data[:_LENGTH], "little")
        entries = json.loads(data[_LENGTH:start])
        metadata = dict(entries.pop("__metadata__", {}))
        body = np.frombuffer(data, np.uint8)[start:].copy()  # so that the arrays are writable; numpy lets other threads run meanwhile
        arrays = {name: _array(body, **entry) for name, entry in entries.items()}
        text = str(metadata.get("header", "{}"))
        header = json.loads(text)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise ArrayFileError(f"not an array file: {error}") from error
    if metadata.get("format") != FORMAT:
        raise ArrayFileError(f"not an array file of this format: got {metadata.get('format')!r}, expected {FORMAT!r}")
    if (size := sum(array.nbytes for array in arrays.values())) != len(body):  # arrays that overlap would be read again and again
        raise ArrayFileError(f"damaged array file: its arrays take {size} bytes, expected {len(body)}")
    if (checksum := _checksum(arrays, text)) != (expected := metadata.get("checksum")):
        raise ArrayFileError(f"damaged array file: got the checksum {checksum}, expected {expected}")
    return arrays, header


def _array(body: NDArray[np.uint8], dtype: str, shape: list[int], data_offsets: list[int]) -> NDArray[Any]:
    """Return one array of a safetensors file, as a view of ``body``."""
    start, end = data_offsets
    return body[start:end].view(_TYPES[dtype]).reshape(shape)


def _checksum(arrays: Arrays, header: str) -> str:
    digest = xxh3_128(header.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name}{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
