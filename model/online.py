"""A model that learns online: the weights that predict, and the state that the next step needs.

The state is flat named arrays that the kernels work on in place; it depends on the order of the examples alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from model.array_file import Arrays
from model.encoding.features import Features
from model.kernels import step
from model.kernels.base_rate import counts_of
from model.kernels.forward import Shown, Workspace, found_scratch
from model.kernels.memory import zeros
from model.kernels.network import Network
from model.kernels.rows.journal import Journal, new_journal, undo
from model.kernels.rows.table import EMPTY, OCCUPIED, Table, find
from model.kernels.target import specialized
from model.settings import Spec
from model.weights import Weights, check_size

RUN = 1024  # examples in one kernel call, which are learned again when a step has to be undone


class Learned(NamedTuple):
    """The result of learning a run of examples."""

    logits: NDArray[Any]  # (N,), each predicted before its example was learned
    undone: list[int]  # examples whose step was not finite


class OnlineModel:
    """Weights, and what learning adds: Adagrad's accumulators, each row's last use, the count of examples."""

    def __init__(self, spec: Spec, dtype: type[np.floating] = np.float32) -> None:
        """Start before the first example. ``float64`` is for checking the arithmetic."""
        self.spec = spec
        self.weights = Weights(spec, dtype)
        self.examples = 0
        self._in_round = False  # learning a part of a round, whose accumulators are halved when all parts are merged
        self.accumulators = zeros(self.weights.layout.accumulators, dtype)
        self.accumulators[...] = self._first_accumulators()
        capacity = spec.table.capacity
        self.table = Table(
            keys=self.weights.keys,
            rows=self.weights.rows,
            used=zeros(capacity, np.int64),
            accumulators=zeros(self.weights.rows.shape, dtype),
            touched=np.zeros(capacity, np.bool_),
            counts=np.zeros(2, np.int64),
            records=self.weights.records,
        )
        self.label_counts = counts_of(spec.model.click_rate)  # of the base rate
        self._step = specialized(step.learn)
        self._journal = new_journal(self.table, 0)
        self._begun = 0  # the journal's entry that a run begins with
        self._before = [array.copy() for array in self._dense_state()]

    @cached_property
    def _workspace(self) -> Workspace:
        return self.weights.workspace(self._network())

    def _network(self) -> Network:
        return self.weights.network(self.accumulators)

    def _dense_state(self) -> tuple[NDArray[Any], ...]:
        """Return what a run changes in place beside the table's rows, which its journal restores."""
        of_stream = self.table.records.counts[-1:]
        return self.weights.dense, self.accumulators, self.table.counts, self.label_counts, of_stream

    def learn(
        self,
        features: Features,
        labels: NDArray[Any],
        importance: NDArray[Any] | None = None,
        fnw: NDArray[np.bool_] | None = None,
        shown: Shown | None = None,
    ) -> Learned:
        """Predict each example, then learn it, in order. An example whose step is not finite leaves no trace.

        Args:
            features: N examples.
            labels: 1 for a click, else 0, ``(N,)``.
            importance: the factor of each example's gradient, ``(N,)``; default 1.
            fnw: which examples come from a stream whose clicks come later, ``(N,)``, and are weighed for it; default none.
            shown: other examples, which are predicted before one of the N steps each; default none. A later one's logit stays as it is.
        """
        fields, dtype = len(self.spec.fields), self.weights.dense.dtype
        labels = labels.astype(dtype)
        importance = np.ones_like(labels) if importance is None else importance.astype(dtype)
        fnw = np.zeros(len(labels), np.bool_) if fnw is None else np.ascontiguousarray(fnw)
        features = features.contiguous(len(labels))
        logits = np.empty_like(labels)
        shown = shown or Shown(Features(features.keys[:0], features.starts[:1], features.times[:0]), np.empty(0, np.int64), logits[:0])
        shown = shown._replace(features=shown.features.contiguous(len(shown.before)))
        undone: list[int] = []
        for a in range(0, len(labels), RUN):
            b = min(a + RUN, len(labels))
            run = Features(features.keys, features.starts[a * fields : b * fields + 1], features.times[a:b])
            meanwhile = shown._replace(before=shown.before - a)
            undone += [a + n for n in self._learn_run(run, labels[a:b], importance[a:b], fnw[a:b], logits[a:b], meanwhile)]
        return Learned(logits, undone)

    def _learn_run(
        self, features: Features, labels: NDArray[Any], importance: NDArray[Any], fnw: NDArray[np.bool_], logits: NDArray[Any], shown: Shown
    ) -> list[int]:
        """Learn up to ``RUN`` examples, leaving out those whose step is not finite."""
        self._reserve(features)
        network, rates = self._network(), self._rates()
        found = found_scratch(network, features, shown.features)

        def learn(start: int, end: int) -> int:
            now, journal = self.examples, self._journal
            run = (network, self._workspace, found, self.table, features, labels[:end], importance, fnw, rates, start, now, logits, journal)
            return self._step(*run, self.label_counts, shown)

        undone: list[int] = []
        start = 0
        while start < len(labels):
            self._save()
            end = min(len(labels), start + self._until_halving())
            stop = learn(start, end)
            if stop < end:
                self._restore()
                learn(start, stop)
                undone.append(stop)
            self.examples += stop - start
            start = stop + (stop < end)
            if stop == end and self._until_halving() == self.half_life:
                self.halve_accumulators()
        return undone

    def _rates(self) -> step.Rates:
        model = self.spec.model
        rates = step.Rates(model.tower_rate, model.embedding_rate, model.wide_rate, model.embedding_accumulator, model.wide_accumulator)
        return rates._replace(base_rate=model.base_rate)

    def _first_accumulators(self) -> NDArray[Any]:
        """Return what the accumulators of the dense parameters start from, ``(A,)``."""
        model, layout = self.spec.model, self.weights.layout
        first = np.full(layout.accumulators, model.tower_accumulator, self.weights.dense.dtype)
        layout.bias.accumulators_of(first)[...] = model.wide_accumulator
        return first

    def first_of_row(self) -> NDArray[Any]:
        """Return what the accumulators of a row start from, ``(d + 1,)``."""
        model = self.spec.model
        first = np.full(model.embedding + 1, model.embedding_accumulator, self.accumulators.dtype)
        first[-1] = model.wide_accumulator
        return first

    @property
    def half_life(self) -> int:
        """The examples after which the accumulators are halved; 0: never."""
        return 0 if self._in_round else self.spec.model.accumulator_half_life

    def _until_halving(self) -> int:
        """Return how many examples come before the accumulators are halved again."""
        return self.half_life - self.examples % self.half_life if self.half_life else RUN

    def halve_accumulators(self) -> None:
        """Halve every accumulator, to no less than it started from. No row is touched by it: accumulators are not published."""
        occupied = self.table.keys != EMPTY
        np.maximum(self.accumulators / 2, self._first_accumulators(), out=self.accumulators)
        self.table.accumulators[occupied] = np.maximum(self.table.accumulators[occupied] / 2, self.first_of_row())

    @contextmanager
    def apart(self, features: Features) -> Iterator[Journal]:
        """Learn these features in the block as a part of a round, and undo it after it; yield the journal of the rows that it touches."""
        before, examples = [array.copy() for array in self._dense_state()], self.examples
        self._reserve(features)
        self._journal.length[0], self._in_round = 0, True
        try:
            yield self._journal
        finally:
            self._in_round = False
            undo(self.table, self._journal, 0)
            self.examples = examples
            for now, then in zip(self._dense_state(), before, strict=True):
                now[...] = then

    def _reserve(self, features: Features) -> None:
        """Make the journal long enough for these features; while a part is learned it is, for all of it."""
        keys = int(features.starts[-1] - features.starts[0])
        if keys > len(self._journal.row):
            self._journal = new_journal(self.table, keys)

    def _save(self) -> None:
        self._begun = int(self._journal.length[0]) if self._in_round else 0
        self._journal.length[0] = self._begun
        for before, now in zip(self._before, self._dense_state(), strict=True):
            before[...] = now

    def _restore(self) -> None:
        undo(self.table, self._journal, self._begun)
        for before, now in zip(self._before, self._dense_state(), strict=True):
            now[...] = before

    def forget(self, key: int) -> bool:
        """Empty the row of a value, as if the value had never occurred; return whether it had one."""
        row = find(self.weights.keys, np.uint64(key))
        if row < 0:
            return False
        table = self.table
        for array in (table.keys, table.rows, table.used, table.accumulators, table.records.counts):
            array[row : row + 1] = 0  # there may be no records
        self.table.touched[row] = True
        self.table.counts[OCCUPIED] -= 1
        return True

    def digest(self) -> str:
        """Return the weights' digest."""
        self.weights.rehash(np.flatnonzero(self.table.touched))
        return self.weights.digest()

    def changes(self) -> Arrays:
        """Return what :meth:`Weights.apply` needs to turn the last published weights into these."""
        positions = np.flatnonzero(self.table.touched)
        self.weights.rehash(positions)
        return self.weights.arrays(positions)

    def mark_published(self) -> None:
        """Collect changes from here on."""
        self.table.touched[...] = False

    def state(self) -> Arrays:
        """Return copies of everything that the next step depends on."""
        arrays = self.weights.arrays()
        positions = arrays["positions"]
        return arrays | {
            "dense_sums": self.accumulators.copy(),
            "row_sums": self.table.accumulators[positions],
            "used": self.table.used[positions],
            "counts": self.table.counts.copy(),
            "examples": np.array([self.examples], np.int64),
            "label_counts": self.label_counts.copy(),
        }

    @classmethod
    def of_weights(cls, weights: Weights, examples: int) -> Self:
        """Return a model with these weights that goes on as if it were new: its accumulators begin, all rows were used just now.

        Under a counted base rate the counts begin anew, and so does the bias.
        """
        model, arrays = cls(weights.spec), weights.arrays()
        positions = arrays["positions"]
        model.weights.apply(arrays)
        if weights.spec.model.base_rate:
            weights.layout.bias.of(model.weights.dense)[...] = weights.layout.bias.mean
        model.table.accumulators[positions] = model.first_of_row()
        model.table.used[positions] = model.examples = examples
        model.table.counts[OCCUPIED] = len(positions)
        return model

    @classmethod
    def from_state(cls, spec: Spec, arrays: Arrays) -> Self:
        """Return the model whose :meth:`state` returned ``arrays``.

        Raises:
            KeyError: an array is missing.
            ValueError: an array is not of the spec.
            MemoryError: there is not enough for the table.
        """
        check_size(spec, arrays)
        model = cls(spec)
        positions = arrays["positions"]
        model.weights.apply(arrays)
        model.accumulators[...] = arrays["dense_sums"]
        model.table.accumulators[positions] = arrays["row_sums"]
        model.table.used[positions] = arrays["used"]
        model.table.counts[...] = arrays["counts"]
        model.examples = int(arrays["examples"][0])
        if "label_counts" in arrays:  # else it was saved before there was a base rate
            model.label_counts[...] = arrays["label_counts"]
        return model
