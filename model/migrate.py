"""Fields come and go while a model learns: convert its state to other fields, without learning anything anew.

What is learned of the fields that stay is carried over: their rows of the table, their part of each parameter, the accumulators.
A new field has no weight wherever its embedding enters the network, so predictions stay, within rounding. In ``deepfm`` and ``autoint``
fields meet without a weight between them, and predictions stay within what an embedding never learned adds. A removed field's rows
age out of the table. A field whose kind has changed is another field: it has other keys.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.array_file import Arrays
from model.layout import Layout
from model.online import OnlineModel
from model.settings import Field, Spec


class MigrationError(ValueError):
    """The settings differ in more than their fields."""


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
        source, axes = before.parameters[name], parameter.axes
        _carry(source.of(arrays["dense"]), parameter.of(dense), (*axes.rows, *axes.columns), kept)
        _carry(source.accumulators_of(arrays["dense_sums"]), parameter.accumulators_of(accumulators), axes.rows, kept)
    return arrays | {"dense": dense, "dense_sums": accumulators}


class _Kept(NamedTuple):
    """The fields that stay, by their indices before and after."""

    old: list[int]
    new: list[int]
    old_fields: int
    new_fields: int


def _kept(old: tuple[Field, ...], new: tuple[Field, ...]) -> _Kept:
    indices = {(field.name, field.kind): index for index, field in enumerate(old)}
    both = [(indices[field.name, field.kind], index) for index, field in enumerate(new) if (field.name, field.kind) in indices]
    return _Kept([before for before, _ in both], [after for _, after in both], len(old), len(new))


def _carry(source: NDArray[np.floating], target: NDArray[np.floating], axes: tuple[int, ...], kept: _Kept) -> None:
    """Copy what belongs to fields that stay; ``target`` is a view. An axis of length ``FIELD``, 0, has one entry for each field."""
    read = source.reshape([length or kept.old_fields for length in axes])
    written = target.reshape([length or kept.new_fields for length in axes])
    from_indices = [range(length) if length else kept.old for length in axes]
    to_indices = [range(length) if length else kept.new for length in axes]
    written[np.ix_(*to_indices)] = read[np.ix_(*from_indices)]
