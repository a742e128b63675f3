"""The learner's metrics of what it learns: how good the predictions are, and what goes on inside the network.

They are computed when they are recorded, once a second or every five seconds, and not at every step.
"""

import math
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge

from model.evaluation.quality import GROUPS, WINDOWS, Quality, WindowScores
from model.evaluation.scores import Scores
from model.explanation.probe import GradientNorms, activity, weight_norms
from model.guard.sample import Sample
from model.online import OnlineModel
from stream.learn.trainer import Trainer

_SCORES = {
    "log_loss": "Progressive log loss: mean of minus the logarithm of the probability given to what happened, in nats.",
    "auc": "Progressive AUC: share of pairs of a click and no click where the click was given more.",
    "normalized_entropy": "Progressive log loss by that of always predicting the examples' click rate; below 1 is better.",
    "calibration": "Progressive calibration: predicted clicks by clicks; 1 is right.",
}


def learner_gauge(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Gauge:
    """Return a gauge of the learner, registered."""
    return Gauge(f"sml_learner_{name}", text, labels, registry=registry)


class QualityMetrics:
    """How good the predictions are that were made before learning."""

    def __init__(self, registry: CollectorRegistry) -> None:
        gauge = partial(learner_gauge, registry)
        self._scores = {name: gauge(name, text, "over") for name, text in _SCORES.items()}
        self._slices = {
            name: gauge(f"slice_{name}", f"{noun}, by the value of a chosen field, over the newest 100,000 examples.", "field", "value")
            for name, noun in {"examples": "Examples", **{name: f"Progressive {name.replace('_', ' ')}" for name in _SCORES}}.items()
        }
        self._examples = gauge("window_examples", "Examples in a window; fewer than its name says until it is full.", "over")
        self._click_rate = gauge("click_rate_ratio", "Share of clicks among the examples of a window.", "over")
        self._gain = gauge(
            "gain_ratio",
            "Share of a baseline's log loss that the model saves: of the window's click rate, or of the model's wide term alone.",
            "baseline",
            "over",
        )
        self._curve_predicted = gauge("calibration_curve_predicted_ratio", "Mean prediction of a twentieth of the newest 100,000.", "group")
        self._curve_clicked = gauge("calibration_curve_clicked_ratio", "Click rate of a twentieth of the newest 100,000.", "group")
        self._values = Counter("sml_learner_values", "Values of a field, in one example of sixteen.", ["field"], registry=registry)
        self._unseen = Counter(
            "sml_learner_unseen_values", "Of them those without a row in the table when their poll came.", ["field"], registry=registry
        )
        self._counted: list[tuple[int, int]] = []  # values and unseen ones of each field, as counted so far

    def record(self, trainer: Trainer) -> None:
        """Record the scores of a trainer by the windows of what watches it."""
        self._record_scores("total", trainer.scores.total())
        if quality := trainer.quality:
            for over, examples in WINDOWS.items():
                self._record_window(over, quality.window(examples))
            self._count_values([field.name for field in trainer.model.spec.fields], quality)

    def record_parts(self, trainer: Trainer) -> None:
        """Record the scores by slice and the calibration curve, which take several passes over 100,000 examples."""
        if quality := trainer.quality:
            for labels, scores in quality.by_slice().items():
                for name, gauge in self._slices.items():
                    gauge.labels(*labels).set(_or_nan(getattr(scores, name)))
            self._record_curve(quality)

    def _record_scores(self, over: str, scores: Scores) -> None:
        for name, gauge in self._scores.items():
            gauge.labels(over).set(_or_nan(getattr(scores, name)))

    def _record_window(self, over: str, window: WindowScores) -> None:
        self._record_scores(over, window.scores)
        self._examples.labels(over).set(window.scores.examples)
        self._click_rate.labels(over).set(_or_nan(window.click_rate))
        self._gain.labels("base_rate", over).set(_or_nan(window.gain_over_base_rate))
        self._gain.labels("wide", over).set(_or_nan(window.gain_over_wide))

    def _record_curve(self, quality: Quality) -> None:
        groups = quality.calibration_curve()
        for n in range(GROUPS):
            predicted, clicked = groups[n][1:] if n < len(groups) else (math.nan, math.nan)
            self._curve_predicted.labels(f"{n + 1:02}").set(predicted)
            self._curve_clicked.labels(f"{n + 1:02}").set(clicked)

    def _count_values(self, names: list[str], quality: Quality) -> None:
        counted = list(zip(quality.values.tolist(), quality.unseen.tolist(), strict=True))
        before = self._counted or [(0, 0)] * len(names)
        for name, now, then in zip(names, counted, before, strict=True):
            self._values.labels(name).inc(now[0] - then[0])
            self._unseen.labels(name).inc(now[1] - then[1])
        self._counted = counted


class InsideMetrics:
    """What goes on inside the network."""

    def __init__(self, registry: CollectorRegistry) -> None:
        gauge = partial(learner_gauge, registry)
        self._silent = gauge("silent_neurons_ratio", "Share of a layer's neurons that ReLU silences, on average of a sample.", "layer")
        self._dead = gauge("dead_neurons_ratio", "Share of a layer's neurons that no example of a sample wakes.", "layer")
        self._mean = gauge("skip_term_mean", "Mean of what a skip term adds to the logit, of a sample.", "term")
        self._spread = gauge("skip_term_stddev", "Standard deviation of what a skip term adds to the logit, of a sample.", "term")
        self._weights = gauge("weight_norm", "Euclidean norm of a dense parameter.", "parameter")
        self._gradients = gauge(
            "gradient_norm",
            "Root mean square norm of an example's gradient by a dense parameter, since the last report.",
            "parameter",
        )
        self._norms = GradientNorms()

    def record(self, model: OnlineModel, sample: Sample) -> None:
        """Record the state of a model; the sample, which may be empty, is of recent examples."""
        for name, norm in weight_norms(model.weights).items():
            self._weights.labels(name).set(norm)
        for name, norm in self._norms.since(model).items():
            self._gradients.labels(name).set(norm)
        if not len(sample):
            return
        found = activity(model.weights, sample.features)
        for gauge, shares in ((self._silent, found.silent), (self._dead, found.dead)):
            for layer, share in shares.items():
                gauge.labels(layer).set(share)
        for term, (mean, spread) in found.terms.items():
            self._mean.labels(term).set(mean)
            self._spread.labels(term).set(spread)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
