"""One example, one step: predict, then learn, for a run of examples in order, inside one kernel call.

The state after a run depends on the order of the examples alone, bit for bit, never on how the run was cut.

Shapes: N examples, F fields, K keys in the run, d the width of an embedding; an example's input is ``(F d,)``.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.features import Features
from model.kernels.branch import CompiledBranch, compile_branch
from model.kernels.delay import weight
from model.kernels.dnn import backward, forward
from model.kernels.intrinsics import prefetch, root
from model.kernels.network import Activations, Network, activations
from model.kernels.skip import flush_all
from model.kernels.table import EMPTY, Table, claim, find, first_way
from model.kernels.target import kernel

OCCUPIED, EXPIRED = 0, 1  # indices of Table.counts

# How large a derivative of the loss by the logit is taken: CLIP, or SHARE of the root of the bias's accumulator, which is the larger.
# So one example adds at most CLIP² or a sixteenth to it, whatever its weight; no weight up to CLIP is cut, and of a stream of larger
# ones only the first are: benchmarks/weights.md.
CLIP, SHARE = 10.0, 0.25


class Rates(NamedTuple):
    """Adagrad's step sizes, what a new row's accumulators start from, and what bounds an example's derivative by the logit."""

    tower: float
    embedding: float
    wide: float
    embedding_accumulator: float
    wide_accumulator: float
    clip: float = CLIP
    share: float = SHARE


class Journal(NamedTuple):
    """The rows that a run touched, as they were before, in the order touched: what undoes it."""

    row: NDArray[np.int64]  # (K,)
    key: NDArray[np.uint64]  # (K,)
    used: NDArray[np.int64]  # (K,)
    rows: NDArray[Any]  # (K, d + 1)
    accumulators: NDArray[Any]  # (K, d + 1)
    length: NDArray[np.int64]  # (1,)


def journal(table: Table, keys: int) -> Journal:
    """Return an empty journal for a run of ``keys`` keys."""
    shape = (keys, table.rows.shape[1])
    return Journal(
        np.empty(keys, np.int64),
        np.empty(keys, np.uint64),
        np.empty(keys, np.int64),
        np.empty(shape, table.rows.dtype),
        np.empty(shape, table.rows.dtype),
        np.zeros(1, np.int64),
    )


class Workspace(NamedTuple):
    """Scratch for one example's pass, allocated once for a model."""

    act: Activations
    branch: CompiledBranch


def workspace(net: Network) -> Workspace:
    """Return scratch for one pass."""
    act = activations(net)
    return Workspace(act, compile_branch(net, act))


def scratch_for_rows(net: Network, features: Features) -> NDArray[np.int64]:
    """Return scratch for the row of each key of any one example."""
    return np.empty(int(np.diff(features.starts[:: net.fields]).max(initial=0)), np.int64)


@kernel
def finite(value: Any) -> bool:
    """Return whether ``value`` is a number. Not ``isfinite``: its ``x - x`` is reassociated to 0 where x is a sum."""
    return bool(abs(value) < np.inf)


@kernel
def score(
    net: Network, work: Workspace, found: NDArray[np.int64], keys: NDArray[np.uint64], rows: NDArray[Any], features: Features, first: int
) -> Any:
    """Return the logit of the example whose keys begin at ``starts[first]``; fill ``found`` with the row of each key, -1 if it is new."""
    act, branch = work.act, work.branch
    d = rows.shape[1] - 1
    p = net.dense
    x = act.x[0]
    logit = p[net.bias]
    begin = features.starts[first]
    for f in range(net.fields):
        start, end = features.starts[first + f], features.starts[first + f + 1]
        share = p.dtype.type(1) / p.dtype.type(end - start)
        for k in range(d):
            x[f * d + k] = 0
        for i in range(start, end):
            row = find(keys, features.keys[i])
            found[i - begin] = row
            if row < 0:
                for k in range(d):
                    x[f * d + k] += share * p[net.defaults + f * d + k]
            else:
                for k in range(d):
                    x[f * d + k] += share * rows[row, k]
                if net.wide:
                    logit += share * rows[row, d]
    return logit + forward(net, act) + branch.forward(net, act, branch.scratch)


@kernel
def predict(
    net: Network,
    work: Workspace,
    found: NDArray[np.int64],
    keys: NDArray[np.uint64],
    rows: NDArray[Any],
    features: Features,
    logits: NDArray[Any],
) -> None:
    """Fill ``logits (N,)``, and change nothing that is learned."""
    for n in range(logits.shape[0]):
        logits[n] = score(net, work, found, keys, rows, features, n * net.fields)


@kernel
def remember(table: Table, journal: Journal, row: int, now: int) -> None:
    """Record ``row`` as it is in the journal, and mark it as used by example ``now``."""
    at = journal.length[0]
    journal.row[at], journal.key[at], journal.used[at] = row, table.keys[row], table.used[row]
    for k in range(table.rows.shape[1]):
        journal.rows[at, k] = table.rows[row, k]
        journal.accumulators[at, k] = table.accumulators[row, k]
    journal.length[0] = at + 1
    table.used[row] = now
    table.touched[row] = True


@kernel
def undo(table: Table, journal: Journal) -> None:
    """Put back every row that the run touched."""
    for at in range(journal.length[0] - 1, -1, -1):
        row = journal.row[at]
        table.keys[row], table.used[row] = journal.key[at], journal.used[at]
        for k in range(table.rows.shape[1]):
            table.rows[row, k] = journal.rows[at, k]
            table.accumulators[row, k] = journal.accumulators[at, k]
    journal.length[0] = 0


