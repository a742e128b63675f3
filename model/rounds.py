"""A round: K ranks learn a share of the examples each, all from the same base, and then every rank merges what all have learned.

Learning a share is the learner's own step, one example after the other. Where rank i has made the base b into r_i, the merge is

    dense parameters and their accumulators   b + Σ_i (r_i − b) / K
    a row that m of the ranks have touched    b + Σ_i (r_i − b) / √m, and its accumulators b + Σ_i (r_i − b)
    counts (base rate, records)               b + Σ_i (r_i − b), scaled down to the memory of a record

in double precision, in the order of the ranks, so that the result is a function of base and shares alone, bit for bit, whoever computes
it. The examples count as if the shares had been learned one after the other, and rows give way by their last use in that order.

Axes: K ranks whose share is not empty, P dense parameters, A accumulators, R rows that a share has touched, G rows that any has.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from model.features import Features
from model.kernels.base_rate import log_odds_of
from model.kernels.record import BUCKET, COLUMNS, DECIDED, LOW_BITS, MEMORY, Records, advance_all
from model.kernels.table import find_all, place, reachable
from model.online import Learned, OnlineModel


class Share(NamedTuple):
    """The examples of one rank: what :meth:`~model.online.OnlineModel.learn` takes."""

    features: Features
    labels: NDArray[Any]  # (N,)
    importance: NDArray[Any] | None  # (N,)
    fnw: NDArray[np.bool_] | None  # (N,)

    def part(self, start: int, end: int) -> "Share":
        """Return some of the examples; the keys are not copied."""
        fields, (keys, starts, times) = (len(self.features.starts) - 1) // max(len(self.labels), 1), self.features
        features = Features(keys, starts[start * fields : end * fields + 1], times[start:end])
        importance, fnw = (None if each is None else each[start:end] for each in (self.importance, self.fnw))
        return Share(features, self.labels[start:end], importance, fnw)


class Update(NamedTuple):
    """What a share has made of the base."""

    examples: NDArray[np.int64]  # (1,), learned
    dense: NDArray[Any]  # (P,)
    accumulators: NDArray[Any]  # (A,)
    label_counts: NDArray[np.float64]  # (2,)
    stream_record: NDArray[Any]  # (1, COLUMNS); (0, COLUMNS) of a model without records, as in `records`
    keys: NDArray[np.uint64]  # (R,)
    fields: NDArray[np.int16]  # (R,), the field with whose default the row began; −1: it was in the base
    used: NDArray[np.int32]  # (R,), the example of the share that touched it last, counted from 1
    rows: NDArray[Any]  # (R, d + 1)
    row_accumulators: NDArray[Any]  # (R, d + 1)
    records: NDArray[Any]  # (R, COLUMNS)


def shares(count: int, ranks: int) -> list[slice]:
    """Return which of ``count`` neighbours each rank takes: as many as each other rank, the first ones up to one more.

    >>> shares(5, 2)
    [slice(0, 3, None), slice(3, 5, None)]
    """
    ends = [count * (rank + 1) // ranks + (count * (rank + 1) % ranks > 0) for rank in range(ranks)]
    return [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


class Ranks(Protocol):
    """Who learns the rounds."""

    def learn(self, model: OnlineModel, parts: Sequence[Share]) -> tuple[Learned, int]:
        """Learn a share each, and return the result of all with the number of ranks that have learned it: 1 where some were lost."""
        ...

    def forget(self, key: int) -> None:
        """Do what the model was told to."""
        ...


class OneProcess:
    """Learns the shares of all ranks one after the other; a round of one rank is learning as it is without rounds."""

    def learn(self, model: OnlineModel, parts: Sequence[Share]) -> tuple[Learned, int]:
        """Learn a round."""
        if len(parts) == 1:
            return model.learn(*parts[0]), 1
        learned, updates = zip(*(learn_share(model, part) for part in parts), strict=True)
        merge(model, updates)
        return together(learned), len(parts)

    def forget(self, key: int) -> None:
        """Do nothing: there is no other model."""


def together(learned: Sequence[Learned]) -> Learned:
    """Return the results of shares as that of all their examples."""
    starts = np.cumsum([0, *(len(each.logits) for each in learned)]).tolist()
    undone = [start + n for start, each in zip(starts, learned, strict=False) for n in each.undone]
    return Learned(np.concatenate([each.logits for each in learned]), undone)


def learn_share(model: OnlineModel, share: Share) -> tuple[Learned, Update]:
    """Learn the examples of one rank, and return the result beside what it has made of the base; the model is the base again."""
    base = _Base.of(model, share.features)
    model.in_round = True
    learned = model.learn(*share)
    model.in_round = False
    update = base.update_of(model)
    base.restore(model)
    return learned, update


def merge(model: OnlineModel, updates: Sequence[Update]) -> None:
    """Make the base into what all ranks have learned from it; ``updates`` are in the order of the ranks."""
    updates = [update for update in updates if update.examples[0]]
    if not updates:
        return
    _merge_dense(model, updates)
    _merge_rows(model, updates)
    before, half_life = model.examples, model.half_life
    model.examples += sum(int(update.examples[0]) for update in updates)
    if half_life and before // half_life < model.examples // half_life:
        model.halve_accumulators()


def _merge_dense(model: OnlineModel, updates: Sequence[Update]) -> None:
    """Merge what is not of the table's rows."""
    dense, bias = model.weights.dense, model.weights.layout.bias.start
    counts = _moved(model.label_counts, [update.label_counts for update in updates])
    np.maximum(counts, 0, out=counts)
    changed = _moved(dense, [update.dense for update in updates], 1 / len(updates))
    if model.spec.model.base_rate:  # it is counted by all, and only what is left of the bias is learned by each
        counted = [log_odds_of(update.label_counts) for update in updates]
        changed[bias] += log_odds_of(counts) - sum(counted) / len(updates)
    dense[...] = changed
    model.accumulators[...] = _moved(model.accumulators, [update.accumulators for update in updates], 1 / len(updates))
    model.label_counts[...] = counts
    if model.spec.model.records:
        of_stream = model.table.records.counts[-1:]
        everywhere = [(np.zeros(1, np.int64), update.stream_record, np.zeros(1, np.bool_)) for update in updates]
        of_stream[...] = _merged_records(of_stream, everywhere, model.table.records.delay)


