"""Pairs of fields are judged as predictions are: by what was known, longhand; what chance gives is told from what they tell."""

from itertools import product
from typing import Any

import numpy as np
import pytest

from model.encoding.features import Encoder, Features
from model.evaluation.crosses import Crosses
from model.settings import Field

FIELDS = [Field(name="a"), Field(name="b", kind="multi"), Field(name="c")]
N = 20_000


def encoded(seed: int = 0, n: int = N, step: int = 0) -> tuple[Features, list[tuple[int, list[int], int]]]:
    """Return random examples, ``step`` ms apart, and their values."""
    random = np.random.default_rng(seed)
    values = [(int(random.integers(4)), sorted(random.choice(5, 2, replace=False).tolist()), int(random.integers(200))) for _ in range(n)]
    rows: list[dict[str, Any]] = [{"a": a, "b": b, "c": c} for a, b, c in values]
    return Encoder(FIELDS).encode(rows, [n * step for n in range(n)]).features, values


@pytest.mark.parametrize("delay", [0, 35])
def test_an_example_is_corrected_by_the_pairs_whose_labels_were_known(delay: int) -> None:
    features, values = encoded(n=300, step=10)
    random = np.random.default_rng(1)
    logits, labels = random.normal(size=300).astype(np.float32), (random.random(300) < 0.3).astype(np.float32)
    exact = logits.astype(np.float64)
    predicted = 1 / (1 + np.exp(-exact))
    losses = []
    for n, (a, b, _) in enumerate(values):
        known = [m for m in range(n) if 10 * m + delay <= 10 * n]
        corrections = []
        for one, other in product([a], b):
            those = [m for m in known if values[m][0] == one and other in values[m][1]]
            corrections.append((labels[those] - predicted[those]).sum() / ((predicted[those] * (1 - predicted[those])).sum() + 4))
        before, after = exact[n], exact[n] + np.mean(corrections)
        losses.append([np.logaddexp(0, z) - labels[n] * z for z in (before, after)])
    before, after = np.array(losses).T

    saved = Crosses(features, logits, labels, delay).saved(0, 1)

    assert saved.share == pytest.approx((before - after).mean() / before.mean(), abs=1e-9)
    assert saved.error == pytest.approx((before - after).std() / np.sqrt(300) / before.mean(), abs=1e-9)


def test_what_two_fields_tell_together_is_found_and_what_they_do_not_tell_is_not() -> None:
    features, values = encoded()
    random = np.random.default_rng(2)
    effect = random.normal(0, 0.8, (4, 5))
    truth = np.array([effect[a, b].mean() for a, b, _ in values]) - 1
    labels = (random.random(N) < 1 / (1 + np.exp(-truth))).astype(np.float32)
    crosses = Crosses(features, np.full(N, -1, np.float32), labels, 0)

    true, noise = crosses.saved(0, 1), crosses.saved(0, 2)
    crosses.take(0, 1)
    again = crosses.saved(0, 1)

    assert true.share > max(0.005, 10 * true.error)
    assert noise.share < 2 * noise.error
    assert again.share < true.share / 3


def test_pairs_are_judged_by_the_newest_examples_alone_if_so_asked() -> None:
    features, _ = encoded(n=400, step=10)
    random = np.random.default_rng(1)
    logits, labels = random.normal(size=400).astype(np.float32), (random.random(400) < 0.3).astype(np.float32)
    newest = features.without(range(300), 400)

    judged = Crosses(features, logits, labels, 35).newest(100)

    assert judged.saved(0, 1) == Crosses(newest, logits[300:], labels[300:], 35).saved(0, 1)
    assert judged.newest(1_000).saved(0, 1) == judged.saved(0, 1)
    assert judged.pairs_of_values()[0, 1] == 2


@pytest.mark.parametrize("eighths", [False, True])
def test_numbers_are_paired_by_their_narrow_buckets_or_by_wide_ones_whichever_save_more(eighths: bool) -> None:
    random = np.random.default_rng(3)
    numbers = random.integers(32, size=(N, 2))
    cells = numbers // 8 if eighths else numbers
    labels = (random.random(N) < 1 / (1 + np.exp(-random.normal(0, 1, (32, 32))[tuple(cells.T)]))).astype(np.float32)

    def crosses(values: Any, numbers: list[int], **settings: Any) -> Crosses:
        encoder = Encoder([Field(name=name, **settings) for name in "xy"])
        features = encoder.encode([{"x": int(x), "y": int(y)} for x, y in values], [0] * N).features
        return Crosses(features, np.zeros(N, np.float32), labels, 0, numbers)

    narrow, wide = crosses(numbers, []).saved(0, 1), crosses(numbers // 8, []).saved(0, 1)
    judged = crosses(numbers, [0, 1], kind="numeric", bucket_width=1.0, tiles=4)
    found = judged.saved(0, 1)
    judged.take(0, 1)

    expected = wide if eighths else narrow
    assert expected == max(narrow, wide)
    assert found == pytest.approx(expected, rel=0.05)
    assert judged.saved(0, 1).share < found.share / 3
