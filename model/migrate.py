"""Settings change while a model learns: convert its state to them, without learning anything anew.

In place change fields, records, the step's rates and accumulators, the table, which may grow, and the click rate to begin with, which no
longer matters. Whatever else differs makes another model; it may begin with what fits of this one: rows where embeddings are as wide,
dense parameters where shapes agree, with accumulators.

What is learned of the fields that stay is carried over: their rows of the table, their part of each parameter, the accumulators.
A new field has no weight wherever its embedding enters the network, so predictions stay, within rounding. In ``deepfm`` and ``autoint``
fields meet without a weight between them, and predictions stay within what an embedding never learned adds. A removed field's rows
age out of the table. A field whose kind or bucket width has changed is another field, and so is what is made of it.
Records that are new start empty, and have no weight. Where labels take another time to be known, those that wait in a record may show
one such time too early or too late. In a table of another capacity every row is placed anew; a set that is too small for its rows
keeps those used last.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.array_file import Arrays
from model.kernels.rows.record import BUCKET, LOW_BITS
from model.kernels.rows.table import EXPIRED, OCCUPIED, WAYS
from model.layout import Layout, Parameter
from model.online import OnlineModel
from model.settings import Field, Spec
from model.weights import Weights

_OF_THE_STEP = (
    "tower_rate", "embedding_rate", "wide_rate", "tower_accumulator", "embedding_accumulator", "wide_accumulator", "accumulator_half_life",
)  # fmt: skip
_IN_PLACE = {"records", "click_rate", *_OF_THE_STEP}  # of the model's settings


class MigrationError(ValueError):
    """The settings differ in more than can be changed in place."""


def migrate(arrays: Arrays, old: Spec, new: Spec) -> Arrays:
    """Return the state of a model (:meth:`~model.online.OnlineModel.state`) under other settings, to go on from it in place.

    Raises:
        MigrationError: they differ in what can't be changed in place.
    """
    if old.label_policy != new.label_policy:
        raise MigrationError(f"label_policy: got {new.label_policy!r}, expected {old.label_policy!r}")
    for name, expected in old.model:
        if name not in _IN_PLACE and (got := getattr(new.model, name)) != expected:
            raise MigrationError(f"model.{name}: got {got!r}, expected {expected!r}")
    if new.table.capacity < old.table.capacity:
        raise MigrationError(f"table.capacity: got {new.table.capacity:,}, expected at least {old.table.capacity:,}")
    return convert(arrays, old, new)


def convert(arrays: Arrays, old: Spec, new: Spec) -> Arrays:
    """Return the state of a model of ``new`` settings that begins with all that fits of the state of one of ``old`` settings."""
    fresh = OnlineModel(new)
    dense, accumulators = fresh.weights.dense.copy(), fresh.accumulators.copy()
    before, kept = Layout(old), _kept(old.fields, new.fields)
    for name, parameter in fresh.weights.layout.parameters.items():
        source, axes = before.parameters.get(name), parameter.axes
        fits = _fits(name, source, parameter, old, new)
        if name == "records" or (fits and name != "defaults"):
            parameter.of(dense)[...] = parameter.mean
        if fits and source:
            _carry(source.of(arrays["dense"]), parameter.of(dense), (*axes.rows, *axes.columns), kept)
            _carry(source.accumulators_of(arrays["dense_sums"]), parameter.accumulators_of(accumulators), axes.rows, kept)
    rows = placed(_rows(arrays, old, new), old.table.capacity, new.table.capacity)
    counts = {"label_counts": fresh.label_counts} if _is_counted_anew(old, new) else {}
    return arrays | rows | counts | {"dense": dense, "dense_sums": accumulators} | _records(rows, old, new, fresh.weights)


def begins_anew(old: Spec, new: Spec) -> list[str]:
    """Return the names of the parameters that do not begin as those of the ``old`` settings."""
    before, after = Layout(old).parameters, Layout(new).parameters
    return [name for name, parameter in after.items() if not _fits(name, before.get(name), parameter, old, new)]


def _fits(name: str, source: Parameter | None, parameter: Parameter, old: Spec, new: Spec) -> bool:
    """Return whether a parameter begins as the one of this name in the other model: of this shape, but for the fields, and this meaning."""
    begins = name == "bias" and _is_counted_anew(old, new)
    return source is not None and source.axes == parameter.axes and not begins


def _is_counted_anew(old: Spec, new: Spec) -> bool:
    return new.model.base_rate and not old.model.base_rate


def _rows(arrays: Arrays, old: Spec, new: Spec) -> Arrays:
    """Return the arrays of the table's rows; none of them where embeddings have another width."""
    names = {"positions", "keys", "rows", "row_sums", "used", "counts", "records"} & arrays.keys()
    rows = {name: arrays[name] for name in names}
    if old.model.embedding == new.model.embedding:
        return rows
    width = new.model.embedding + 1
    empty = {name: array[:0] for name, array in rows.items()}
    empty |= {name: np.zeros((0, width), arrays[name].dtype) for name in ("rows", "row_sums")}
    of_stream = {"records": rows["records"][-1:]} if "records" in rows else {}
    return empty | {"counts": np.zeros_like(rows["counts"])} | of_stream


def placed(rows: Arrays, old: int, new: int) -> Arrays:
    """Return rows in the positions of a table of the capacity ``new``; where one set gets more than it holds, those used last."""
    if old == new:
        return rows
    high = np.uint64(32)
    first = ((((rows["keys"] >> high) * np.uint64(new // WAYS)) >> high) * np.uint64(WAYS)).astype(np.int64)  # as first_way has it
    order = np.lexsort((rows["positions"], -rows["used"], first))
    first = first[order]
    way = np.arange(len(first)) - np.searchsorted(first, first)
    held = way < WAYS
    chosen = order[held]
    placed = {name: rows[name][chosen] for name in ("keys", "rows", "row_sums", "used")}
    counts = rows["counts"].copy()
    counts[OCCUPIED], counts[EXPIRED] = len(chosen), counts[EXPIRED] + len(order) - len(chosen)
    records = {"records": rows["records"][np.append(chosen, -1)]} if "records" in rows else {}
    return {"positions": first[held] + way[held], **placed, "counts": counts, **records}


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
    indices = {keyed: index for index, keyed in enumerate(_keyed_by(old))}
    both = [(indices[keyed], index) for index, keyed in enumerate(_keyed_by(new)) if keyed in indices]
    return _Kept([before for before, _ in both], [after for _, after in both], len(old), len(new))


def _keyed_by(fields: tuple[Field, ...]) -> list[tuple[object, ...]]:
    """Return, for each field, what its keys are made by; a cross and an overlap have those of their two fields."""
    own = {field.name: (field.name, field.kind, field.bucket_width) for field in fields}
    return [(own[field.name], *(own[name] for name in field.of)) for field in fields]


def _carry(source: NDArray[np.floating], target: NDArray[np.floating], axes: tuple[int, ...], kept: _Kept) -> None:
    """Copy what belongs to fields that stay; ``target`` is a view. An axis of length ``FIELD``, 0, has one entry for each field."""
    read = source.reshape([length or kept.old_fields for length in axes])
    written = target.reshape([length or kept.new_fields for length in axes])
    from_indices = [range(length) if length else kept.old for length in axes]
    to_indices = [range(length) if length else kept.new for length in axes]
    written[np.ix_(*to_indices)] = read[np.ix_(*from_indices)]
