"""A logit is a sum: each term is what its name says, and together they add up to the logit."""

import numpy as np
import pytest

from model.contributions import contributions
from model.online import OnlineModel
from tests.model.examples import EVERY, examples, spec


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
