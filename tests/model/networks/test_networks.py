"""What stands beside the tower is what its paper prints: its term is the formula written out, and an established library's."""

import math
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn

from model.layout import DNN, NETWORKS, Layout
from model.networks.build import BRANCHES
from model.online import OnlineModel
from model.settings import Spec
from model.terms import TERMS
from tests.model.examples import examples, spec
from tests.model.networks.test_dnn import longhand, longhand_rows, longhand_term

Named = dict[str, Any]
Vectors = list[list[float]]  # a field's embedding each

SHAPE: dict[str, Any] = {
    "hidden": (5, 4),
    "embedding": 3,
    "embedding_std": 0.05,
    "cross_layers": 2,
    "cin": (4, 5),
    "attention": (2, 4),
    "heads": 2,
}


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def through(x: list[float], weight: np.ndarray) -> list[float]:
    return [dot(x, list(weight[:, k])) for k in range(weight.shape[1])]


def longhand_own(named: Named, layer: int, x: list[float], shape: Spec) -> float:
    """Return a cross layer's own term: by default none."""
    model = shape.model
    return longhand_term(named, f"branch.{layer}.skip", x, model.skip) if model.skip_cross and model.skip != "none" else 0.0


def longhand_dcn(named: Named, v: Vectors, shape: Spec) -> float:
    """``x_{l+1} = x_0 (x_l · w) + b + x_l``."""
    x0 = x = [number for of_field in v for number in of_field]
    own = 0.0
    for layer in range(2):
        scale = dot(x, named[f"branch.{layer}.weight"])
        x = [x0[k] * scale + named[f"branch.{layer}.bias"][k] + x[k] for k in range(len(x))]
        own += longhand_own(named, layer, x, shape)
    return own + dot(x, named["branch.output"])


def longhand_dcn_v2(named: Named, v: Vectors, shape: Spec) -> float:
    """``x_{l+1} = x_0 ⊙ (x_l W + b) + x_l``."""
    x0 = x = [number for of_field in v for number in of_field]
    own = 0.0
    for layer in range(2):
        z = through(x, named[f"branch.{layer}.weight"])
        x = [x0[k] * (z[k] + named[f"branch.{layer}.bias"][k]) + x[k] for k in range(len(x))]
        own += longhand_own(named, layer, x, shape)
    return own + dot(x, named["branch.output"])


def longhand_deepfm(_: Named, v: Vectors, __: Spec) -> float:
    """``Σ_{f<g} v_f · v_g``."""
    return sum(dot(v[f], v[g]) for f in range(len(v)) for g in range(f + 1, len(v)))


def longhand_xdeepfm(named: Named, v: Vectors, shape: Spec) -> float:
    """``x^{l+1}_hk = Σ_ij W_ijh x^l_ik x^0_jk``, summed over k, weighed."""
    x, pooled = v, []
    for layer, maps in enumerate(shape.model.cin):
        weight = named[f"branch.{layer}.weight"].reshape(len(x), len(v), maps)
        x = [
            [sum(weight[i, j, h] * x[i][k] * v[j][k] for i in range(len(x)) for j in range(len(v))) for k in range(len(v[0]))]
            for h in range(maps)
        ]
        pooled += [sum(of_map) for of_map in x]
    return dot(pooled, named["branch.output"])


def longhand_autoint(named: Named, v: Vectors, shape: Spec) -> float:
    """``relu([Σ_k softmax_k(q_m · k_k) v_k]_heads + x_m W)``, weighed."""
    x = v
    for layer, width in enumerate(shape.model.attention):
        query, key, value, residual = ([through(of_field, named[f"branch.{layer}.{part}"]) for of_field in x] for part in PARTS)
        x = []
        for m in range(len(v)):
            out = list(residual[m])
            for head in range(shape.model.heads):
                part = slice(head * width, (head + 1) * width)
                powers = [math.exp(dot(query[m][part], key[k][part])) for k in range(len(v))]
                for c in range(head * width, (head + 1) * width):
                    out[c] += sum(powers[k] * value[k][c] for k in range(len(v))) / sum(powers)
            x.append([max(number, 0) for number in out])
    return dot([number for of_field in x for number in of_field], named["branch.output"])


PARTS = ("query", "key", "value", "residual")
LONGHAND = {
    "dcn": longhand_dcn,
    "dcn_v2": longhand_dcn_v2,
    "deepfm": longhand_deepfm,
    "xdeepfm": longhand_xdeepfm,
    "autoint": longhand_autoint,
}


CROSSED = ("dcn", "dcn_v2")


