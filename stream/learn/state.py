"""What a learner says of itself in a version, every other second, so that people who reach a server alone see how learning goes.

A server has nothing of the learner but the log, wherever it runs. What is said is small, bounded, and nothing depends on it.
"""

import numpy as np

from model.evaluation.quality import WINDOWS, Quality, WindowScores
from model.evaluation.scores import Group
from model.explanation.contributions import contributions
from model.guard.sample import Sample
from model.kernels.rows.table import EXPIRED, OCCUPIED
from model.settings import Spec
from model.weights import Weights
from stream.learn.metrics import Lag
from stream.learn.trainer import Trainer
from stream.records.version import LearnerState

EVERY = 2.0  # seconds
_FIELDS = 20  # that move the predictions most
_WINDOW = "10k"  # examples that are scored


def state_of(trainer: Trainer, lag: Lag) -> LearnerState:
    """Return what is to be said of a trainer that is ``lag`` behind the log."""
    window, curve = _window(trainer)
    scores, table = window.scores, trainer.model.table
    terms, fields = shares(trainer.model.weights, trainer.guard.recent)
    return LearnerState(
        examples=scores.examples,
        log_loss=scores.log_loss,
        base_rate_log_loss=_baseline(scores.log_loss, window.gain_over_base_rate),
        wide_log_loss=_baseline(scores.log_loss, window.gain_over_wide),
        auc=scores.auc,
        calibration=scores.calibration,
        curve=[(_short(each.prediction), _short(each.click_rate), each.examples) for each in curve if np.isfinite(each.prediction)],
        terms=terms,
        fields=fields,
        lag_records=lag.records,
        lag_seconds=lag.seconds,
        rows=int(table.counts[OCCUPIED]),
        expired_rows=int(table.counts[EXPIRED]),
    )


def _window(trainer: Trainer) -> tuple[WindowScores, list[Group]]:
    """Return the scores of the newest examples, and their calibration curve; of nothing where nothing watches the trainer."""
    quality = trainer.quality or Quality(trainer.model.spec)
    return quality.window(WINDOWS[_WINDOW]), quality.calibration_curve()


def _baseline(log_loss: float | None, gain: float | None) -> float | None:
    """Return the log loss of a baseline of which the model saves the share ``gain``."""
    return None if log_loss is None or gain is None or gain >= 1 else log_loss / (1 - gain)


def shares(weights: Weights, sample: Sample) -> tuple[dict[str, float], dict[str, float]]:
    """Return how large each term of the logit is, and by how much each field moves it, in the mean over a sample; nothing of an empty one.

    A field moves it by its own weight and by what it gives the deep part; the 20 that move it most are named, the first one first.
    What is not finite is left out: JSON has no number for it, and a version with it would be none.
    """
    if not len(sample):
        return {}, {}
    found = contributions(weights, sample.features)
    of_terms = np.abs(np.column_stack([found.bias, found.wide.sum(1), found.skip, found.output, found.branch])).mean(0)
    of_fields = np.abs(found.wide + found.deep).mean(0)
    names, most = _names(weights.spec, found.skip.shape[1]), np.argsort(-of_fields)[:_FIELDS]
    return (
        {name: _short(size) for name, size in zip(names, of_terms, strict=True) if size and np.isfinite(size)},
        {weights.spec.fields[f].name: _short(of_fields[f]) for f in most if np.isfinite(of_fields[f])},
    )


def _names(spec: Spec, terms: int) -> list[str]:
    """Return the names of the terms of a logit, of which so many are skip terms."""
    layers = len(spec.model.hidden)
    skips = [f"skip {n + 1}" if n < layers else f"cross {n + 1 - layers}" for n in range(terms)]
    return ["bias", "wide", *skips, "main path", "branch"]


def _short(number: float) -> float:
    """Return a number with four digits: more of them say nothing to people."""
    return float(f"{number:.4g}")
