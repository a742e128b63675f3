"""The network is the paper's: its logit is the formula written out; no gradient goes through the scale, and nothing averages over a batch."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from model.kernels.target import kernel
from model.kernels.tower.skip import tanh_approx
from model.layout import Layout
from model.networks.build import build
from model.networks.dnn import DNN, bind
from model.networks.skip import SkipTerm
from model.online import OnlineModel
from model.registry import NETWORKS
from model.terms import TERMS
from model.weights import Weights
from tests.model.examples import EVERY, examples, pack, spec


def longhand(weights: Weights, keys: list[list[int]]) -> float:
    """Return the logit, computed one number at a time: Eq. 5, 10 and 16, the wide term, the bias."""
    model = weights.spec.model
    named = {name: array.astype(np.float64) for name, array in weights.layout.named(weights.dense).items()}
    logit, x = float(named["bias"][0]), []
    for pooled in longhand_rows(weights, keys):
        x += pooled[:-1]
        logit += pooled[-1] if model.wide else 0
    for i, width in enumerate(model.hidden):
        weight, bias = named[f"tower.{i}.weight"], named[f"tower.{i}.bias"]
        z = [bias[k] + sum(x[j] * weight[j, k] for j in range(len(x))) for k in range(width)]
        x = [max(value, 0) for value in z]
        if model.skip != "none":
            logit += longhand_term(named, f"skip.{i}", z if model.skip_input == "pre" else x, model.skip)
    return logit + float(sum(named["output"][k] * x[k] for k in range(len(x))))


def longhand_rows(weights: Weights, keys: list[list[int]]) -> list[list[float]]:
    """Return each field's embedding and wide weight: the mean over its values."""
    defaults = weights.layout.named(weights.dense)["defaults"].astype(np.float64)
    row_of = {int(key): weights.rows[row].astype(np.float64) for row, key in enumerate(weights.keys) if key}
    pooled = []
    for f, of_field in enumerate(keys):
        rows = [row_of.get(key, np.append(defaults[f], 0)) for key in of_field]
        pooled.append([sum(row[k] for row in rows) / len(rows) for k in range(len(rows[0]))])
    return pooled


def longhand_term(named: dict[str, np.ndarray], name: str, x: list[float], skip: str) -> float:
    """Return a layer's own term, computed one number at a time."""
    activation = {
        "vanilla": lambda u: u,
        "relu": lambda u: max(u, 0),
        "sigmoid": lambda u: 1 / (1 + math.exp(-u)),
        "tanh": math.tanh,
    }[skip.removeprefix("meta_").removeprefix("weight_").removesuffix("_online")]
    total = 0.0
    for k in range(len(x)):
        s = 1.0
        if skip.startswith("meta_"):
            s = named[f"{name}.meta_bias"][k] + sum(x[j] * named[f"{name}.meta"][j, k] for j in range(len(x)))
            s = s if s > 0 else 0.01 * s
        if skip.startswith("weight_"):
            s = named[f"{name}.scale"][k]
        if skip.endswith("_online"):
            s /= math.sqrt(named[f"{name}.square"][k] + 1e-5)
        total += named[f"{name}.weight"][k] * activation(s * x[k])
    return total


@pytest.mark.parametrize("skip", TERMS)
@pytest.mark.parametrize("skip_input", ["pre", "post"])
@pytest.mark.parametrize("wide", [True, False])
def test_logit_equals_the_formula_written_out_longhand(skip: str, skip_input: str, wide: bool) -> None:
    online = OnlineModel(spec(hidden=(7, 5, 6), embedding=3, skip=skip, skip_input=skip_input, wide=wide), np.float64)
    stream = examples(np.random.default_rng(0), 300, values=20, most=3)
    online.learn(stream.features, stream.labels)

    logits = online.weights.predict(stream.features)

    expected = [longhand(online.weights, [list(of_field) for of_field in keys]) for keys in stream.keys[:20]]
    np.testing.assert_allclose(logits[:20], expected, rtol=1e-11)


@pytest.mark.parametrize("skip_input", ["pre", "post"])
def test_relu_and_vanilla_are_two_terms_before_relu_and_one_after_it(skip_input: str) -> None:
    """As the paper's numbers for them differ, its terms can't have read a layer after ReLU."""
    stream = examples(np.random.default_rng(1), 200)
    logits = []
    for skip in ("vanilla", "relu"):
        online = OnlineModel(spec(hidden=(8, 8), skip=skip, skip_input=skip_input))
        logits.append(online.learn(stream.features, stream.labels).logits)

    vanilla, relu = logits
    assert np.array_equal(vanilla, relu) == (skip_input == "post")