def _moved(base: NDArray[Any], results: Sequence[NDArray[Any]], share: float = 1.0) -> NDArray[np.float64]:
    """Return ``b + share Σ_i (r_i − b)``, in the order of the ranks."""
    start, total = base.astype(np.float64), np.zeros(base.shape)
    for result in results:
        total += result - start
    return start + total * share


def _merge_rows(model: OnlineModel, updates: Sequence[Update]) -> None:
    """Merge the table's rows, then give each value that is new to the base a row, in the order of the ranks and of their rows."""
    table = model.table
    keys, first, inverse = np.unique(np.concatenate([update.keys for update in updates]), return_index=True, return_inverse=True)  # (G,)
    groups = np.split(inverse, np.cumsum([len(update.keys) for update in updates])[:-1])  # rank → (R,), each row's index in (G,)
    found = find_all(table.keys, keys)  # (G,)
    base_rows, base_accumulators = table.rows[found].astype(np.float64), table.accumulators[found].astype(np.float64)
    base_rows[found < 0], base_accumulators[found < 0] = _defaults(model, updates, groups, len(keys))[found < 0], model.first_of_row()
    moved, added = np.zeros_like(base_rows), np.zeros_like(base_rows)
    used, touched, before = np.zeros(len(keys), np.int64), np.zeros(len(keys)), model.examples
    for update, group in zip(updates, groups, strict=True):
        began = update.fields >= 0
        start, start_accumulators = base_rows[group], base_accumulators[group]
        start[began], start_accumulators[began] = _start_rows(model, update.fields[began]), model.first_of_row()
        moved[group] += update.rows - start
        added[group] += update.row_accumulators - start_accumulators
        touched[group] += 1
        used[group] = before + update.used
        before += int(update.examples[0])
    rows, accumulators = base_rows + moved / np.sqrt(touched)[:, None], base_accumulators + added
    new = np.flatnonzero(found < 0)
    positions = _positions(model, keys, found, used, new[np.argsort(first[new])])
    kept = positions >= 0  # else the examples after it use all rows of its set
    records = _records_of_rows(model, updates, groups, found) if model.spec.model.records else None
    at = positions[kept]
    table.rows[at], table.accumulators[at] = rows[kept], accumulators[kept]
    if records is not None:
        table.records.counts[at] = records[kept]


