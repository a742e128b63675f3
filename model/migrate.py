"""Fields come and go while a model learns, and records come: convert its state to them, without learning anything anew.

What is learned of the fields that stay is carried over: their rows of the table, their part of each parameter, the accumulators.
A new field has no weight wherever its embedding enters the network, so predictions stay, within rounding. In ``deepfm`` and ``autoint``
fields meet without a weight between them, and predictions stay within what an embedding never learned adds. A removed field's rows
age out of the table. A field whose kind has changed is another field: it has other keys. Records that are new start empty, and have no
weight. Where labels take another time to be known, those that wait in a record may show one such time too early or too late.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.array_file import Arrays
from model.kernels.record import BUCKET, LOW_BITS
from model.layout import Layout
from model.online import OnlineModel
from model.settings import Field, ModelSettings, Spec
from model.weights import Weights


class MigrationError(ValueError):
    """The settings differ in more than their fields and records."""


def migrate(arrays: Arrays, old: Spec, new: Spec) -> Arrays:
    """Return the state of a model (:meth:`~model.online.OnlineModel.state`) under the fields, and with the records, of another spec.

    Raises:
        MigrationError: the specs differ in more.
    """
    recorded = {"fields": new.fields, "label_delay": new.label_delay, "model": _with_records_of(old, new)}
    if old.model_copy(update=recorded) != new:
        differing = [name for name in ("model", "table", "label_policy") if {**dict(old), **recorded}[name] != getattr(new, name)]
        raise MigrationError(f"expected other fields and nothing else, got another {' and '.join(differing)}")
    fresh = OnlineModel(new)
    dense, accumulators = np.empty_like(fresh.weights.dense), fresh.accumulators
    before, after, kept = Layout(old), fresh.weights.layout, _kept(old.fields, new.fields)
    for name, parameter in after.parameters.items():
        parameter.of(dense)[...] = parameter.mean if name != "defaults" else parameter.of(fresh.weights.dense)
        if name not in before.parameters:  # of records that are new
            continue
        source, axes = before.parameters[name], parameter.axes
        _carry(source.of(arrays["dense"]), parameter.of(dense), (*axes.rows, *axes.columns), kept)
        _carry(source.accumulators_of(arrays["dense_sums"]), parameter.accumulators_of(accumulators), axes.rows, kept)
    return arrays | {"dense": dense, "dense_sums": accumulators} | _records(arrays, old, new, fresh.weights)


def _with_records_of(old: Spec, new: Spec) -> ModelSettings:
    return old.model.model_copy(update={"records": new.model.records})


def _records(arrays: Arrays, old: Spec, new: Spec, empty: Weights) -> Arrays:
    """Return the records under another delay of labels; those of ``empty`` weights if there were none."""
    if not new.model.records:
        return {}
    if not old.model.records:
        return {"records": empty.records.counts[np.append(arrays["positions"], len(empty.keys))]}
    records = arrays["records"].copy()
    high, low = records[:, BUCKET : BUCKET + 2].astype(np.int64).T
    newest = ((high << LOW_BITS) + low) * max(old.label_delay, 1) // max(new.label_delay, 1)
    records[:, BUCKET], records[:, BUCKET + 1] = newest >> LOW_BITS, newest & (2**LOW_BITS - 1)
    return {"records": records}


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
