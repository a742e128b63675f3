"""Intervals are those of known distributions, and every score that is resampled is the one worked out longhand."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import log_loss as sklearn_log_loss, roc_auc_score

from paper.online.bootstrap import Tally, auc, auc_within, estimate, log_loss, tally
from paper.online.passes import Outcome, Pass
from paper.runs import Results

Random = np.random.Generator


@pytest.fixture
def random() -> Random:
    return np.random.default_rng(0)


def predictions(random: Random, n: int = 3000, blocks: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits with ties, labels, and blocks of unequal size."""
    logits = np.round(random.standard_normal(n), 1)
    labels = (random.random(n) < 1 / (1 + np.exp(-logits))).astype(np.float32)
    return logits, labels, np.minimum(random.geometric(0.4, n) - 1, blocks - 1)


def test_scores_equal_another_librarys_whatever_the_blocks_weigh(random: Random) -> None:
    logits, labels, blocks = predictions(random)
    of = tally(logits, labels, blocks)
    weights = random.integers(0, 4, (5, 6)).astype(np.float64)

    losses, aucs = log_loss(of, weights), auc(of, weights)

    for r in range(5):
        each = weights[r][blocks]
        assert losses[r] == pytest.approx(sklearn_log_loss(labels, 1 / (1 + np.exp(-logits)), sample_weight=each))
        assert aucs[r] == pytest.approx(roc_auc_score(labels, logits, sample_weight=each))


def test_auc_equals_the_share_of_pairs_counted_one_by_one(random: Random) -> None:
    logits, labels, blocks = predictions(random, n=200)
    pairs = [np.sign(p - q) / 2 + 0.5 for p in logits[labels > 0] for q in logits[labels == 0]]

    got = auc(tally(logits, labels, blocks), np.ones((1, 6)))

    assert got[0] == pytest.approx(np.mean(pairs))


def test_auc_within_is_the_mean_of_each_blocks_own(random: Random) -> None:
    logits, labels, blocks = predictions(random)

    got = auc_within(tally(logits, labels, blocks), np.ones((1, 6)))

    assert got[0] == pytest.approx(np.mean([roc_auc_score(labels[blocks == b], logits[blocks == b]) for b in range(6)]))


def test_what_is_written_down_gives_the_same_scores(random: Random, tmp_path: Path) -> None:
    of = tally(*predictions(random))
    run = Pass("kuairand", "", "dnn", "none", "pre", (4,), 0, 0.01, 0.003)

    results: Results[Pass, Outcome] = Results(tmp_path / "online.jsonl", Outcome)
    results.add(run, Outcome(of, None, [], 0, "", 0.0))
    again = results[run].blocks

    for measure in (log_loss, auc, auc_within):
        assert measure(again, np.ones((1, 6))) == pytest.approx(measure(of, np.ones((1, 6))), abs=2e-6)


def blocks_of_loss(values: np.ndarray) -> Tally:
    """A run whose blocks are single examples with these losses."""
    n = len(values)
    return Tally(np.ones(n, np.int64), np.zeros(n, np.int64), values, np.eye(n))


def test_the_interval_of_a_mean_over_blocks_is_that_of_the_normal_distribution(random: Random) -> None:
    """One seed, 400 blocks with standard deviation 2: ± 1.96 · 2 / √400."""
    found = estimate(log_loss, [blocks_of_loss(random.normal(1, 2, 400))], resamples=20_000)

    assert found.low is not None
    assert found.high is not None
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * 2 / 20, rel=0.1)
    assert found.low < 1 < found.high


def test_seeds_widen_the_interval(random: Random) -> None:
    """50 seeds that differ with standard deviation 3, blocks that do not: ± 1.96 · 3 / √50."""
    runs = [blocks_of_loss(np.full(10, each)) for each in random.normal(0, 3, 50)]

    found = estimate(log_loss, runs, resamples=20_000)

    assert found.low is not None
    assert found.high is not None
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * 3 / 50**0.5, rel=0.2)
    assert found.seeds == 50


def test_the_interval_holds_the_truth_as_often_as_it_says(random: Random) -> None:
    """10 seeds × 30 blocks, each with a deviation of its own; drawing both is on the safe side."""
    held = 0
    for _ in range(200):
        by_seed, by_block = random.standard_normal((10, 1)), random.standard_normal(30)
        runs = [blocks_of_loss(row) for row in by_seed + by_block + random.standard_normal((10, 30))]
        found = estimate(log_loss, runs, resamples=400)
        assert found.low is not None
        assert found.high is not None
        held += found.low < 0 < found.high

    assert 0.87 <= held / 200 <= 1


def test_what_systems_share_cancels_in_their_difference(random: Random) -> None:
    """Blocks that are hard for both say nothing about which is better."""
    hard = random.normal(0, 100, 50)
    without = [blocks_of_loss(hard + random.normal(0, 0.1, 50)) for _ in range(5)]
    with_sml = [blocks_of_loss(of.log_loss - 1) for of in without]

    found = estimate(log_loss, with_sml, baseline=without)

    assert (found.mean, found.low, found.high) == pytest.approx((-1, -1, -1))
