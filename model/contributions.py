"""Why a prediction is what it is: its logit is a sum, and these are its terms."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.features import Features
from model.kernels.network import Network
from model.kernels.step import Workspace, score, scratch_for_rows, workspace
from model.kernels.table import find
from model.kernels.target import kernel
from model.layout import OUT, SKIP, WIDTH
from model.terms import NO_TERM
from model.weights import Weights


class Contributions(NamedTuple):
    """The terms of the logits of N examples; each row's sum is the logit, within rounding."""

    bias: NDArray[Any]  # (N,), the same for all
    wide: NDArray[Any]  # (N, F), each field's own weight
    skip: NDArray[Any]  # (N, T), the term of each hidden layer, then that of each cross layer if they have any
    output: NDArray[Any]  # (N,), of the last hidden layer
    branch: NDArray[Any]  # (N,), of what stands beside the tower, without the terms of its layers


def contributions(weights: Weights, features: Features) -> Contributions:
    """Take the logit of each example apart."""
    fields = len(weights.spec.fields)
    n = (len(features.starts) - 1) // fields
    network = weights.network(weights.dense[:0])
    wide, skip = (np.zeros((n, columns), weights.dense.dtype) for columns in (fields, len(network.terms)))
    terms = Contributions(np.full(n, weights.dense[network.bias]), wide, skip, np.zeros_like(skip[:, 0]), np.zeros_like(skip[:, 0]))
    _take_apart(network, workspace(network), scratch_for_rows(network, features), weights.keys, weights.rows, features, terms)
    return terms


@kernel
def _take_apart(
    net: Network,
    work: Workspace,
    found: NDArray[np.int64],
    keys: NDArray[np.uint64],
    rows: NDArray[Any],
    features: Features,
    terms: Contributions,
) -> None:
    act, branch = work.act, work.branch
    for n in range(terms.bias.shape[0]):
        first = n * net.fields
        score(net, work, found, keys, rows, features, first)
        terms.branch[n] = branch.forward(net, act, branch.scratch)
        for f in range(net.fields):
            start, end = features.starts[first + f], features.starts[first + f + 1]
            for i in range(start, end):
                row = find(keys, features.keys[i])
                if net.wide and row >= 0:
                    terms.wide[n, f] += rows[row, -1] / rows.dtype.type(end - start)
        for term in range(net.terms.shape[0] if net.scale != NO_TERM else 0):
            for k in range(net.terms[term, WIDTH]):
                terms.skip[n, term] += net.dense[net.terms[term, SKIP] + k] * act.bounded[term, k]
        for term in range(net.layers.shape[0], net.terms.shape[0]):
            terms.branch[n] -= terms.skip[n, term]
        for k in range(net.layers[-1, OUT]):
            terms.output[n] += net.dense[net.output + k] * act.x[-1, k]
