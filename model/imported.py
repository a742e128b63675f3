"""Begin a model with weights from elsewhere: its parameters by name, and an embedding for each value.

Accumulators, records, the counts of the base rate and, with them, the bias begin as those of a new model.

Axes: R rows, d the width of an embedding.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.array_file import Arrays
from model.encoding.keys import FeatureError, Value, key_of
from model.layout import Layout
from model.migrate import placed
from model.online import OnlineModel
from model.settings import Spec
from model.weights import Weights

_OPTIONAL = "defaults"  # embeddings of values never seen: else they are drawn, as for a new model


class ImportedModelError(ValueError):
    """What is to be imported is not of this model."""


class EmbeddingRows(NamedTuple):
    """Rows of the table."""

    keys: NDArray[np.uint64]  # (R,)
    rows: NDArray[Any]  # (R, d + 1): embedding, wide weight


def begin_with(spec: Spec, parameters: Mapping[str, NDArray[Any]], rows: EmbeddingRows) -> OnlineModel:
    """Return a model that begins with these parameters and rows.

    Raises:
        ImportedModelError: a parameter is missing, unknown, or of another shape or type; a number is not finite; rows don't fit.
    """
    weights, layout = Weights(spec), Layout(spec)
    unknown = sorted(parameters.keys() - layout.parameters.keys())
    if unknown:
        raise ImportedModelError(f"tensor {unknown[0]}: this model has none of that name, expected {', '.join(layout.parameters)}")
    for name, parameter in layout.parameters.items():
        if name in parameters:
            parameter.of(weights.dense)[...] = _checked(f"tensor {name}", parameters[name], parameter.shape)
        elif name != _OPTIONAL:
            raise ImportedModelError(f"tensor {name}: got none, expected float32 of shape {parameter.shape}")
    _put(weights, rows)
    return OnlineModel.of_weights(weights, 0)


def embedding_rows(
    spec: Spec, fields: Sequence[str], ids: Sequence[Value], embeddings: Sequence[Any], wide: Sequence[Any]
) -> EmbeddingRows:
    """Return the rows of R values, given by field, value, embedding and wide weight.

    Raises:
        ImportedModelError: a field is unknown, a value has no row of its own, or occurs twice; an embedding has another width.
    """
    by_name = {field.name: field for field in spec.fields}
    seen: dict[int, int] = {}
    rows = np.empty((len(fields), spec.model.embedding + 1), np.float32)
    for row, (name, value, embedding) in enumerate(zip(fields, ids, embeddings, strict=True)):
        if name not in by_name:
            raise ImportedModelError(f"row {row}: field: got {name!r}, expected one of {', '.join(by_name)}")
        try:
            key = key_of(by_name[name], value)
        except FeatureError as error:
            raise ImportedModelError(f"row {row}: id: {error}") from error
        if (first := seen.setdefault(key, row)) != row:
            raise ImportedModelError(f"row {row}: id: got {value!r} of {name} again, expected it in row {first} only")
        try:
            rows[row, :-1] = _checked(f"row {row}: embedding", np.array(embedding, np.float32), (spec.model.embedding,))
            rows[row, -1] = _checked(f"row {row}: wide", np.array(wide[row], np.float32), ())
        except TypeError as error:
            raise ImportedModelError(f"row {row}: got {embedding!r} and {wide[row]!r}, expected numbers") from error
    return EmbeddingRows(np.array(list(seen), np.uint64), rows)


def exported_rows(spec: Spec, tensors: dict[str, NDArray[Any]]) -> EmbeddingRows | None:
    """Take the table out of the tensors that ``sml export`` wrote, and return its rows; None if they have none. Records are let go.

    Raises:
        ImportedModelError: a tensor of the table is missing, or of another shape or type; a number is not finite.
    """
    names = ("table.key", "table.embedding", "table.wide")
    taken = {name: tensors.pop(name) for name in (*names, "table.record", "stream.record") if name in tensors}
    if not taken:
        return None
    for name in names:
        if name not in taken:
            raise ImportedModelError(f"tensor {name}: got none, expected it beside {', '.join(taken)}")
    keys, embeddings, wide = (taken[name] for name in names)
    if keys.dtype != np.uint64 or keys.ndim != 1 or len(np.unique(keys)) < len(keys) or not keys.all():
        raise ImportedModelError(f"tensor table.key: got {keys.dtype} of shape {keys.shape}, expected distinct uint64 above 0, in a vector")
    _checked("tensor table.embedding", embeddings, (len(keys), spec.model.embedding))
    _checked("tensor table.wide", wide, keys.shape)
    return EmbeddingRows(keys, np.column_stack([embeddings, wide]))


def _checked(name: str, array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    if array.dtype != np.float32 or array.shape != shape:
        raise ImportedModelError(f"{name}: got {array.dtype} of shape {array.shape}, expected float32 of shape {shape}")
    if not np.isfinite(array).all():
        raise ImportedModelError(f"{name}: got a number that is not finite, expected finite numbers")
    return array


def _put(weights: Weights, rows: EmbeddingRows) -> None:
    """Put rows in their places of the table."""
    count, capacity = len(rows.keys), len(weights.keys)
    arrays: Arrays = {"keys": rows.keys, "rows": rows.rows, "row_sums": rows.rows, "used": np.zeros(count, np.int64)}
    arrays |= {"positions": np.arange(count), "counts": np.zeros(2, np.int64)}
    held = placed(arrays, 0, capacity)
    positions = held["positions"]
    if len(positions) < count:
        raise ImportedModelError(
            f"table.capacity: got {capacity:,}, of which {count - len(positions):,} of {count:,} rows find their set full: expected more"
        )
    weights.keys[positions], weights.rows[positions] = held["keys"], held["rows"]
    weights.rehash(positions)