def test_the_running_mean_square_is_that_of_the_values_read() -> None:
    """One example at a time, each with a weight of a thousandth."""
    online = OnlineModel(spec(hidden=(5,), skip="meta_tanh_online"), np.float64)
    named = online.weights.layout.named(online.weights.dense)
    expected = named["skip.0.square"].copy()
    stream = examples(np.random.default_rng(1), 50)

    for keys, label in zip(stream.keys, stream.labels, strict=True):
        features = pack([keys])
        rows = [online.weights.rows[online.weights.keys == key[0]] for key in keys]
        x = np.concatenate([row[0, :-1] if len(row) else named["defaults"][f] for f, row in enumerate(rows)])
        z = x @ named["tower.0.weight"] + named["tower.0.bias"]
        online.learn(features, np.array([label]))
        expected += (z**2 - expected) / 1000

    np.testing.assert_allclose(named["skip.0.square"], expected, rtol=1e-12)


def network(name: str, skip: str = "meta_tanh") -> tuple[DNN, Layout]:
    """Return a network in float64 with random weights."""
    layout = Layout(spec(network=name, skip=skip, hidden=(9, 4), embedding=3))
    built = build(layout.spec)
    bind(built, layout.named(layout.initial().astype(np.float64)))
    return built, layout


def test_no_gradient_reaches_the_layer_through_the_scale() -> None:
    """The gradient is that of a scale that is a constant."""
    term = SkipTerm(5, TERMS["meta_tanh"]).double()
    for parameter in term.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(4, 5, dtype=torch.double, requires_grad=True)
    scale = torch.nn.functional.leaky_relu(x.detach() @ term.meta + term.meta_bias).detach()

    (ours,) = torch.autograd.grad(term(x).sum(), x)

    (frozen,) = torch.autograd.grad((torch.tanh(scale * x) @ term.weight).sum(), x)
    torch.testing.assert_close(ours, frozen)


@pytest.mark.parametrize(("name", "skip"), EVERY)
@pytest.mark.parametrize("batch", [1, 7])
def test_a_batch_gives_what_its_examples_give_alone(name: str, skip: str, batch: int) -> None:
    """No statistic is taken over the batch; a batch of one keeps its axis."""
    built, _ = network(name, skip)
    embedded, wide = torch.randn(batch, 3, 3, dtype=torch.double), torch.randn(batch, 3, dtype=torch.double)

    together: Tensor = built(embedded, wide)

    assert together.shape == (batch,)
    alone = torch.cat([built(embedded[n : n + 1], wide[n : n + 1]) for n in range(batch)])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_are_views_of_the_flat_array(name: str) -> None:
    """Each of the layout's parameters but the defaults is one of the module's, on the same memory."""
    layout = Layout(spec(network=name, hidden=(9, 4)))
    dense = layout.initial()
    built = build(layout.spec)
    bind(built, layout.named(dense))

    with torch.no_grad():
        for parameter in built.parameters():
            parameter.fill_(7)

    assert {name for name, _ in built.named_parameters()} == layout.parameters.keys() - {"defaults"}
    learned = np.delete(dense, np.arange(layout.defaults.start, layout.size))
    assert (learned == 7).all()
    assert not (layout.defaults.of(dense) == 7).any()


@kernel
def tanh_in_place(values: np.ndarray) -> None:
    """Call what only kernels call."""
    tanh_approx(values)


@settings(deadline=None)  # the first call compiles
@given(values=st.lists(st.floats(width=32), min_size=1, max_size=40))
def test_the_vectorised_tanh_is_within_five_units_in_the_last_place(values: list[float]) -> None:
    """NaN stays NaN, so that it is found."""
    ours = np.array(values, np.float32)
    exact = np.tanh(ours.astype(np.float64))

    tanh_in_place(ours)

    np.testing.assert_array_equal(np.isnan(ours), np.isnan(exact))
    kept = ~np.isnan(exact)
    ulp = np.spacing(np.abs(exact[kept]).astype(np.float32))
    assert (np.abs(ours[kept] - exact[kept]) <= np.maximum(5 * ulp, np.finfo(np.float32).tiny)).all()
