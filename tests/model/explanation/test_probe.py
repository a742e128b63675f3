"""What is said of the inside of a network is what torch's modules and autograd say of it."""

from typing import Any

import numpy as np
import pytest
import torch

from model.explanation.probe import GradientNorms, activity, weight_norms
from model.online import OnlineModel
from tests.model.examples import examples, learn_both, spec
from tests.model.reference import ReferenceModel

NETWORKS: list[dict[str, Any]] = [
    {"network": "dnn"},
    {"network": "dcn_v2", "skip_cross": True},
    {"skip": "meta_tanh_online"},
    {"skip": "none"},
]


def both(model: dict[str, Any]) -> tuple[OnlineModel, ReferenceModel]:
    """Return a model and its reference, which have learned the same."""
    settings = spec(hidden=(7, 5), **model)
    online, reference = OnlineModel(settings, np.float64), ReferenceModel(settings, torch.float64)
    learn_both(online, reference, examples(np.random.default_rng(0), 60, values=20))
    return online, reference


@pytest.mark.parametrize("model", NETWORKS)
def test_activity_is_what_the_modules_show(model: dict[str, Any]) -> None:
    online, reference = both(model)
    sample = examples(np.random.default_rng(1), 16, values=20)
    awake: dict[str, list[Any]] = {}
    added: dict[str, list[float]] = {}
    for name, module in reference.network.named_modules():
        if name.startswith("tower."):
            module.register_forward_hook(lambda _m, _x, z, name=name: awake.setdefault(name, []).append((z[0] > 0).numpy()))
        if "skip." in name or name.endswith(".skip"):
            module.register_forward_hook(lambda _m, _x, term, name=name: added.setdefault(name, []).append(float(term)))

    found = activity(online.weights, sample.features)

    for keys, time in zip(sample.keys, sample.features.times, strict=True):
        reference.predict(keys, int(time))
    assert found.silent == pytest.approx({name: 1 - np.mean(each) for name, each in awake.items()})
    assert found.dead == pytest.approx({name: 1 - np.mean(np.any(each, axis=0)) for name, each in awake.items()})
    expected = {} if model.get("skip") == "none" else {name: (np.mean(each), np.std(each)) for name, each in added.items()}
    assert found.terms.keys() == expected.keys()
    for name, pair in expected.items():
        assert found.terms[name] == pytest.approx(pair)


@pytest.mark.parametrize("model", [*NETWORKS, {"records": True}])
def test_norms_are_those_of_the_parameters_and_of_autograds_gradients(model: dict[str, Any]) -> None:
    online, reference = both(model)
    norms = GradientNorms()
    assert norms.since(online) == {}
    stream = examples(np.random.default_rng(2), 20, values=20)
    squares: dict[str, float] = {}

    online.learn(stream.features, stream.labels)

    for keys, label, time in zip(stream.keys, stream.labels, stream.features.times, strict=True):
        reference.learn(keys, label, 1.0, int(time))
        for name, parameter in reference.network.named_parameters():
            if parameter.grad is not None:
                squares[name] = squares.get(name, 0.0) + float(parameter.grad.square().sum())
    learned = {name: p.detach() for name, p in reference.network.named_parameters() if p.requires_grad}
    assert weight_norms(online.weights) == pytest.approx({name: float(p.norm()) for name, p in learned.items()})
    assert norms.since(online) == pytest.approx({name: (square / 20) ** 0.5 for name, square in squares.items()})


def test_halved_accumulators_another_model_and_no_example_tell_of_no_gradient() -> None:
    stream, norms = examples(np.random.default_rng(2), 20, values=20), GradientNorms()
    halving, other = OnlineModel(spec(accumulator_half_life=15)), OnlineModel(spec())

    looks = [norms.since(halving), norms.since(halving)]
    halving.learn(stream.features, stream.labels)
    looks += [norms.since(halving), norms.since(other)]

    assert looks == [{}] * 4
