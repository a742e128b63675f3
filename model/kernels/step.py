"""One example, one step: predict, then learn, for a run of examples in order, inside one kernel call.

The state after a run depends on the order of the examples alone, bit for bit, never on how the run was cut.

Shapes: N examples, F fields, K keys in the run, d the width of an embedding; an example's input is ``(F d,)``.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.encoding.features import Features
from model.kernels.base_rate import count
from model.kernels.delay import weight
from model.kernels.forward import Found, Shown, Workspace, read_rows
from model.kernels.intrinsics import prefetch, root
from model.kernels.network import Activations, Network
from model.kernels.rows.journal import Journal, remember
from model.kernels.rows.record import MEMORY, Records, observe
from model.kernels.rows.table import EMPTY, EXPIRED, OCCUPIED, Table, claim, find, first_way
from model.kernels.target import inner, inner_ordered_sum, kernel
from model.kernels.tower.dnn import FROM_START, backward, forward
from model.kernels.tower.skip import flush

# The largest derivative of the loss by the logit: CLIP, or SHARE of the root of the bias's accumulator, whichever is larger. So one
# example adds at most CLIP² or a sixteenth to the accumulator, whatever its weight. No weight up to CLIP is cut, and of a stream of
# larger ones only the first are: benchmarks/defaults/weights.md.
CLIP, SHARE = 10.0, 0.25


class Rates(NamedTuple):
    """Adagrad's step sizes, what a new row's accumulators start from, what bounds a derivative by the logit, and the base rate's switch."""

    tower: float
    embedding: float
    wide: float
    embedding_accumulator: float
    wide_accumulator: float
    clip: float = CLIP
    share: float = SHARE
    base_rate: bool = False


@inner
def finite(value: Any) -> bool:
    """Return whether ``value`` is a finite number. Not ``isfinite``: its ``x - x`` is reassociated to 0 where x is a sum."""
    return bool(abs(value) < np.inf)


@inner
def touch(table: Table, journal: Journal, row: int, now: int, before: int) -> None:
    """Mark ``row`` as used by example ``now``; remember it if no example since ``before``, with which the run starts, has touched it."""
    if table.used[row] <= before:
        remember(table, journal, row)
    table.used[row] = now
    table.touched[row] = True


@inner
def admit(
    net: Network, table: Table, features: Features, first: int, found: Found, rates: Rates, journal: Journal, now: int, before: int
) -> int:
    """Mark the example's rows as used, then give each new value a row that starts as its field's default.

    Returns how many different rows they are; ``found.different`` then begins with them.
    """
    begin, end = features.starts[first], features.starts[first + net.fields]
    rows, count = found.rows, 0
    for i in range(end - begin):
        if rows[i] >= 0 and table.used[rows[i]] != now:
            touch(table, journal, rows[i], now, before)
            found.different[count] = rows[i]
            count += 1
    for f in range(net.fields):
        for i in range(features.starts[first + f], features.starts[first + f + 1]):
            if rows[i - begin] >= 0:
                continue
            key = features.keys[i]
            row = find(table.keys, key)  # a list may name a new value twice
            if row < 0:
                row = claim(table.keys, table.used, key, now)
                if row >= 0:
                    touch(table, journal, row, now, before)
                    start_row(net, table, row, key, f, rates)
                    found.different[count] = row
                    count += 1
            rows[i - begin] = row
    return count


@inner
def start_row(net: Network, table: Table, row: int, key: np.uint64, field: int, rates: Rates) -> None:
    """Give ``row`` to ``key``, with the default embedding of its field and no wide weight."""
    d = table.rows.shape[1] - 1
    table.counts[EXPIRED if table.keys[row] != EMPTY else OCCUPIED] += 1
    table.keys[row] = key
    for k in range(d):
        table.rows[row, k] = net.dense[net.defaults + field * d + k]
        table.accumulators[row, k] = rates.embedding_accumulator
    table.rows[row, d] = 0
    table.accumulators[row, d] = rates.wide_accumulator
    if table.records.counts.shape[0] > 0:
        table.records.counts[row] = 0


@inner
def occurrences(found: NDArray[np.int64], start: int, end: int, i: int) -> int:
    """Return how often ``found[i]`` occurs in ``found[start:end]``; 0 if it occurs before ``i``, where it was counted."""
    times = 0
    for other in range(start, end):
        if found[other] == found[i]:
            if other < i:
                return 0
            times += 1
    return times


@inner
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
    """Take an Adagrad step on the example's rows; a value that a list names twice gets one summed update.

    A row has an accumulator per weight. Returns the accumulators' sum, which is finite if and only if the step is.
    """
    d = table.rows.shape[1] - 1
    number = net.dense.dtype.type
    begin = features.starts[first]
    total = number(0)
    for f in range(net.fields):
        start, end = features.starts[first + f] - begin, features.starts[first + f + 1] - begin
        for i in range(start, end):
            row, times = found[i], occurrences(found, start, end, i)
            if row < 0 or times == 0:
                continue
            share = number(times) / number(end - start)
            learn_row(net, table, row, gradient[f * d :], share, dlogit, rates)
            for k in range(d + net.wide):
                total += table.accumulators[row, k]
    return total


