"""Where negatives are left out and those learned weigh 1 / rate, what is learned, counted and judged is that of the whole stream."""

import numpy as np
import pytest
from numpy.typing import NDArray

from model.encoding.features import Encoded
from model.evaluation.progressive import learn_and_score
from model.evaluation.quality import Quality, Seen
from model.evaluation.scores import RunningScores
from model.guard.guard import WARM, Guard
from model.kernels.rows.record import decided
from model.online import OnlineModel
from model.settings import ModelSettings, Spec
from tests.model.guard.poisons import SPEC, encoded, honest

RATE = 0.1


def drawn(labels: NDArray[np.float32], seed: int = 0, rate: float = RATE) -> NDArray[np.bool_]:
    """Draw what is learned: all clicks, and a share of the others."""
    return (labels > 0) | (np.random.default_rng(seed).random(len(labels)) < rate)


def test_the_base_rate_and_the_records_count_what_the_whole_stream_would() -> None:
    """Within five standard errors of what chance leaves out: of N negatives, (1 − rate) / (rate N) is the relative variance."""
    model = Spec(model=ModelSettings(hidden=(4,), embedding=2, base_rate=True, records=True), fields=SPEC.fields, label_delay=1)
    features, labels = encoded(honest(20_000))
    features = features._replace(times=np.arange(len(labels)))
    learned = drawn(labels)
    all_of_it, part = OnlineModel(model), OnlineModel(model)

    all_of_it.learn(features, labels)
    weights = np.where(labels > 0, 1, 1 / RATE)[learned]
    part.learn(features.without(np.flatnonzero(~learned).tolist(), len(labels)), labels[learned], weights)

    others, clicks = all_of_it.label_counts
    error = 5 * np.sqrt((1 - RATE) / (RATE * others))
    assert part.label_counts[1] == clicks
    assert part.label_counts[0] == pytest.approx(others, rel=error)
    true, found = click_rates(all_of_it), click_rates(part)
    ratios = [found[key] / true[key] for key in true.keys() & found.keys()]
    assert len(ratios) > 100
    assert np.mean(ratios) == pytest.approx(1, abs=0.1)


def click_rates(model: OnlineModel) -> dict[int, float]:
    """Return the click rate that each value's record shows, of the values seen a hundred times."""
    rows = np.flatnonzero(model.weights.keys)
    counts = {int(model.weights.keys[row]): decided(model.weights.records, int(row), 10**6) for row in rows}
    return {key: float(c / n) for key, (n, c) in counts.items() if n >= 100}


def learn(model: OnlineModel, guard: Guard, rate: float, examples: Encoded, labels: NDArray[np.float32]) -> RunningScores:
    """Learn what is drawn of the examples, in versions of 256, which the guard judges."""
    scores = RunningScores()
    fields = len(model.spec.fields)
    for a in range(0, len(labels), 256):
        starts = examples.features.starts[a * fields : (a + 256) * fields + 1]
        keys = examples.features.keys[starts[0] : starts[-1]]
        part = examples.features._replace(keys=keys, starts=starts - starts[0], times=examples.features.times[a : a + 256])
        got = learn_and_score(model, scores, Encoded(part, {}), labels[a : a + 256], negative_weight=1 / rate)
        guard.observe(got.features, got.logits, got.labels, 1 / rate)
        guard.settle(model, guard.judge(model, model.changes(), None), None)
        model.mark_published()
    return scores


def thinned(rate: float, count: int, seed: int) -> tuple[Encoded, NDArray[np.float32]]:
    features, labels = encoded(honest(count, seed=seed))
    learned = drawn(labels, seed, rate)
    features = features._replace(times=np.zeros(len(labels), np.int64)).without(np.flatnonzero(~learned).tolist(), len(labels))
    return Encoded(features, {}), labels[learned]


def test_a_rate_that_changes_holds_no_version_and_the_scores_stay_those_of_the_whole_stream() -> None:
    model, guard = OnlineModel(SPEC), Guard()
    learn(model, guard, 1.0, *thinned(1.0, WARM + 4_096, seed=1))
    held = []

    for rate, seed in ((0.1, 2), (0.5, 3), (1.0, 4), (0.05, 5)):
        scores = learn(model, guard, rate, *thinned(rate, 20_000, seed))
        held.append(dict(guard.held))
        true = encoded(honest(20_000, seed=seed))[1].mean()
        assert scores.total().examples == pytest.approx(20_000, rel=0.1)
        assert scores.total().calibration == pytest.approx(1, abs=0.1)
        assert scores.total().log_loss == pytest.approx(0.42, abs=0.05), true

    assert held == [{}, {}, {}, {}]


def test_what_the_learner_scores_by_window_counts_a_negative_as_often_as_it_stands_for() -> None:
    logits = np.random.default_rng(0).normal(-1, 1, 200).astype(np.float32)
    labels = (np.random.default_rng(1).random(200) < 0.3).astype(np.float32)
    times = np.where(labels > 0, 1, 4)
    weighed, repeated = Quality(SPEC), Quality(SPEC)

    weighed.observe(logits, labels, unseen(200), 4.0)
    repeated.observe(np.repeat(logits, times), np.repeat(labels, times), unseen(int(times.sum())))

    got, expected = weighed.window(1_000), repeated.window(1_000)
    assert got.click_rate == pytest.approx(expected.click_rate)
    assert got.scores == pytest.approx(expected.scores)


def unseen(count: int) -> Seen:
    """Return what was seen of examples of which none was looked at."""
    return Seen(np.full(count, np.nan), np.zeros((0, count), np.uint8))
