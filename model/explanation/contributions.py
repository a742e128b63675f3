"""Explain a prediction: its logit is a sum, and these are its terms.

The terms of the deep part (skip, output, branch) are of all fields together. What a field gives them is found by leaving it out.

Shapes: N examples, F fields, T skip terms.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.encoding.features import Features
from model.kernels.forward import Found, Workspace, found_scratch, read_rows
from model.kernels.network import IN, OUT, SKIP, WIDTH, Activations, Network
from model.kernels.rows.record import Records
from model.kernels.target import inner, kernel
from model.kernels.tower.dnn import FROM_START, forward
from model.terms import NO_TERM
from model.weights import Weights


class Contributions(NamedTuple):
    """The terms of the logits of N examples; each row's sum is the logit, within rounding."""

    bias: NDArray[Any]  # (N,), the same for all; the base rate included
    wide: NDArray[Any]  # (N, F), each field's own weight
    skip: NDArray[Any]  # (N, T), the term of each hidden layer, then that of each cross layer if they have any
    output: NDArray[Any]  # (N,), of the last hidden layer
    branch: NDArray[Any]  # (N,), of the branch, without the terms of its layers
    deep: NDArray[Any]  # (N, F), how much of skip, output and branch goes when a field is as one never seen: its default row, no record
    records: NDArray[Any]  # (N, F), what the fields' records tell, an input of the deep part; (N, 0) where the model has none


def contributions(weights: Weights, features: Features) -> Contributions:
    """Return the terms of the logit of each example; it takes ``F + 2`` passes for each."""
    fields, network = len(weights.spec.fields), weights.network()
    n = (len(features.starts) - 1) // fields

    def zeros(*shape: int) -> NDArray[Any]:
        return np.zeros((n, *shape), weights.dense.dtype)

    told = fields if weights.spec.model.records else 0
    terms = Contributions(zeros(), zeros(fields), zeros(len(network.terms)), zeros(), zeros(), zeros(fields), zeros(told))
    terms.bias[...] = weights.dense[network.bias]
    table = weights.keys, weights.rows, weights.records
    _decompose(network, weights.workspace(network), found_scratch(network, features), *table, features.contiguous(n), terms)
    return terms


@kernel
def _decompose(
    net: Network,
    work: Workspace,
    found: Found,
    keys: NDArray[np.uint64],
    rows: NDArray[Any],
    records: Records,
    features: Features,
    terms: Contributions,
) -> None:
    act, branch = work.act, work.branch
    kept, told = act.gradient[0], act.x[0, net.fields * net.embedding : net.layers[0, IN]]
    for n in range(terms.bias.shape[0]):
        read_rows(net, act.x[0], found, keys, rows, records, features, n)
        _fill_wide(net, found.rows, rows, features, n, terms.wide[n])
        for f in range(terms.records.shape[1]):
            terms.records[n, f] = told[f]
        deep = terms.bias[n] * 0
        # As it is, then with each field as one never seen, in one loop: of two calls the network would be compiled twice.
        for f in range(-1, net.fields):
            own = act.x[0, f * net.embedding : (f + 1) * net.embedding] if f >= 0 else act.x[0, :0]
            for k in range(own.shape[0]):
                kept[k] = own[k]
                own[k] = net.dense[net.defaults + f * net.embedding + k]
            if f >= 0 and terms.records.shape[1] > 0:
                told[f] = 0
            tower, beside = forward(net, act, FROM_START), branch.forward(net, act, branch.scratch)
            if f < 0:
                terms.branch[n] = beside
                deep = _fill_deep(net, act, n, terms)
                continue
            terms.deep[n, f] = deep - (tower + beside)
            for k in range(own.shape[0]):
                own[k] = kept[k]
            if terms.records.shape[1] > 0:
                told[f] = terms.records[n, f]


@inner
def _fill_wide(net: Network, found: NDArray[np.int64], rows: NDArray[Any], features: Features, n: int, wide: NDArray[Any]) -> None:
    """Add the own weight of each field's values to ``wide (F,)``; of several, the mean."""
    first = n * net.fields
    begin = features.starts[first]
    for f in range(net.fields if net.wide else 0):
        start, end = features.starts[first + f], features.starts[first + f + 1]
        for i in range(start, end):
            row = found[i - begin]
            if row >= 0:
                wide[f] += rows[row, -1] / rows.dtype.type(end - start)


@inner
def _fill_deep(net: Network, act: Activations, n: int, terms: Contributions) -> Any:
    """Fill in the terms of the pass just made, of which ``terms.branch`` holds all of the branch's; return their sum."""
    for k in range(net.layers[-1, OUT]):
        terms.output[n] += net.dense[net.output + k] * act.x[-1, k]
    deep = terms.branch[n] + terms.output[n]
    for term in range(net.terms.shape[0] if net.scale != NO_TERM else 0):
        for k in range(net.terms[term, WIDTH]):
            terms.skip[n, term] += net.dense[net.terms[term, SKIP] + k] * act.activated[term, k]
        if term < net.layers.shape[0]:
            deep += terms.skip[n, term]
        else:
            terms.branch[n] -= terms.skip[n, term]
    return deep
