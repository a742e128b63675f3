"""Running scores are those of scikit-learn, in constant memory, however the stream is cut."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from sklearn.metrics import log_loss, roc_auc_score

from model.evaluation.scores import RunningScores, Scores

Stream = tuple[NDArray[np.float32], NDArray[np.float32]]


def scored(stream: Stream, window: int = 10_000, cuts: Sequence[int] = ()) -> RunningScores:
    progressive = RunningScores(window)
    for first, last in pairwise([0, *sorted(cuts), len(stream[0])]):
        progressive.update(stream[0][first:last], stream[1][first:last])
    return progressive


def made_up(examples: int, seed: int = 0) -> Stream:
    random = np.random.default_rng(seed)
    logits = random.normal(-1.5, 1.5, examples).astype(np.float32)
    clicked = random.random(examples) < 1 / (1 + np.exp(-0.7 * logits))
    return logits, clicked.astype(np.float32)


def expected(logits: NDArray[np.float32], labels: NDArray[np.float32]) -> Scores:
    """Score by scikit-learn and the formulas written out."""
    probabilities = 1 / (1 + np.exp(-logits.astype(np.float64)))
    rate = labels.mean(dtype=np.float64)
    loss = log_loss(labels, probabilities)
    entropy = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    return Scores(len(logits), loss, roc_auc_score(labels, logits), loss / entropy, probabilities.mean() / rate)


def auc_bound(scores: RunningScores) -> float:
    """Return how far the AUC of everything can be from the exact one: a click and another impression in one bin count half, for 0 or 1."""
    bins = scores.state()["bins"]
    return float(bins.prod(axis=1).sum()) / (2 * float(bins.sum(axis=0).prod()))


def distance(one: Scores, other: Scores) -> float:
    """Return the largest relative difference; a score is undefined in both or in neither."""
    assert [score is None for score in one] == [score is None for score in other]
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    return max(abs(a - b) / max(abs(b), 1e-3) for a, b in pairs)


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    """Draw logits, many of them equal, with at least one click and one impression without."""
    size = draw(st.integers(2, 60))
    values = st.one_of(st.sampled_from([-1.0, 0.0, 0.5]), st.floats(-12, 12, width=32))
    logits = draw(st.lists(values, min_size=size, max_size=size))
    labels = [0.0, 1.0, *draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=size - 2, max_size=size - 2))]
    return np.array(logits, np.float32), np.array(labels, np.float32)


@pytest.mark.parametrize("window", [10_000, 300])
def test_a_negative_that_stands_for_four_scores_as_four_of_it(window: int) -> None:
    logits, labels = made_up(1_000)
    times = np.where(labels > 0, 1, 4)
    weighed = RunningScores(window)
    for first in range(0, 1_000, 170):
        weighed.update(logits[first : first + 170], labels[first : first + 170], 4.0)

    assert distance(weighed.total(), scored((np.repeat(logits, times), np.repeat(labels, times))).total()) < 1e-9
    last = slice(-window, None)
    assert distance(weighed.recent(), expected(np.repeat(logits[last], times[last]), np.repeat(labels[last], times[last]))) < 1e-6
    again = RunningScores.from_state(weighed.state())
    assert (again.total(), again.recent()) == (weighed.total(), weighed.recent())


def test_scores_that_were_saved_before_there_were_weights_go_on() -> None:
    stream = made_up(500)
    of_earlier = {name: array for name, array in scored(stream, window=300).state().items() if name not in ("weights", "scored")}
    of_earlier |= {name: of_earlier[name].astype(np.int64) for name in ("counts", "bins")}

    again = RunningScores.from_state(of_earlier)

    expecting = scored(stream, window=300)
    for each in (again, expecting):
        each.update(*made_up(100, seed=1))
    assert (again.total(), again.recent()) == (expecting.total(), expecting.recent())


@settings(deadline=None)  # the first example compiles the kernels
@given(streams())
def test_the_window_scores_as_scikit_learn_does_with_ties_counted_half(stream: Stream) -> None:
    assert distance(scored(stream).recent(), expected(*stream)) < 1e-9


@settings(deadline=None)  # the first example compiles the kernels
@given(streams())
def test_everything_scores_as_scikit_learn_does_and_the_auc_within_its_bound(stream: Stream) -> None:
    progressive = scored(stream, window=3)
    total, exact, bound = progressive.total(), expected(*stream), auc_bound(progressive)

    assert distance(total._replace(auc=None), exact._replace(auc=None)) < 1e-9
    assert total.auc is not None
    assert exact.auc is not None
    assert abs(total.auc - exact.auc) <= bound + 1e-12


def test_the_auc_over_everything_is_exact_to_four_decimals_on_a_long_stream() -> None:
    stream = made_up(200_000)

    progressive = scored(stream)

    bound = auc_bound(progressive)
    assert bound < 1e-4
    assert progressive.total().auc == pytest.approx(expected(*stream).auc, abs=bound)


@settings(deadline=None)  # the first example compiles the kernels
@given(st.lists(st.integers(0, 500), max_size=8), st.integers(1, 600))
def test_scores_are_the_same_to_the_bit_however_the_stream_is_cut(cuts: list[int], window: int) -> None:
    stream = made_up(500)

    whole, cut = scored(stream, window), scored(stream, window, cuts)

    assert cut.total() == whole.total()
    assert cut.recent() == whole.recent()
    assert {name: array.tobytes() for name, array in cut.state().items()} == {
        name: array.tobytes() for name, array in whole.state().items()
    }


@settings(deadline=None)  # the first example compiles the kernels
@given(st.integers(1, 400))
def test_the_window_forgets_all_but_its_last_examples(window: int) -> None:
    logits, labels = made_up(400)

    recent = scored((logits, labels), window).recent()

    assert distance(recent, scored((logits[-window:], labels[-window:])).recent()) < 1e-12


@settings(deadline=None)  # the first example compiles the kernels
@given(st.integers(0, 500))
def test_a_checkpoint_anywhere_changes_nothing(cut: int) -> None:
    logits, labels = made_up(500)
    saved = scored((logits[:cut], labels[:cut]), window=100).state()

    restored = RunningScores.from_state(saved)
    restored.update(logits[cut:], labels[cut:])

    assert restored.total() == scored((logits, labels), window=100).total()
    assert restored.recent() == scored((logits, labels), window=100).recent()


def test_a_checkpoint_is_not_changed_by_what_is_scored_after_it() -> None:
    progressive = scored(made_up(10))
    saved = progressive.state()

    progressive.update(*made_up(10, seed=1))

    assert RunningScores.from_state(saved).total() == scored(made_up(10)).total()


def test_nothing_is_scored_before_the_first_example() -> None:
    assert RunningScores().total() == RunningScores().recent() == Scores(0, None, None, None, None)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_examples_that_all_end_alike_leave_auc_and_normalised_entropy_undefined(label: float) -> None:
    progressive = scored((np.zeros(3, np.float32), np.full(3, label, np.float32)))

    for scores in (progressive.total(), progressive.recent()):
        assert scores.log_loss == pytest.approx(np.log(2))
        assert scores.auc is None
        assert scores.normalized_entropy is None
        assert scores.calibration == (pytest.approx(0.5) if label else None)


def test_a_certain_and_wrong_prediction_costs_its_logit_and_no_infinity() -> None:
    progressive = scored((np.array([800.0, -800.0], np.float32), np.array([0.0, 1.0], np.float32)))

    assert progressive.total().log_loss == progressive.recent().log_loss == 800.0


def test_a_prediction_that_is_not_finite_is_passed_over() -> None:
    logits, labels = made_up(10)
    broken = np.insert(logits, 5, [np.nan, np.inf, -np.inf]), np.insert(labels, 5, [1.0, 0.0, 1.0])

    assert scored(broken).total() == scored((logits, labels)).total()
