"""What must hold before an uplift means anything is looked at, each thing for itself."""

import numpy as np
import pytest

from experiments.report import Counted, guard_rails, report
from tests.experiments.worlds import World, arm_of

CHANCE = np.random.default_rng(5)
ARMS = {name: arm_of(World(), CHANCE, 1_000) for name in ("control", "treatment")}
SOUND = {arm: {"age_ms": 2_000_000, "aged": 1_000} for arm in ARMS}


def failing(counts: dict[str, dict[str, int]], heaviest: dict[str, dict[str, float]] | None = None) -> list[str]:
    counted = Counted("exp", "control", dict.fromkeys(ARMS, 0.5), ARMS, counts, heaviest or {})
    assert report(counted).fine == all(rail.fine for rail in guard_rails(counted))
    return [rail.name for rail in guard_rails(counted) if not rail.fine]


def with_counts(arm: str, **counts: int) -> dict[str, dict[str, int]]:
    return SOUND | {arm: SOUND.get(arm, {}) | counts}


@pytest.mark.parametrize(
    ("counts", "rails"),
    [
        (SOUND, []),
        (with_counts("treatment", age_ms=9_000_000), ["freshness"]),
        (with_counts("treatment", age_ms=2_900_000), []),  # less than a second apart
        (with_counts("treatment", without_prediction=500), ["errors"]),
        (with_counts("treatment", in_wrong_arm=50), ["errors"]),
        (with_counts("", deleted=1), ["errors"]),
        (with_counts("treatment", stood_in=500), ["stand-ins"]),
        (with_counts("treatment", forced=5_000), []),
    ],
)
def test_a_guard_rail_fails_for_its_reason_and_no_other(counts: dict[str, dict[str, int]], rails: list[str]) -> None:
    assert failing(counts) == rails


def test_a_unit_that_has_much_of_an_arm_is_said() -> None:
    assert failing(SOUND, {"control": {"impressions": 0.11, "value": 0.2}}) == ["heavy units"]
    assert failing(SOUND, {"control": {"impressions": 0.09, "value": 0.26}}) == ["heavy units"]
    assert failing(SOUND, {"control": {"impressions": 0.09, "value": 0.24}}) == []


def test_what_is_left_out_is_summed_over_the_arms() -> None:
    counts = {"control": {"forced": 2}, "treatment": {"forced": 3, "stood_in": 1}, "": {"of_another_arm": 1}}

    found = report(Counted("exp", "control", dict.fromkeys(ARMS, 0.5), ARMS, counts, {}))

    assert found.left_out == {"forced": 5, "of_another_arm": 1}