@pytest.mark.parametrize(
    ("network", "skip", "skip_cross"),
    [(network, skip, crossed) for network in LONGHAND for skip in TERMS for crossed in (False, True) if network in CROSSED or not crossed],
)
@pytest.mark.parametrize("skip_input", ["pre", "post"])
def test_logit_equals_the_formula_written_out_longhand(network: str, skip: str, skip_cross: bool, skip_input: str) -> None:
    online = OnlineModel(spec(network=network, skip=skip, skip_cross=skip_cross, skip_input=skip_input, **SHAPE), np.float64)
    stream = examples(np.random.default_rng(0), 300, values=20, most=3)
    online.learn(stream.features, stream.labels)
    named = online.weights.layout.named(online.weights.dense)

    logits = online.weights.predict(stream.features)

    for keys, logit in zip(stream.keys[:20], logits, strict=False):
        listed = [list(of_field) for of_field in keys]
        vectors = [pooled[:-1] for pooled in longhand_rows(online.weights, listed)]
        term = LONGHAND[network](named, vectors, online.spec)
        assert abs(term) > 1e-6
        np.testing.assert_allclose(logit, longhand(online.weights, listed) + term, rtol=1e-11)


def test_every_network_but_the_first_has_a_branch() -> None:
    """The tower comes first in the list of networks, and each of the others is in the table of modules."""
    assert NETWORKS[DNN] == "dnn"
    assert list(BRANCHES) == list(NETWORKS[1:])


@pytest.mark.parametrize("network", NETWORKS)
def test_the_tower_starts_the_same_whatever_stands_beside_it(network: str) -> None:
    """So that networks can be compared, and a model of the tower alone keeps its layout."""
    alone, beside = (Layout(spec(network=name, **SHAPE)) for name in ("dnn", network))

    ours, theirs = beside.named(beside.initial()), alone.named(alone.initial())

    for name in alone.parameters:
        if name.startswith(("tower", "skip", "bias", "defaults")):
            np.testing.assert_array_equal(ours[name], theirs[name])


@pytest.fixture(scope="module")
def library() -> Any:
    """DeepCTR-Torch's layers, without its look-up of newer versions, which opens a connection on import."""
    silent: Any = ModuleType("deepctr_torch.utils")
    silent.check_version = lambda _: None
    sys.modules["deepctr_torch.utils"] = silent
    from deepctr_torch.layers import interaction  # noqa: PLC0415

    return interaction


def theirs(library: Any, network: str, ours: Any, fields: int, width: int) -> nn.Module:
    """Return the library's layers with our weights."""
    model = SHAPE
    if network in ("dcn", "dcn_v2"):
        cross = library.CrossNet(fields * width, model["cross_layers"], "vector" if network == "dcn" else "matrix")
        cross.kernels.data = torch.stack([layer.weight.T if layer.weight.dim() == 2 else layer.weight[:, None] for layer in ours])
        cross.bias.data = torch.stack([layer.bias[:, None] for layer in ours])
        return nn.Sequential(nn.Flatten(), cross)
    if network == "deepfm":
        return nn.Sequential(library.FM(), nn.Flatten(0))
    if network == "xdeepfm":
        cin = library.CIN(fields, model["cin"], "linear", split_half=False)
        for layer, conv in zip(ours, cin.conv1ds, strict=True):
            conv.weight.data, conv.bias = layer.weight.T[:, :, None], None
        return nn.Sequential(cin)
    layers = []
    for layer in ours:
        attention = library.InteractingLayer(width, model["heads"])
        attention.W_Query.data, attention.W_key.data = layer.query, layer.key
        attention.W_Value.data, attention.W_Res.data = layer.value, layer.residual
        layers.append(attention)
    return nn.Sequential(*layers, nn.Flatten())


@pytest.mark.parametrize("network", BRANCHES)
@settings(max_examples=10, deadline=None)
@given(batch=st.integers(2, 5), seed=st.integers(0, 99))
def test_outputs_and_parameter_counts_equal_an_established_librarys(library: Any, network: str, batch: int, seed: int) -> None:
    """With the weights copied over. An attention layer there is as wide as an embedding; its CIN's bias is left out."""
    torch.manual_seed(seed)
    shape = spec(network=network, **{**SHAPE, "embedding": 4, "attention": (2, 2)})
    ours: Any = BRANCHES[network](shape).double()
    for parameter in ours.parameters():
        nn.init.normal_(parameter)
    reference = theirs(library, network, ours, 3, 4)
    embedded = torch.randn(batch, 3, 4, dtype=torch.double)

    term: Tensor = ours(embedded)

    hidden = reference(embedded)
    torch.testing.assert_close(term, hidden if network == "deepfm" else hidden @ ours.output)
    counts = {name: p.numel() for name, p in ours.named_parameters() if name != "output"}
    assert sum(counts.values()) == sum(p.numel() for p in reference.parameters())