def _positions(
    model: OnlineModel, keys: NDArray[np.uint64], found: NDArray[np.int64], used: NDArray[np.int64], new: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Mark the rows as used, place the ``new`` ones, and return where all lie, ``(G,)``: −1 for one that has no room, or has made room."""
    table, positions, old = model.table, found.copy(), found >= 0
    table.used[found[old]] = used[old]
    table.touched[found[old]] = True
    positions[new] = place(table, keys[new], used[new])
    positions[(positions >= 0) & (table.keys[positions] != keys)] = -1
    return positions


def _start_rows(model: OnlineModel, fields: NDArray[np.int16]) -> NDArray[np.float64]:
    """Return what new rows of these fields begin with: the default embedding, and no wide weight."""
    defaults = model.weights.layout.defaults.of(model.weights.dense)
    return np.pad(defaults[fields].astype(np.float64), ((0, 0), (0, 1)))


def _defaults(model: OnlineModel, updates: Sequence[Update], groups: Sequence[NDArray[Any]], count: int) -> NDArray[np.float64]:
    """Return what each row begins with if it is new, ``(G, d + 1)``."""
    fields = np.zeros(count, np.int16)
    for update, group in zip(updates, groups, strict=True):
        fields[group] = np.maximum(update.fields, 0)
    return _start_rows(model, fields)


def _records_of_rows(
    model: OnlineModel, updates: Sequence[Update], groups: Sequence[NDArray[Any]], found: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the merged records of the rows, ``(G, COLUMNS)``."""
    base = model.table.records.counts[found]
    base[found < 0] = 0
    results = [(group, update.records, update.fields >= 0) for update, group in zip(updates, groups, strict=True)]
    return _merged_records(base, results, model.table.records.delay)


def _merged_records(
    base: NDArray[Any], results: Sequence[tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]], delay: int
) -> NDArray[np.float64]:
    """Return the records of G rows, each moved to the newest bucket that any rank has seen it in, with the counts of all.

    Args:
        base: ``(G, COLUMNS)``.
        results: of each rank, which of the G its R rows are, their records, and whether they began in this round.
        delay: the length of a bucket, ms.
    """
    buckets = _buckets(base)
    for group, records, _ in results:
        buckets[group] = np.maximum(buckets[group], _buckets(records))
    start = _advanced(base, buckets, delay)
    merged = start.astype(np.float64)
    for group, records, began in results:
        merged[group] += _advanced(records, buckets[group], delay) - np.where(began[:, None], 0, start[group].astype(np.float64))
    np.maximum(merged, 0, out=merged)
    merged[:, BUCKET], merged[:, BUCKET + 1] = buckets >> LOW_BITS, buckets & (2**LOW_BITS - 1)
    over = merged[:, DECIDED] > MEMORY
    merged[over, DECIDED + 1] *= MEMORY / merged[over, DECIDED]
    merged[over, DECIDED] = MEMORY
    return merged


def _buckets(records: NDArray[Any]) -> NDArray[np.int64]:
    """Return the newest bucket of each record."""
    return (records[:, BUCKET].astype(np.int64) << LOW_BITS) + records[:, BUCKET + 1].astype(np.int64)


