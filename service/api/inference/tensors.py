"""From the tensors of a request to columns of features: what a field takes of the protocol's datatypes and shapes.

Nothing is allocated by what a shape claims: its sizes are compared with the values that came before they are used.

Axes: N candidates, K values of a list.
"""

import math
import reprlib
import struct
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from model.encoding.features import Column
from model.encoding.keys import MOST_VALUES
from model.settings import Field
from service.api.answers import BadRequestError
from service.api.inference.messages import InputTensor, Received, TensorMetadata
from service.api.messages import MAX_CANDIDATES, MAX_LISTED, MAX_TEXT

BYTES = "BYTES"
DATATYPES: dict[str, str] = {  # and BYTES → little-endian, as the protocol's bytes are
    "BOOL": "?",
    **{f"UINT{bits}": f"<u{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": f"<f{bits // 8}" for bits in (16, 32, 64)},
}
_IN_JSON: dict[str, tuple[str, tuple[type, ...]]] = {  # the kind of a datatype → what its values are in JSON
    "b": ("true or false", (bool,)),
    "u": ("whole numbers", (int,)),
    "i": ("whole numbers", (int,)),
    "f": ("numbers", (int, float)),
}
_INEXACT = frozenset({"FP16", "FP32"})  # whose .1 is another number than JSON's


class Columns(NamedTuple):
    """The features of N candidates."""

    features: dict[str, Column]
    candidates: int

    def context(self) -> dict[str, Any]:
        """Return the features of which all candidates have the same value."""
        return {name: values[0] for name, (values, _) in self.features.items() if all(value == values[0] for value in values)}


def inputs_of(fields: Iterable[Field]) -> list[TensorMetadata]:
    """Return the tensors that a model of these fields takes. A list may also be one text, its values between separators: ``[N]``."""
    shapes = {"categorical": ("BYTES", [-1]), "numeric": ("FP64", [-1]), "multi": ("BYTES", [-1, -1])}
    return [TensorMetadata(field.name, *shapes[field.kind]) for field in fields if field.kind in shapes]


def columns_of(received: Received, fields: Iterable[Field]) -> Columns:
    """Return the features of a request: a tensor of each field, ``[N]`` or ``[1]`` for all candidates alike, a list ``[N, K]``.

    Raises:
        BadRequestError: a tensor is not what its field takes; the message names the field, what came and what was expected.
    """
    known = {field.name: field for field in fields if field.is_feature}
    names = [tensor.name for tensor in received.request.inputs]
    for index, name in enumerate(names):
        if name not in known or name in names[:index]:
            expected = "each once" if name in known else f"of {', '.join(known)}"[:1_000]
            raise BadRequestError(f"inputs[{index}].name", f"got {reprlib.repr(name)}, expected {expected}")
    for tensor in received.request.inputs:
        _check_type_and_shape(tensor, known[tensor.name])
    candidates = max(tensor.shape[0] for tensor in received.request.inputs)
    if (listed := candidates * sum(math.prod(each.shape[1:]) for each in received.request.inputs if len(each.shape) > 1)) > MAX_LISTED:
        raise BadRequestError("inputs", f"the lists hold {listed:,} values for all candidates together, expected at most {MAX_LISTED:,}")
    columns = {}
    for tensor, raw in zip(received.request.inputs, received.raw, strict=True):
        _check_candidates(tensor, candidates)
        values = _rows(tensor, _values(tensor, raw), known[tensor.name])
        shared = tensor.shape[0] < candidates
        columns[tensor.name] = Column(values, np.zeros(candidates, np.int64) if shared else None)
    return Columns(columns, candidates)


def _check_type_and_shape(tensor: InputTensor, field: Field) -> None:
    if tensor.datatype != BYTES and tensor.datatype not in DATATYPES:
        expected = f"one of {', '.join([BYTES, *DATATYPES])}"
        raise BadRequestError(f"{field.name}.datatype", f"got {reprlib.repr(tensor.datatype)}, expected {expected}")
    shape, lists = tensor.shape, field.kind == "multi"
    most = (MAX_CANDIDATES, MOST_VALUES if lists else 1)
    if not (1 <= len(shape) <= len(most) and all(1 <= size <= top for size, top in zip(shape, most, strict=False))):
        of_lists = f", or [N, K] with K up to {MOST_VALUES:,}" if lists else ""
        expected = f"[N] with N from 1 to {MAX_CANDIDATES:,}{of_lists}"
        raise BadRequestError(f"{field.name}.shape", f"got {reprlib.repr(shape)}, expected {expected}")


