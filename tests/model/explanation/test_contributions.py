"""A logit is a sum: each term is what its name says, and together they add up to the logit."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.encoding.features import Features
from model.explanation.contributions import contributions
from model.kernels.rows.record import odds, prior
from model.kernels.rows.table import find
from model.networks.build import build
from model.networks.dnn import bind
from model.online import OnlineModel
from model.registry import NETWORKS
from model.settings import NetworkName
from model.weights import Weights
from tests.model.examples import EVERY, examples, spec
from tests.model.reference import Keys


@pytest.mark.parametrize(("network", "skip"), EVERY)
@pytest.mark.parametrize("skip_input", ["pre", "post"])
@pytest.mark.parametrize("skip_cross", [False, True])
def test_the_terms_add_up_to_the_logit(network: str, skip: str, skip_input: str, skip_cross: bool) -> None:
    online = OnlineModel(spec(network=network, hidden=(7, 5), skip=skip, skip_input=skip_input, skip_cross=skip_cross), np.float64)
    stream = examples(np.random.default_rng(0), 300, values=20, most=3)
    online.learn(stream.features, stream.labels)

    terms = contributions(online.weights, stream.features)

    logits = online.weights.predict(stream.features)
    total = terms.bias + terms.wide.sum(1) + terms.skip.sum(1) + terms.output + terms.branch
    np.testing.assert_allclose(total, logits, rtol=1e-11)
    assert bool(terms.skip.any()) == (skip != "none")
    assert terms.skip.shape[1] == (5 if skip_cross and skip != "none" and network in ("dcn", "dcn_v2") else 2)
    assert bool(terms.branch.any()) == (network != "dnn")
    assert terms.wide.any()
    assert terms.output.any()


def test_a_value_adds_its_own_weight() -> None:
    """The weight of its row of the table, where the model has a wide term at all."""
    stream = examples(np.random.default_rng(0), 300, values=20)
    for wide in (True, False):
        online = OnlineModel(spec(wide=wide))
        online.learn(stream.features, stream.labels)

        terms = contributions(online.weights, stream.features)

        rows = [[int(np.flatnonzero(online.weights.keys == key)[0]) for (key,) in keys] for keys in stream.keys]
        np.testing.assert_array_equal(terms.wide, online.weights.rows[rows, -1] * wide)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("skip", ["none", "meta_tanh"])
@pytest.mark.parametrize("records", [False, True])
def test_a_fields_share_of_the_deep_part_is_what_goes_with_its_default_row(network: NetworkName, skip: str, records: bool) -> None:
    """By the definition in torch: the wide weight aside, its logit with the field's own rows, less its logit with those of a value never seen."""
    model = spec(network=network, hidden=(7, 5), skip=skip, skip_cross=True, records=records)
    online = OnlineModel(model, np.float64)
    stream = examples(np.random.default_rng(0), 60, values=9, most=2)
    online.learn(stream.features, stream.labels)
    definition = build(model)
    bind(definition, online.weights.layout.named(online.weights.dense))
    embedded, told = read(online.weights, stream.keys, stream.features)

    terms = contributions(online.weights, stream.features)

    def deep(embedded: Tensor, told: Tensor) -> Tensor:
        logit: Tensor = definition(embedded, torch.zeros(len(embedded), 3, dtype=torch.double), told if records else None)
        return logit - definition.bias

    defaults = torch.from_numpy(online.weights.layout.defaults.of(online.weights.dense).copy())
    for f in range(3):
        without, silent = embedded.clone(), told.clone()
        without[:, f], silent[:, f] = defaults[f], 0
        with torch.no_grad():
            goes = deep(embedded, told) - deep(without, silent)
        np.testing.assert_allclose(terms.deep[:, f], goes, rtol=1e-9, atol=1e-12)
        assert np.abs(terms.deep[:, f]).max() > 1e-6
    np.testing.assert_allclose(terms.records, told if records else np.empty((60, 0)), rtol=1e-11)


def read(weights: Weights, keys: Sequence[Keys], features: Features) -> tuple[Tensor, Tensor]:
    """Return the embeddings ``(N, F, d)``, and what the records tell ``(N, F)``, as the table holds them."""
    defaults = weights.layout.defaults.of(weights.dense)
    delay, counts = weights.records.delay, weights.records

    def row(key: int) -> int:
        return int(find(weights.keys, np.uint64(key)))

    def told(key: int, time: int) -> float:
        if row(key) < 0 or not len(counts.counts):
            return 0.0
        return float(np.log(odds(counts, row(key), time // delay, *prior(counts, time // delay))))

    def embedding(f: int, key: int) -> NDArray[Any]:
        return weights.rows[row(key), :-1] if row(key) >= 0 else defaults[f]

    embedded = [[np.mean([embedding(f, key) for key in of_field], 0) for f, of_field in enumerate(example)] for example in keys]
    tells = [[np.mean([told(key, t) for key in of_field]) for of_field in example] for example, t in zip(keys, features.times, strict=True)]
    return torch.from_numpy(np.array(embedded)), torch.from_numpy(np.array(tells))
