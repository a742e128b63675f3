"""The learner's metrics say how good its predictions are and what goes on inside the network; nothing that is learned depends on them."""

import json
import math
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from model.evaluation.quality import LOOKED, SLICES
from model.evaluation.scores import RunningScores
from model.online import OnlineModel
from stream.learn.metrics import LearnerMetrics
from stream.learn.trainer import Trainer
from stream.log.reading import read_all
from tests.stream.learning import SPEC, TOPICS, example, examples, learn_all, opened

COUNT = 1_200


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> CollectorRegistry:
    """Learn 1,200 examples, and one that no field takes, by a learner that slices by a field of 60 values."""
    folder, registry = tmp_path_factory.mktemp("metrics"), CollectorRegistry()
    with opened(folder) as log:
        log.append([*examples(COUNT), example(COUNT, features={"user": 1, "item": 2, "price": [1, 2]})])
        learned = learn_all(log, folder, slices=("user",), registry=registry)
        trainer = Trainer(OnlineModel(SPEC), RunningScores())
        trainer.learn(list(read_all(log, TOPICS.examples, {0: 0}, {0: COUNT + 1})))
    assert trainer.model.digest() == learned.digest  # with and without metrics
    return registry


def value(metrics: CollectorRegistry, name: str, **labels: str) -> float:
    found = metrics.get_sample_value(f"sml_learner_{name}", labels)
    assert found is not None, name
    return found


def series(metrics: CollectorRegistry, name: str) -> dict[str, float]:
    """Return the values of a metric of one label, by that label."""
    samples = [sample for metric in metrics.collect() for sample in metric.samples if sample.name == f"sml_learner_{name}"]
    return {"/".join(sample.labels.values()): sample.value for sample in samples}


def test_a_window_that_holds_everything_has_the_scores_of_everything(metrics: CollectorRegistry) -> None:
    assert value(metrics, "window_examples", over="1k") == 1_000
    assert value(metrics, "window_examples", over="100k") == COUNT
    for score in ("log_loss", "normalized_entropy", "calibration", "auc"):
        assert value(metrics, score, over="10k") == pytest.approx(value(metrics, score, over="total"), abs=1e-3)
        assert value(metrics, score, over="1k") != value(metrics, score, over="10k")


def test_a_feature_that_no_field_knows_is_counted_by_name(tmp_path: Path) -> None:
    registry, trainer = CollectorRegistry(), Trainer(OnlineModel(SPEC), RunningScores())
    with opened(tmp_path) as log:
        log.append([example(n, features={"user": n, "uzer": n}) for n in range(3)])
        trainer.preparer.prepare(list(read_all(log, TOPICS.examples, {0: 0}, {0: 3})))

    LearnerMetrics(registry).record_model(trainer, inside=False)

    assert series(registry, "ignored_features_total") == {"uzer": 3}


def test_the_gains_are_by_the_click_rate_and_by_the_wide_term(metrics: CollectorRegistry) -> None:
    clicks = sum(json.loads(message.value or b"")["label"] for message in examples(COUNT))

    assert value(metrics, "click_rate_ratio", over="10k") == pytest.approx(clicks / COUNT)
    assert value(metrics, "gain_ratio", baseline="base_rate", over="10k") == pytest.approx(
        1 - value(metrics, "normalized_entropy", over="10k")
    )
    assert math.isfinite(value(metrics, "gain_ratio", baseline="wide", over="10k"))


def test_the_first_twenty_values_of_a_chosen_field_are_told_apart(metrics: CollectorRegistry) -> None:
    first = list(dict.fromkeys(str(json.loads(message.value or b"")["features"]["user"]) for message in examples(COUNT)))[:SLICES]

    found = series(metrics, "slice_examples")

    assert set(found) == {f"user/{name}" for name in (*first, "other")}
    assert sum(found.values()) == COUNT
    assert math.isfinite(value(metrics, "slice_log_loss", field="user", value=first[0]))


def test_the_values_of_one_example_in_sixteen_are_counted_and_each_that_was_not_known(metrics: CollectorRegistry) -> None:
    assert series(metrics, "values_total") == dict.fromkeys(("user", "item", "price"), COUNT / LOOKED)
    unseen = series(metrics, "unseen_values_total")
    assert 30 <= unseen["user"] < COUNT / LOOKED
    assert unseen.keys() == {"user", "item", "price"}


def test_the_calibration_curve_has_twenty_points_in_ascending_order(metrics: CollectorRegistry) -> None:
    curve = list(series(metrics, "calibration_curve_predicted_ratio").values())

    assert len(curve) == 20
    assert curve == sorted(curve)
    assert series(metrics, "calibration_curve_clicked_ratio").keys() == {f"{n:02}" for n in range(1, 21)}


def test_the_inside_of_the_network_is_named_as_its_parameters_are(metrics: CollectorRegistry) -> None:
    assert series(metrics, "silent_neurons_ratio").keys() == series(metrics, "dead_neurons_ratio").keys() == {"tower.0", "tower.1"}
    assert series(metrics, "skip_term_mean").keys() == series(metrics, "skip_term_stddev").keys() == {"skip.0", "skip.1"}
    norms = series(metrics, "weight_norm")
    assert {"tower.0.weight", "skip.1.meta", "output", "bias", "records"} <= norms.keys()
    gradients = series(metrics, "gradient_norm")
    assert gradients.keys() == norms.keys()
    assert min(gradients.values()) > 0
