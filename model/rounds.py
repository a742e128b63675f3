"""A round: K ranks learn a part of the examples each, all from the same base, and then every rank merges what all have learned.

Learning a part is the learner's own step, one example after the other. Where rank i has made the base b into r_i, the merge is

    dense parameters and their accumulators   b + Σ_i (r_i − b) / K
    a row that m of the ranks have touched    b + Σ_i (r_i − b) / √m, and its accumulators b + Σ_i max(r_i − b, 0)
    a row that is new to the base             Σ_i r_i / m, and its accumulators as if those of the base were the first ones
    counts (base rate, records)               b + Σ_i (r_i − b), scaled down to the memory of a record

in double precision, in the order of the ranks, so that the result is a function of base and parts alone, bit for bit, whoever computes
it. An accumulator is below the base's where a value has given way and come again. The examples count as if the parts had been learned
one after the other, and rows give way by their last use in that order.

Axes: K ranks whose part is not empty, P dense parameters, A accumulators, R rows that a part has touched.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from model.encoding.features import Features
from model.kernels.base_rate import log_odds_of
from model.kernels.rows.journal import Journal
from model.kernels.rows.merge import Moved, merge_rows, merge_stream_record
from model.kernels.rows.record import Records
from model.online import Learned, OnlineModel

_BLOCK = 16_384  # numbers that the caches hold while all ranks' are added


class Part(NamedTuple):
    """The examples of one rank: what :meth:`~model.online.OnlineModel.learn` takes."""

    features: Features
    labels: NDArray[Any]  # (N,)
    importance: NDArray[Any] | None  # (N,)
    fnw: NDArray[np.bool_] | None  # (N,)

    def between(self, start: int, end: int) -> "Part":
        """Return some of the examples; the keys are not copied."""
        fields, (keys, starts, times) = (len(self.features.starts) - 1) // max(len(self.labels), 1), self.features
        features = Features(keys, starts[start * fields : end * fields + 1], times[start:end])
        importance, fnw = (None if each is None else each[start:end] for each in (self.importance, self.fnw))
        return Part(features, self.labels[start:end], importance, fnw)


class Update(NamedTuple):
    """What a part has made of the base; the arrays of 8 bytes come first."""

    examples: NDArray[np.int64]  # (1,), learned
    label_counts: NDArray[np.float64]  # (2,)
    keys: NDArray[np.uint64]  # (R,), ascending
    used: NDArray[np.int64]  # (R,), the example of the part that touched it last, counted from 1
    dense: NDArray[Any]  # (P,)
    accumulators: NDArray[Any]  # (A,)
    stream_record: NDArray[Any]  # (1, COLUMNS); (0, COLUMNS) of a model without records, as in `records`
    rows: NDArray[Any]  # (R, d + 1)
    row_accumulators: NDArray[Any]  # (R, d + 1)
    records: NDArray[Any]  # (R, COLUMNS)


def split(count: int, ranks: int) -> list[slice]:
    """Return which of ``count`` neighbours each rank takes: as many as each other rank, the first ones up to one more.

    >>> split(5, 2)
    [slice(0, 3, None), slice(3, 5, None)]
    """
    ends = [count * (rank + 1) // ranks + (count * (rank + 1) % ranks > 0) for rank in range(ranks)]
    return [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


class Ranks(Protocol):
    """Who learns the rounds."""

    def learn(self, model: OnlineModel, parts: Sequence[Part]) -> tuple[Learned, int]:
        """Learn a part each, and return the result of all with the number of ranks that have learned it: 1 where some were lost."""
        ...

    def forget(self, key: int) -> None:
        """Do what the model was told to."""
        ...


class OneProcess:
    """Learns the parts of all ranks one after the other; a round of one rank is learning as it is without rounds."""

    def learn(self, model: OnlineModel, parts: Sequence[Part]) -> tuple[Learned, int]:
        """Learn a round."""
        if len(parts) == 1:
            return model.learn(*parts[0]), 1
        learned, updates = zip(*(learn_part(model, part) for part in parts), strict=True)
        merge(model, updates)
        return together(learned), len(parts)

    def forget(self, key: int) -> None:
        """Do nothing: there is no other model."""


def together(learned: Sequence[Learned]) -> Learned:
    """Return the results of parts as that of all their examples."""
    starts = np.cumsum([0, *(len(each.logits) for each in learned)]).tolist()
    undone = [start + n for start, each in zip(starts, learned, strict=False) for n in each.undone]
    return Learned(np.concatenate([each.logits for each in learned]), undone)


def learn_part(model: OnlineModel, part: Part) -> tuple[Learned, Update]:
    """Learn the examples of one rank, and return the result beside what it has made of the base; the model is the base again."""
    before = model.examples
    with model.apart(part.features) as journal:
        learned = model.learn(*part)
        return learned, _update_of(model, journal, before)


def _update_of(model: OnlineModel, journal: Journal, before: int) -> Update:
    """Return what the model has learned since the example ``before``; a row's first entry in the journal is of its use until then."""
    table, entries, of_stream = model.table, int(journal.length[0]), model.table.records.counts[-1:]
    at = journal.row[:entries][journal.used[:entries] <= before]
    at = at[np.argsort(table.keys[at])]
    return Update(
        np.array([model.examples - before], np.int64),
        model.label_counts.copy(),
        table.keys[at],
        table.used[at] - before,
        model.weights.dense.copy(),
        model.accumulators.copy(),
        of_stream.copy(),
        table.rows[at],
        table.accumulators[at],
        table.records.counts[at] if len(of_stream) else of_stream.copy(),
    )


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
        of_stream = Records(np.concatenate([update.stream_record for update in updates]), model.table.records.delay)
        merge_stream_record(model.table.records, of_stream, np.arange(len(updates)))


def _moved(base: NDArray[Any], results: Sequence[NDArray[Any]], factor: float = 1.0) -> NDArray[np.float64]:
    """Return ``b + factor Σ_i (r_i − b)``, in the order of the ranks."""
    moved = np.empty(base.shape)
    for block in (slice(start, start + _BLOCK) for start in range(0, len(base), _BLOCK)):
        start, total = base[block].astype(np.float64), moved[block]
        total[...] = 0
        for result in results:
            total += result[block] - start
        total *= factor
        total += start
    return moved


def _merge_rows(model: OnlineModel, updates: Sequence[Update]) -> None:
    """Merge the table's rows, and give each value that is new to the base a row."""
    table, ends = model.table, np.cumsum([len(update.keys) for update in updates])
    before = model.examples + np.cumsum([0, *(int(update.examples[0]) for update in updates)])
    moved = Moved(
        ends,
        np.concatenate([update.keys for update in updates]),
        np.concatenate([update.used + start for update, start in zip(updates, before, strict=False)]),
        np.concatenate([update.rows for update in updates]),
        np.concatenate([update.row_accumulators for update in updates]),
        Records(np.concatenate([update.records for update in updates]), table.records.delay),
    )
    merge_rows(table, moved, model.first_of_row(), np.append(0, ends[:-1]), np.empty_like(ends), np.empty(ends[-1], np.int64))
