"""Fields come and go while a model learns: its state under other fields, without learning anything anew.

What is learned of the fields that stay is carried over: their rows of the table, their part of each parameter, the accumulators.
A new field has no weight wherever its embedding enters the network, so predictions stay, within rounding; in ``deepfm`` and ``autoint``
fields meet without a weight between them, and predictions stay within what an embedding never learned adds. A removed field's rows
age out of the table. A field whose kind has changed is another field: its keys are others.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.array_file import Arrays
from model.layout import Layout
from model.online import OnlineModel
from model.settings import Field, Spec

_FIELD = 0  # stands for the number of fields in a shape; no real extent is 0


class MigrationError(ValueError):
    """The settings differ in more than their fields."""


class _Shape(NamedTuple):
    """How a parameter's rows and columns are made up, with ``_FIELD`` where there is one for each field."""

    rows: tuple[int, ...]
    columns: tuple[int, ...] = ()


def migrate(arrays: Arrays, old: Spec, new: Spec) -> Arrays:
    """Return the state of a model (:meth:`~model.online.OnlineModel.state`) under the fields of another spec.

    Raises:
        MigrationError: the specs differ in more than their fields.
    """
    if old.model_copy(update={"fields": new.fields}) != new:
        differing = [name for name in ("model", "table", "label_policy") if getattr(old, name) != getattr(new, name)]
        raise MigrationError(f"expected other fields and nothing else, got another {' and '.join(differing)}")
    fresh = OnlineModel(new)
    dense, accumulators = np.empty_like(fresh.weights.dense), fresh.accumulators
    before, after, kept = Layout(old), fresh.weights.layout, _kept(old.fields, new.fields)
    for name, parameter in after.parameters.items():
        parameter.of(dense)[...] = parameter.mean if name != "defaults" else parameter.of(fresh.weights.dense)
        shape, source = _shape(name, new), before.parameters[name]
        _carry(source.of(arrays["dense"]), parameter.of(dense), (*shape.rows, *shape.columns), kept)
        _carry(source.accumulators_of(arrays["dense_sums"]), parameter.accumulators_of(accumulators), shape.rows, kept)
    return arrays | {"dense": dense, "dense_sums": accumulators}


class _Kept(NamedTuple):
    """The indices of the fields that stay, before and after."""

    old: list[int]
    new: list[int]
    old_fields: int
    new_fields: int


def _kept(old: tuple[Field, ...], new: tuple[Field, ...]) -> _Kept:
    indices = {(field.name, field.kind): index for index, field in enumerate(old)}
    both = [(indices[field.name, field.kind], index) for index, field in enumerate(new) if (field.name, field.kind) in indices]
    return _Kept([before for before, _ in both], [after for _, after in both], len(old), len(new))


def _carry(source: NDArray[np.floating], target: NDArray[np.floating], shape: tuple[int, ...], kept: _Kept) -> None:
    """Copy what belongs to fields that stay; ``target`` is a view."""
    read = source.reshape([extent or kept.old_fields for extent in shape])
    written = target.reshape([extent or kept.new_fields for extent in shape])
    from_places = [range(extent) if extent else kept.old for extent in shape]
    to_places = [range(extent) if extent else kept.new for extent in shape]
    written[np.ix_(*to_places)] = read[np.ix_(*from_places)]


def _shape(name: str, spec: Spec) -> _Shape:
    """Return how a parameter is made up; see :class:`~model.layout.Layout`."""
    flat = (_FIELD, spec.model.embedding)
    shape = Layout(spec).parameters[name].shape
    match spec.model.network, name.split("."):
        case _, ["defaults"]:
            return _Shape((_FIELD,), shape[1:])
        case _, ["tower", "0", "weight"]:
            return _Shape(flat, shape[1:])
        case "dcn" | "dcn_v2", ["branch", *_]:
            return _Shape(flat, flat if len(shape) > 1 else ())
        case "xdeepfm", ["branch", layer, "weight"]:
            return _Shape((_FIELD if layer == "0" else spec.model.cin[int(layer) - 1], _FIELD), shape[1:])
        case "autoint", ["branch", "output"]:
            return _Shape((_FIELD, shape[0] // len(spec.fields)))
    return _Shape(shape[:1], shape[1:])
