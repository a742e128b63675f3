"""The scores of the newest predictions are those that other libraries and longhand sums give, window by window and slice by slice."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from sklearn.metrics import log_loss, roc_auc_score

from model.encoding.features import Encoder, Features
from model.evaluation.quality import LOOKED, OTHERS, SLICES, Quality, Seen
from model.evaluation.scores import RunningScores
from model.online import OnlineModel
from model.settings import Field, ModelSettings, Spec, TableSettings
from model.weights import sigmoid

FIELDS = (Field(name="device"), Field(name="day", kind="weekday"), Field(name="tags", kind="multi"))
SPEC = Spec(model=ModelSettings(hidden=(4,), embedding=2), table=TableSettings(capacity=4096), fields=FIELDS)
N = 12_000
RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(-1, 1.5, N).astype(np.float32)
WIDE = LOGITS + RANDOM.normal(0, 1, N)
LABELS = (RANDOM.random(N) < sigmoid(LOGITS)).astype(np.float32)


def observed(logits: NDArray[Any], labels: NDArray[Any], wide: NDArray[Any], cuts: list[int] | None = None) -> Quality:
    quality = Quality(SPEC)
    for part in np.split(np.arange(len(logits)), cuts or []):
        quality.observe(logits[part], labels[part], Seen(wide[part], np.zeros((0, len(part)), np.uint8)))
    return quality


def features(values: list[dict[str, Any]], times: list[int] | None = None) -> Features:
    return Encoder(FIELDS).encode(values, times or [0] * len(values)).features


@pytest.mark.parametrize("size", [1_000, 10_000])
def test_a_window_has_the_scores_that_scikit_learn_gives_its_newest_examples(size: int) -> None:
    window = observed(LOGITS, LABELS, WIDE).window(size)

    logits, labels = LOGITS[-size:], LABELS[-size:]
    rate, loss = labels.mean(), log_loss(labels, sigmoid(logits))
    entropy = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    assert window.scores.examples == size
    assert window.scores.log_loss == pytest.approx(loss)
    assert window.scores.auc == pytest.approx(roc_auc_score(labels, logits), abs=1e-4)
    assert window.scores.normalized_entropy == pytest.approx(loss / entropy)
    assert window.scores.calibration == pytest.approx(sigmoid(logits).sum() / labels.sum())
    assert window.click_rate == pytest.approx(rate)
    assert window.gain_over_base_rate == pytest.approx(1 - loss / log_loss(labels, np.full(size, rate)))
    assert window.gain_over_wide == pytest.approx(1 - loss / log_loss(labels, sigmoid(WIDE[-size:])))


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 500), max_size=4))
def test_the_scores_do_not_depend_on_how_the_stream_was_cut(cuts: list[int]) -> None:
    logits, labels, wide = LOGITS[:500], LABELS[:500], WIDE[:500]

    assert observed(logits, labels, wide, sorted(cuts)).window(300) == observed(logits, labels, wide).window(300)


def test_the_ring_forgets_what_is_older_and_one_huge_logit_leaves_no_trace_in_later_windows() -> None:
    logits = np.concatenate([np.full(10, 3e38, np.float32), np.tile(LOGITS, 9)])
    labels, wide = np.concatenate([np.zeros(10, np.float32), np.tile(LABELS, 9)]), np.concatenate([np.zeros(10), np.tile(WIDE, 9)])

    window = observed(logits, labels, wide).window(100_000)

    assert window == observed(logits[10:], labels[10:], wide[10:]).window(100_000)
    assert window.scores.examples == 100_000


def test_a_step_that_was_undone_is_not_scored() -> None:
    with_undone = np.insert(LOGITS[:50], 20, np.nan)

    quality = observed(with_undone, np.insert(LABELS[:50], 20, 1), np.insert(WIDE[:50], 20, 0))

    assert quality.window(1_000) == observed(LOGITS[:50], LABELS[:50], WIDE[:50]).window(1_000)


def test_nothing_has_no_scores_and_a_model_without_wide_weights_no_gain_over_them() -> None:
    plain = Quality(SPEC.model_copy(update={"model": SPEC.model.model_copy(update={"wide": False})}))
    plain.observe(LOGITS, LABELS, Seen(WIDE, np.zeros((0, N), np.uint8)))

    assert observed(LOGITS[:0], LABELS[:0], WIDE[:0]).window(1_000) == ((0, None, None, None, None), None, None, None)
    assert plain.window(1_000).gain_over_wide is None


def test_the_calibration_curve_is_that_of_the_whole_stream_where_the_ring_holds_it() -> None:
    scores = RunningScores()
    scores.update(LOGITS, LABELS)

    groups = observed(LOGITS, LABELS, WIDE).calibration_curve()

    assert len(groups) == 20
    for group, expected in zip(groups, scores.calibration_curve(), strict=True):
        assert group.prediction == pytest.approx(expected.prediction, rel=0.05)
        assert group.click_rate == pytest.approx(expected.click_rate, abs=0.05)


@pytest.mark.parametrize("cut", [0, 3, 8, 11])
def test_the_wide_term_alone_is_the_bias_and_the_mean_of_each_fields_own_weights_for_one_example_in_sixteen(cut: int) -> None:
    model, quality = OnlineModel(SPEC), Quality(SPEC)
    rows: list[dict[str, Any]] = [{"device": f"d{n}", "tags": ["x", "y"] if n % 3 else "x"} for n in range(19)]
    every = features(rows)
    model.learn(every, np.ones(19, np.float32))
    model.weights.rows[...] = RANDOM.normal(size=model.weights.rows.shape)

    parts = [features(part) for part in (rows[:cut], rows[cut:])]
    seen = [quality.look(model.weights, part, np.zeros(len(part.times), np.bool_), lambda _: {}) for part in parts]

    def own(n: int, field: int) -> float:
        keys = every.keys[every.starts[3 * n + field] : every.starts[3 * n + field + 1]]
        return float(np.mean([model.weights.rows[model.weights.keys == key, -1] for key in keys]))

    bias = float(model.weights.layout.bias.of(model.weights.dense)[0])
    expected = [np.nan if n % LOOKED else bias + sum(own(n, field) for field in range(3)) for n in range(19)]
    assert np.concatenate([each.wide for each in seen]) == pytest.approx(expected, nan_ok=True)


def test_the_gain_over_the_wide_term_is_of_the_examples_that_were_looked_at() -> None:
    some = np.where(np.arange(N) % LOOKED, np.nan, WIDE)

    gain = observed(LOGITS, LABELS, some).window(10_000).gain_over_wide

    looked = np.arange(N - 10_000, N)[::LOOKED]
    assert gain == pytest.approx(1 - log_loss(LABELS[looked], sigmoid(LOGITS[looked])) / log_loss(LABELS[looked], sigmoid(WIDE[looked])))


def test_values_are_unseen_until_they_are_learned() -> None:
    model, quality = OnlineModel(SPEC), Quality(SPEC)
    first, second = features([{"device": "a", "tags": ["x", "y"]}] * LOOKED), features([{"device": "a", "tags": ["y", "z"]}] * LOOKED)
    for each in (first, second):
        quality.look(model.weights, each, np.zeros(LOOKED, np.bool_), lambda _: {})
        model.learn(each, np.ones(LOOKED, np.float32))

    assert quality.values.tolist() == [2, 2, 4]
    assert quality.unseen.tolist() == [1, 1, 3]


def sliced(values: list[str], times: list[int] | None = None) -> Quality:
    """Watch examples with these devices, ten at a time."""
    model, quality = OnlineModel(SPEC), Quality(SPEC, ["device", "day"])
    rows = [{"device": value} for value in values]
    for a in range(0, len(rows), 10):
        part, logits, labels = rows[a : a + 10], LOGITS[a : a + 10], LABELS[a : a + 10]
        these = features(part, times and times[a : a + 10])
        seen = quality.look(model.weights, these, np.zeros(len(part), np.bool_), part.__getitem__)
        quality.observe(logits[: len(part)], labels[: len(part)], seen)
    return quality


def test_each_slice_has_the_scores_of_its_own_examples() -> None:
    values = [["phone", "desktop", ""][n % 3] for n in range(3_000)]
    days = [86_400_000 * (n % 2) for n in range(3_000)]  # the first was a Thursday

    found = sliced(values, days).by_slice()

    for start, name in enumerate(("phone", "desktop", "missing")):
        logits, labels = LOGITS[start:3_000:3], LABELS[start:3_000:3]
        scores = found["device", name]
        assert scores.examples == 1_000
        assert scores.log_loss == pytest.approx(log_loss(labels, sigmoid(logits)))
        assert scores.auc == pytest.approx(roc_auc_score(labels, logits), abs=1e-3)
    assert found["day", "Thursday"].examples == found["day", "Friday"].examples == 1_500
    assert found["device", OTHERS].examples == 0


def test_however_many_values_come_only_the_first_twenty_are_told_apart() -> None:
    found = sliced([OTHERS, *(f"{'long' * 100}{n}" for n in range(5)), *(f"v{n}" for n in range(300))]).by_slice()

    devices = {value: scores.examples for (field, value), scores in found.items() if field == "device"}
    assert len(devices) <= SLICES + 1
    assert max(map(len, devices)) == 60
    assert sum(devices.values()) == 306
    assert devices["long" * 15] == 5
    assert devices[OTHERS] >= 306 - 5 - SLICES
