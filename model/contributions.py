"""Explain a prediction: its logit is a sum, and these are its terms."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.features import Features
from model.kernels.forward import Workspace, logit_of, rows_scratch
from model.kernels.network import OUT, SKIP, WIDTH, Network
from model.kernels.record import Records
from model.kernels.target import kernel
from model.terms import NO_TERM
from model.weights import Weights


class Contributions(NamedTuple):
    """The terms of the logits of N examples; each row's sum is the logit, within rounding."""

    bias: NDArray[Any]  # (N,), the same for all
    wide: NDArray[Any]  # (N, F), each field's own weight
    skip: NDArray[Any]  # (N, T), the term of each hidden layer, then that of each cross layer if they have any
    output: NDArray[Any]  # (N,), of the last hidden layer
    branch: NDArray[Any]  # (N,), of the branch, without the terms of its layers


def contributions(weights: Weights, features: Features) -> Contributions:
    """Return the terms of the logit of each example."""
    fields = len(weights.spec.fields)
    n = (len(features.starts) - 1) // fields
    network = weights.network()
    wide, skip = (np.zeros((n, columns), weights.dense.dtype) for columns in (fields, len(network.terms)))
    terms = Contributions(np.full(n, weights.dense[network.bias]), wide, skip, np.zeros_like(skip[:, 0]), np.zeros_like(skip[:, 0]))
    table = weights.keys, weights.rows, weights.records
    _decompose(network, weights.workspace(network), rows_scratch(network, features), *table, features.contiguous(n), terms)
    return terms


@kernel
def _decompose(
    net: Network,
    work: Workspace,
    found: NDArray[np.int64],
    keys: NDArray[np.uint64],
    rows: NDArray[Any],
    records: Records,
    features: Features,
    terms: Contributions,
) -> None:
    act, branch = work.act, work.branch
    for n in range(terms.bias.shape[0]):
        first = n * net.fields
        begin = features.starts[first]
        logit_of(net, work, found, keys, rows, records, features, n)
        terms.branch[n] = branch.forward(net, act, branch.scratch)
        for f in range(net.fields):
            start, end = features.starts[first + f], features.starts[first + f + 1]
            for i in range(start, end):
                row = found[i - begin]
                if net.wide and row >= 0:
                    terms.wide[n, f] += rows[row, -1] / rows.dtype.type(end - start)
        for term in range(net.terms.shape[0] if net.scale != NO_TERM else 0):
            for k in range(net.terms[term, WIDTH]):
                terms.skip[n, term] += net.dense[net.terms[term, SKIP] + k] * act.activated[term, k]
        for term in range(net.layers.shape[0], net.terms.shape[0]):
            terms.branch[n] -= terms.skip[n, term]
        for k in range(net.layers[-1, OUT]):
            terms.output[n] += net.dense[net.output + k] * act.x[-1, k]