@inner
def count_example(records: Records, rows: NDArray[np.int64], time: int, label: Any, weight: Any, fnw: bool) -> None:
    """Count an example in the records of its different rows and in the stream's; under ``fnw`` a click was seen before."""
    bucket = time // records.delay
    most = records.counts.dtype.type(MEMORY)
    clicked = min(weight, most) * label
    seen = clicked * 0 if fnw and label > 0 else min(weight, most)
    observe(records, records.counts.shape[0] - 1, bucket, seen, clicked)
    for i in range(rows.shape[0]):
        observe(records, rows[i], bucket, seen, clicked)


@inner_ordered_sum
def learn_row(net: Network, table: Table, row: int, gradient: NDArray[Any], share: Any, dlogit: Any, rates: Rates) -> None:
    """Take an Adagrad step on a row, embedding and wide weight as one vector: a root and a quotient are those of eight weights.

    ``gradient (d,)`` is that of the embedding; a number behind it, which there must be, is read in vain.
    """
    d, number = table.rows.shape[1] - 1, net.dense.dtype.type
    embedding_rate, wide_rate = number(rates.embedding), number(rates.wide)
    weights, accumulators = table.rows[row], table.accumulators[row]
    for k in range(d + net.wide):
        g = gradient[k]
        g = share * (g if k < d else dlogit)
        accumulators[k] += g * g
        weights[k] -= (embedding_rate if k < d else wide_rate) * g / root(accumulators[k])


@inner
def learn_bias(net: Network, dlogit: Any, rate: Any) -> Any:
    """Take an Adagrad step on the bias; return its accumulator."""
    net.accumulators[net.bias_accumulator] += dlogit * dlogit
    net.dense[net.bias] -= rate * dlogit / root(net.accumulators[net.bias_accumulator])
    return net.accumulators[net.bias_accumulator]


@inner
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
            if table.records.counts.shape[0] > 0:
                prefetch(table.records.counts, row)
    for i in range(starts[min((n + 2) * fields, last)], starts[min((n + 3) * fields, last)]):
        prefetch(table.keys, first_way(features.keys[i], table.keys.shape[0]))


@inner
def derivative(logit: Any, label: Any, importance: Any, fnw: bool, one: Any) -> Any:
    """Return the loss's derivative by the logit, ``(σ(z) − y) · importance``, times the weight of ``fnw``; ``one`` is a typed 1."""
    probability = one / (one + np.exp(-logit))
    dlogit = (probability - label) * importance
    if fnw:
        dlogit *= weight(label, probability, one)
    return dlogit


@inner
def forget_deferred(act: Activations) -> None:
    """Forget every step that is deferred."""
    act.deferred_step[...] = 0
    act.deferred_gradient[...] = 0  # it may be infinite after a step that was undone, and 0 times infinity is NaN


@inner
def clipped(net: Network, dlogit: Any, rates: Rates) -> Any:
    """Bound a finite derivative by the logit: see ``CLIP``."""
    clip, share = net.dense.dtype.type(rates.clip), net.dense.dtype.type(rates.share)
    most = max(clip, share * root(net.accumulators[net.bias_accumulator]))
    return min(max(dlogit, -most), most)


@kernel
def learn(
    net: Network,
    work: Workspace,
    found: Found,
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
    label_counts: NDArray[np.float64],  # of the base rate
    shown: Shown,
) -> int:
    """Predict, then learn, each example from ``start`` on, and predict what is shown meanwhile; ``now`` numbers the example before it.

    Returns N, or the index of the first example whose step is not finite: the caller must then undo the run.
    """
    act, branch = work.act, work.branch
    one, tower_rate, wide_rate = net.dense.dtype.type(1), net.dense.dtype.type(rates.tower), net.dense.dtype.type(rates.wide)
    forget_deferred(act)
    before = now
    n, m = start, 0
    while m < shown.before.shape[0] and shown.before[m] < start:
        m += 1
    while n < labels.shape[0]:
        early = m < shown.before.shape[0] and shown.before[m] <= n
        of, index = (shown.features, m) if early else (features, n)
        own = read_rows(net, act.x[0], found, table.keys, table.rows, table.records, of, index)
        logit = own + forward(net, act, FROM_START) + branch.forward(net, act, branch.scratch)
        if early:
            shown.logits[m] = logit
            forget_deferred(act)  # it was taken on the way
            m += 1
            continue
        first = n * net.fields
        logits[n] = logit
        now += 1
        if not finite(logits[n]):
            return n
        unbounded = derivative(logits[n], labels[n], importance[n], fnw[n], one)
        if not finite(unbounded):
            return n
        dlogit = clipped(net, unbounded, rates)
        different = found.different[: admit(net, table, features, first, found, rates, journal, now, before)]
        look_ahead(table, features, net.fields, n)
        total = backward(net, act, dlogit, tower_rate)
        total += branch.backward(net, act, branch.scratch, dlogit, tower_rate)
        total += learn_bias(net, dlogit, wide_rate)
        bounded = importance[n] * (dlogit / unbounded) if unbounded != 0 else importance[n]
        if rates.base_rate:
            net.dense[net.bias] += net.dense.dtype.type(count(label_counts, labels[n], bounded, fnw[n]))
        if table.records.counts.shape[0] > 0:
            count_example(table.records, different, features.times[n], labels[n], bounded, fnw[n])
        total += learn_rows(net, table, features, first, found.rows, act.gradient[0], dlogit, rates)
        if not finite(total):
            return n
        n += 1
    flush(net, act)
    return int(labels.shape[0])
