"""A model that learns impressions as negatives at first, and again as positives if clicked, still gives the probability of a click."""

from typing import Any

import numpy as np
import pytest

from model.encoding.features import Features
from model.kernels import delay
from model.kernels.delay import corrected, stream_logits
from model.online import OnlineModel
from model.settings import Field, ModelSettings, Spec, TableSettings
from model.weights import sigmoid

SPEC = Spec(model=ModelSettings(hidden=(4,), embedding=2), table=TableSettings(capacity=8), fields=(Field(name="item"),))
TRUE = 0.3
weight: Any = delay.weight.py_func  # type: ignore[attr-defined]  # the kernel itself is for kernels only


def stream(count: int) -> tuple[Features, np.ndarray[tuple[int], np.dtype[np.float32]]]:
    """Return N impressions of one item in their order, each a negative and, three times in ten, a positive too."""
    random = np.random.default_rng(0)
    labels = [label for _ in range(count) for label in ([0, 1] if random.random() < TRUE else [0])]
    keys = np.full(len(labels), 7, np.uint64)
    return Features(keys, np.arange(len(labels) + 1)), np.array(labels, np.float32)


def test_the_weights_are_those_of_the_paper() -> None:
    assert weight(1.0, 0.25, 1.0) == pytest.approx(1.25)
    assert weight(0.0, 0.25, 1.0) == pytest.approx(0.75 * 1.25)


@pytest.mark.parametrize("p", [0.01, 0.3, 0.9])
def test_with_the_weights_the_mean_gradient_is_zero_at_the_truth_and_only_there(p: float) -> None:
    def gradient(predicted: float) -> Any:
        return p * (predicted - 1) * weight(1.0, predicted, 1.0) + predicted * weight(0.0, predicted, 1.0)

    assert gradient(p) == pytest.approx(0, abs=1e-12)
    assert gradient(p - 0.005) < 0 < gradient(p + 0.005)


def test_the_correction_turns_what_the_stream_shows_into_the_probability_of_a_click() -> None:
    p = np.array([0.001, 0.2, 0.99])
    shown = p / (1 + p)

    logits = np.log(shown / (1 - shown))

    assert corrected(logits) == pytest.approx(p)
    assert corrected(np.array([3.0])) == pytest.approx(1.0)
    assert sigmoid(stream_logits(np.log(p / (1 - p)))) == pytest.approx(shown, rel=1e-5)


@pytest.mark.parametrize("policy", ["fnw", "fnc"])
def test_both_policies_learn_the_probability_of_a_click_from_the_doubled_stream(policy: str) -> None:
    model = OnlineModel(SPEC.model_copy(update={"label_policy": policy}))
    features, labels = stream(20_000)

    model.learn(features, labels, fnw=np.full(len(labels), policy == "fnw"))

    one = Features(features.keys[:1], features.starts[:2])
    assert model.weights.probabilities(one)[0] == pytest.approx(TRUE, abs=0.03)


def test_a_run_that_is_weighed_is_the_same_however_it_is_cut() -> None:
    features, labels = stream(300)
    fnw = np.arange(len(labels)) % 3 != 0
    whole, cut = OnlineModel(SPEC), OnlineModel(SPEC)

    whole.learn(features, labels, fnw=fnw)
    for n in range(len(labels)):
        cut.learn(Features(features.keys, features.starts[n : n + 2]), labels[n : n + 1], fnw=fnw[n : n + 1])

    assert cut.digest() == whole.digest()
