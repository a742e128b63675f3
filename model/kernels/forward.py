"""The forward pass of one example: its rows in the table → the network's input → the logit.

Shapes: N examples, F fields, d the width of an embedding; an example's input is ``(F d,)``, or with records ``(F d + F,)``.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.encoding.features import Features
from model.kernels.branches.branch import Branch, CompiledBranch, compiled
from model.kernels.network import Activations, Network, activations
from model.kernels.rows.record import Records, odds, prior
from model.kernels.rows.table import fetch, find
from model.kernels.target import inner, inner_ordered_sum, kernel
from model.kernels.tower.batch import Batch, begin, take
from model.kernels.tower.dnn import BEGUN, forward


class Workspace(NamedTuple):
    """What one example's pass needs, allocated once for a model."""

    act: Activations
    branch: CompiledBranch


class Shown(NamedTuple):
    """M examples that are predicted between steps of learning others."""

    features: Features
    before: NDArray[np.int64]  # (M,), ascending: the step before which each is predicted, as an index of what is learned
    logits: NDArray[Any]  # (M,), which are filled


def workspace(net: Network, branch: Branch) -> Workspace:
    """Allocate what a pass needs."""
    act = activations(net)
    return Workspace(act, compiled(branch, net, act))


class Found(NamedTuple):
    """What is found of an example's K keys: scratch."""

    rows: NDArray[np.int64]  # (K,), the row of each, -1 if it is new
    told: NDArray[np.float64]  # (K,), what its record tells
    different: NDArray[np.int64]  # (K,), first the rows that the example touches, each once


def found_scratch(net: Network, *features: Features) -> Found:
    """Allocate scratch for any one of these examples."""
    most = max(int(np.diff(each.starts[:: net.fields]).max(initial=0)) for each in features)
    return Found(np.empty(most, np.int64), np.empty(most), np.empty(most, np.int64))


@inner
def read_rows(
    net: Network,
    x: NDArray[Any],
    found: Found,
    keys: NDArray[np.uint64],
    rows: NDArray[Any],
    records: Records,
    features: Features,
    n: int,
) -> Any:
    """Fill ``x`` with the input of example ``n``, ``found`` with what there is of its keys; return the wide part of the logit."""
    first, d, p = n * net.fields, rows.shape[1] - 1, net.dense
    logit = p[net.bias]
    begin = features.starts[first]
    for f in range(net.fields):
        start, end = features.starts[first + f], features.starts[first + f + 1]
        share = p.dtype.type(1) / p.dtype.type(end - start)
        for k in range(d):
            x[f * d + k] = 0
        for i in range(start, end):
            row = find(keys, features.keys[i])
            found.rows[i - begin] = row
            if row < 0:
                for k in range(d):
                    x[f * d + k] += share * p[net.defaults + f * d + k]
            else:
                for k in range(d):
                    x[f * d + k] += share * rows[row, k]
                if net.wide:
                    logit += share * rows[row, d]
    if records.counts.shape[0] > 0:
        read_records(net, x[net.fields * d :], found, records, features, n)
    return logit


@inner_ordered_sum
def read_records(net: Network, x: NDArray[Any], found: Found, records: Records, features: Features, n: int) -> None:
    """Fill ``x (F,)`` with what the records of each field's rows tell example ``n``; of several, the mean.

    The odds come first, then their logarithms: a call of the C library ends what the processor does ahead.
    """
    bucket, first = features.times[n] // records.delay, n * net.fields
    others, clicks = prior(records, bucket)
    begin = features.starts[first]
    rows, told = found.rows, found.told
    keys = features.starts[first + net.fields] - begin
    for i in range(keys):
        told[i] = odds(records, rows[i], bucket, others, clicks) if rows[i] >= 0 else 1
    for i in range(keys):
        told[i] = np.log(told[i])
    for f in range(net.fields):
        start, end = features.starts[first + f] - begin, features.starts[first + f + 1] - begin
        total = 0.0
        for i in range(start, end):
            total += told[i]
        x[f] = total / (end - start)


@kernel
def predict(
    net: Network,
    work: Workspace,
    batch: Batch,
    found: Found,
    keys: NDArray[np.uint64],
    rows: NDArray[Any],
    records: Records,
    features: Features,
    logits: NDArray[Any],
) -> None:
    """Fill ``logits (N,)``, to the bit as a learner would; change nothing that is learned."""
    act, branch, most = work.act, work.branch, batch.x.shape[0]
    for start in range(0, logits.shape[0], most):
        count = min(most, logits.shape[0] - start)
        first, end = features.starts[start * net.fields], features.starts[(start + count) * net.fields]
        fetch(keys, rows, records, features.keys[first:end])
        for t in range(count):
            logits[start + t] = read_rows(net, batch.x[t], found, keys, rows, records, features, start + t)
        begin(net, batch, act.all_indices, count)
        for t in range(count):
            take(net, act, batch, t)
            logits[start + t] = logits[start + t] + forward(net, act, BEGUN) + branch.forward(net, act, branch.scratch)