def _advanced(records: NDArray[Any], buckets: NDArray[np.int64], delay: int) -> NDArray[Any]:
    """Return the records as they are in later buckets."""
    moved = np.ascontiguousarray(records).copy()
    advance_all(Records(moved, delay), buckets)
    return moved


class _Base(NamedTuple):
    """What a share may change, as it was before."""

    examples: int
    dense: NDArray[Any]
    accumulators: NDArray[Any]
    label_counts: NDArray[np.float64]
    counts: NDArray[np.int64]  # the table's
    stream_record: NDArray[Any]
    features: Features
    new: NDArray[np.int64]  # which of their keys had no row
    positions: NDArray[np.int64]  # of the rows that it may touch
    keys: NDArray[np.uint64]
    used: NDArray[np.int64]
    touched: NDArray[np.bool_]
    rows: NDArray[Any]
    row_accumulators: NDArray[Any]
    records: NDArray[Any]

    @classmethod
    def of(cls, model: OnlineModel, features: Features) -> Self:
        """Copy what learning ``features`` may change: the rows of their keys, and where a key has none, all rows of its set."""
        table, counts = model.table, model.table.records.counts
        at, new = reachable(table.keys, features.keys[features.starts[0] : features.starts[-1]])
        return cls(
            model.examples,
            model.weights.dense.copy(),
            model.accumulators.copy(),
            model.label_counts.copy(),
            table.counts.copy(),
            counts[-1:].copy(),
            features,
            new,
            at,
            table.keys[at],
            table.used[at],
            table.touched[at],
            table.rows[at],
            table.accumulators[at],
            counts[at] if len(counts) else np.zeros((len(at), COLUMNS), counts.dtype),
        )

    def update_of(self, model: OnlineModel) -> Update:
        """Return what the model has learned since."""
        table, counts = model.table, model.table.records.counts
        changed = np.flatnonzero(table.used[self.positions] > self.examples)
        at = self.positions[changed]
        keys = table.keys[at]
        began_again = (table.accumulators[at] < self.row_accumulators[changed]).any(axis=1)  # after it had given way: they only grow
        began = (keys != self.keys[changed]) | began_again
        fields = np.full(len(keys), -1, np.int16)
        fields[began] = self._fields_of(keys[began], len(model.spec.fields))
        return Update(
            np.array([model.examples - self.examples], np.int64),
            model.weights.dense.copy(),
            model.accumulators.copy(),
            model.label_counts.copy(),
            counts[-1:].copy(),
            keys,
            fields,
            (table.used[at] - self.examples).astype(np.int32),
            table.rows[at],
            table.accumulators[at],
            counts[at] if len(counts) else np.zeros((0, COLUMNS), counts.dtype),
        )

    def _fields_of(self, wanted: NDArray[np.uint64], fields: int) -> NDArray[np.int64]:
        """Return the field of each key: it is among those that had no row, or had given way before it came again."""
        keys, starts, _ = self.features
        among = starts[0] + self.new
        if not np.isin(wanted, keys[among]).all():
            among = np.arange(starts[0], starts[-1])
        known, first = np.unique(keys[among], return_index=True)
        indices = among[first][np.searchsorted(known, wanted)]
        of: NDArray[np.int64] = (np.searchsorted(starts, indices, side="right") - 1) % fields
        return of

    def restore(self, model: OnlineModel) -> None:
        """Make the model what it was."""
        table, at = model.table, self.positions
        model.examples = self.examples
        model.weights.dense[...], model.accumulators[...], model.label_counts[...] = self.dense, self.accumulators, self.label_counts
        table.counts[...], table.records.counts[-1:] = self.counts, self.stream_record
        table.keys[at], table.used[at], table.touched[at] = self.keys, self.used, self.touched
        table.rows[at], table.accumulators[at] = self.rows, self.row_accumulators
        if len(table.records.counts):
            table.records.counts[at] = self.records