def _check_candidates(tensor: InputTensor, candidates: int) -> None:
    if tensor.shape[0] not in (1, candidates):
        expected = f"{candidates}, as another input has, or 1, for all candidates alike"
        raise BadRequestError(f"{tensor.name}.shape[0]", f"got {tensor.shape[0]}, expected {expected}")


def _rows(tensor: InputTensor, values: list[Any], field: Field) -> list[Any]:
    """Return a value of each candidate, or a list."""
    if tensor.datatype in _INEXACT and field.kind != "numeric":
        wrong = next((value for value in values if value is not None and math.isfinite(value) and not value.is_integer()), None)
        if wrong is not None:
            raise BadRequestError(field.name, f"got {wrong!r}, expected whole numbers in {tensor.datatype}: others are exact in FP64 only")
    if field.kind == "multi" and len(tensor.shape) > 1:
        length = tensor.shape[1]
        return [values[start : start + length] for start in range(0, len(values), length)]
    return values


def _values(tensor: InputTensor, raw: bytes | None) -> list[Any]:
    """Return the values of a tensor in their order, None where one is missing.

    Raises:
        BadRequestError: there are more or fewer than its shape says, or one is not of its datatype.
    """
    count = math.prod(tensor.shape)
    if raw is not None:
        return _texts(tensor, raw, count) if tensor.datatype == BYTES else _numbers(tensor, raw, count)
    if tensor.data is None:
        raise BadRequestError(f"{tensor.name}.data", "got none, expected data, or binary_data_size among the parameters")
    values = [value for each in tensor.data for value in (each if isinstance(each, list) else (each,))]
    if len(values) != count:
        raise BadRequestError(f"{tensor.name}.data", f"got {len(values)} values, expected {count}, as its shape {tensor.shape} says")
    if tensor.datatype == BYTES:
        _check_types(tensor, values, "texts", (str,))
        return values
    return _of_json(tensor, values)


def _of_json(tensor: InputTensor, values: list[Any]) -> list[Any]:
    dtype = np.dtype(DATATYPES[tensor.datatype])
    _check_types(tensor, values, *_IN_JSON[dtype.kind])
    converted: list[Any] = []
    with np.errstate(over="ignore"):  # what is too large for a float becomes infinite, which no field takes
        for index, value in enumerate(values):
            try:
                converted.append(None if value is None else dtype.type(value).item())
            except OverflowError as error:
                raise BadRequestError(f"{tensor.name}.data[{index}]", f"got {reprlib.repr(value)}, expected {tensor.datatype}") from error
    return converted


def _check_types(tensor: InputTensor, values: Sequence[Any], expected: str, types: tuple[type, ...]) -> None:
    for index, value in enumerate(values):
        if value is not None and type(value) not in types:
            got = f"got {reprlib.repr(value)}, expected {expected} in {tensor.datatype}, or null where it is missing"
            raise BadRequestError(f"{tensor.name}.data[{index}]", got)


def _numbers(tensor: InputTensor, raw: bytes, count: int) -> list[Any]:
    dtype = np.dtype(DATATYPES[tensor.datatype])
    if len(raw) != count * dtype.itemsize:
        expected = f"{count * dtype.itemsize}, as {tensor.datatype} of shape {tensor.shape} has"
        raise BadRequestError(f"{tensor.name}.data", f"got {len(raw)} bytes, expected {expected}")
    numbers: list[Any] = (np.frombuffer(raw, np.uint8) != 0 if dtype.kind == "b" else np.frombuffer(raw, dtype)).tolist()
    return numbers


def _texts(tensor: InputTensor, raw: bytes, count: int) -> list[str]:
    """Return texts, each of which follows its length in four bytes."""
    texts: list[str] = []
    start = 0
    while start < len(raw) and len(texts) < count:
        (length,) = struct.unpack_from("<I", raw, start) if start + 4 <= len(raw) else (len(raw),)
        text, start = raw[start + 4 : start + 4 + length], start + 4 + length
        try:
            texts.append(text.decode())
        except UnicodeDecodeError as error:
            got = f"got {reprlib.repr(text)}, expected UTF-8"
            raise BadRequestError(f"{tensor.name}.data[{len(texts)}]", got) from error
        if len(texts[-1]) > MAX_TEXT:
            got = f"got {len(texts[-1]):,} characters, expected at most {MAX_TEXT:,}"
            raise BadRequestError(f"{tensor.name}.data[{len(texts) - 1}]", got)
    if start != len(raw) or len(texts) != count:
        expected = f"{count} texts, each after its length in 4 bytes, as its shape {tensor.shape} says"
        raise BadRequestError(
            f"{tensor.name}.data", f"got {len(raw)} bytes that hold {len(texts)} whole texts or fewer, expected {expected}"
        )
    return texts