@kernel
def admit(
    net: Network, table: Table, features: Features, first: int, found: NDArray[np.int64], rates: Rates, journal: Journal, now: int
) -> None:
    """Mark the example's rows as used, then give each new value a row that starts as its field's default."""
    d = table.rows.shape[1] - 1
    begin, end = features.starts[first], features.starts[first + net.fields]
    for i in range(end - begin):
        if found[i] >= 0 and table.used[found[i]] != now:
            remember(table, journal, found[i], now)
    for f in range(net.fields):
        for i in range(features.starts[first + f], features.starts[first + f + 1]):
            if found[i - begin] >= 0:
                continue
            key = features.keys[i]
            row = find(table.keys, key)  # a list may name a new value twice
            if row < 0:
                row = claim(table.keys, table.used, key, now)
                if row >= 0:
                    remember(table, journal, row, now)
                    table.counts[EXPIRED if table.keys[row] != EMPTY else OCCUPIED] += 1
                    table.keys[row] = key
                    for k in range(d):
                        table.rows[row, k] = net.dense[net.defaults + f * d + k]
                        table.accumulators[row, k] = rates.embedding_accumulator
                    table.rows[row, d] = 0
                    table.accumulators[row, d] = rates.wide_accumulator
            found[i - begin] = row


@kernel
def learn_rows(
    net: Network,
    table: Table,
    features: Features,
    first: int,
    found: NDArray[np.int64],
    gradient: NDArray[Any],
    dlogit: Any,
    rates: Rates,
) -> Any:
    """Take a step of Adagrad on the example's rows, an accumulator a weight; a value named twice in a list gets one summed update."""
    d = table.rows.shape[1] - 1
    p = net.dense
    embedding_rate, wide_rate = p.dtype.type(rates.embedding), p.dtype.type(rates.wide)
    begin = features.starts[first]
    total = p.dtype.type(0)
    for f in range(net.fields):
        start, end = features.starts[first + f] - begin, features.starts[first + f + 1] - begin
        for i in range(start, end):
            row = found[i]
            times = 0
            for other in range(start, end):
                if found[other] == row:
                    if other < i:
                        times = 0
                        break
                    times += 1
            if row < 0 or times == 0:
                continue
            share = p.dtype.type(times) / p.dtype.type(end - start)
            for k in range(d):
                g = share * gradient[f * d + k]
                table.accumulators[row, k] += g * g
                table.rows[row, k] -= embedding_rate * g / root(table.accumulators[row, k])
                total += table.accumulators[row, k]
            if net.wide:
                g = share * dlogit
                table.accumulators[row, d] += g * g
                table.rows[row, d] -= wide_rate * g / root(table.accumulators[row, d])
                total += table.accumulators[row, d]
    return total


@kernel
def look_ahead(table: Table, features: Features, fields: int, n: int) -> None:
    """Prefetch the rows of example ``n + 1``, and the keys of the sets that hold those of example ``n + 2``."""
    starts, last = features.starts, features.starts.shape[0] - 1
    for i in range(starts[min((n + 1) * fields, last)], starts[min((n + 2) * fields, last)]):
        row = find(table.keys, features.keys[i])
        if row >= 0:
            prefetch(table.rows, row)
            prefetch(table.accumulators, row)
            prefetch(table.used, row)
            prefetch(table.touched, row)
    for i in range(starts[min((n + 2) * fields, last)], starts[min((n + 3) * fields, last)]):
        prefetch(table.keys, first_way(features.keys[i], table.keys.shape[0]))


@kernel
def learn(
    net: Network,
    work: Workspace,
    found: NDArray[np.int64],
    table: Table,
    features: Features,
    labels: NDArray[Any],
    importance: NDArray[Any],
    fnw: NDArray[np.bool_],
    rates: Rates,
    start: int,
    now: int,
    logits: NDArray[Any],
    journal: Journal,
) -> int:
    """Predict, then learn, each example from ``start`` on; ``now`` is the number of the example before it.

    Return N, or the index of the first example whose step is not finite: the state is then to be undone by the caller.
    """
    act, branch = work.act, work.branch
    one, clip, share = net.dense.dtype.type(1), net.dense.dtype.type(rates.clip), net.dense.dtype.type(rates.share)
    tower_rate, wide_rate = net.dense.dtype.type(rates.tower), net.dense.dtype.type(rates.wide)
    act.deferred[...] = 0
    act.deferred_gradient[...] = 0  # else 0 times what a step left that was undone: it may be infinite
    for n in range(start, labels.shape[0]):
        first = n * net.fields
        now += 1
        logits[n] = score(net, work, found, table.keys, table.rows, features, first)
        if not finite(logits[n]):
            return n
        probability = one / (one + np.exp(-logits[n]))
        dlogit = (probability - labels[n]) * importance[n]
        if fnw[n]:
            dlogit *= weight(labels[n], probability, one)
        if not finite(dlogit):
            return n
        most = max(clip, share * root(net.accumulators[net.bias_accumulator]))
        dlogit = min(max(dlogit, -most), most)
        admit(net, table, features, first, found, rates, journal, now)
        look_ahead(table, features, net.fields, n)
        total = backward(net, act, dlogit, tower_rate)
        total += branch.backward(net, act, branch.scratch, dlogit, tower_rate)
        net.accumulators[net.bias_accumulator] += dlogit * dlogit
        net.dense[net.bias] -= wide_rate * dlogit / root(net.accumulators[net.bias_accumulator])
        total += net.accumulators[net.bias_accumulator]
        total += learn_rows(net, table, features, first, found, act.gradient[0], dlogit, rates)
        if not finite(total):
            return n
    flush_all(net, act)
    return int(labels.shape[0])
