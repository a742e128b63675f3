"""``sml bench step``: both sides learn what they are given, and the bytes that a step moves are those counted by hand."""

import numpy as np
import pytest
import torch

from service.bench.step import Eager, Fast, Traffic, Update, spec_of, traffic
from service.results.schema import schema

TINY = spec_of({"hidden": (4, 2), "embedding": 3}, fields=5, rows=256)


def test_the_kernels_side_learns_every_example_it_was_made_with() -> None:
    fast = Fast(TINY, 50, values_of_field=4)
    before = fast.model.digest()

    speed = fast.learn()

    assert speed > 0
    assert fast.model.examples == 50
    assert fast.model.digest() != before
    assert fast.model.table.counts[0] == len(np.unique(fast.features.keys)) <= 5 * 4


def test_the_eager_side_learns_the_tower_and_the_rows() -> None:
    eager = Eager(TINY, 5)
    before = [parameter.detach().clone() for parameter in (*eager.network.parameters(), eager.embedding.weight)]

    speed = eager.learn()

    assert speed > 0
    now = (*eager.network.parameters(), eager.embedding.weight)
    assert not all(torch.equal(a, b) for a, b in zip(now, before, strict=True))
    moved = (eager.embedding.weight != before[-1]).any(dim=1).nonzero()[:, 0]
    assert set(moved.tolist()) == set(eager.ids.flatten().tolist())


def test_traffic_is_what_one_counts_by_hand() -> None:
    fast = Fast(spec_of({"hidden": (4,), "embedding": 3}, rows=65_536), 20)
    fast.learn()

    parts = traffic(fast.model)

    # 39 rows of 3 + 1 numbers and as many accumulators, each read and written, and a line of keys for each.
    assert parts["rows"] == Traffic(39 * (8 * 4 + 64), 39 * (2 * 8 * 4 + 64))
    # The matrix (117, 4) thrice and its 117 accumulators twice; bias (4,), output (4,) and the model's bias (1,) thrice, theirs twice.
    tower = 4 * (3 * 117 * 4 + 2 * 117 + (4 + 4 + 1) * (3 + 2))
    assert parts["tower"].moved == pytest.approx(tower)
    # The meta learner (4, 4) and its 4 accumulators twice; its bias and the term's weights thrice, theirs twice.
    assert parts["skip"].moved == 4 * (2 * 16 + 2 * 4 + 2 * 4 * (3 + 2))


def test_bytes_are_moved_in_a_time_above_zero() -> None:
    assert Update(100_000.0).bandwidth() > 0


def test_a_line_has_a_schema() -> None:
    assert schema("bench step")["items"] == {"$ref": "#/$defs/StepSpeed"}
