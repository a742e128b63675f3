"""The week of Table 3: what an arm has learned was decided by then, and shown by whom the experiment says; arms that are alike bring the same."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.experiments import week
from benchmarks.experiments.table3 import EXPERIMENTS, run
from benchmarks.experiments.week import DECIDED, SETTINGS, STEP, Experiment, Week, steps
from experiments.moments import INDEX
from service.settings import load

SMALL: dict[str, Any] = {"scenario": "feed", "hidden": (8, 4), "rate": 4.0}


@pytest.fixture(autouse=True)
def one_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(week, "BEFORE", 0)
    monkeypatch.setattr(week, "DAYS", 1)


def impressions(of: Week) -> dict[str, float]:
    shown = of._sums[:, INDEX["impressions"]]
    return {"control": shown[~of._treated].sum(), "treatment": shown[of._treated].sum()}


@pytest.mark.parametrize("learn_from", ["all", "own"])
def test_an_arm_has_learned_what_was_decided_by_then_and_nothing_of_the_other_where_it_learns_from_its_own(learn_from: Any) -> None:
    experiment, spec = Experiment(**SMALL, learn_from=learn_from), load(SETTINGS).spec
    of, shown = Week(experiment, 1, spec), {}

    for step in steps(experiment.site(1), spec.fields):
        if step.begins > 30:
            break
        of.take(step)
        shown[step.begins + STEP] = impressions(of)
        known = max((end for end in shown if end + DECIDED <= step.begins), default=None)
        decided = shown[known] if known else {"control": 0, "treatment": 0}
        expected = decided if learn_from == "own" else dict.fromkeys(decided, sum(decided.values()))
        assert {name: arm.model.examples for name, arm in of.arms.items()} == expected

    assert all(count > 20 for count in decided.values())


def test_arms_that_are_alike_show_and_predict_the_same_and_the_report_finds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(week, "ARMS", {"control": "none", "treatment": "none"})

    (found,) = week.run([Experiment(**SMALL)], seed=1)

    assert found["true"]["control"] == found["true"]["treatment"]
    assert abs(found["auc"]["difference"]) < 4 * found["auc"]["error"]
    assert 0.5 < found["true"]["control"]["value"][0] / found["best_value"] < 1
    assert sum(sums[0][INDEX["units"]] for sums in found["moments"].values()) > 300


def test_an_experiment_brings_the_same_alone_and_beside_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(week, "DAY", 200.0)
    one, other = Experiment(**SMALL), Experiment(**SMALL, learn_from="own")

    assert week.run([one, other], seed=1) == week.run([one], seed=1) + week.run([other], seed=1)


def test_runs_that_are_kept_are_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Experiment, int]] = []

    def fake(experiments: list[Experiment], seed: int) -> list[dict[str, Any]]:
        asked.extend((experiment, seed) for experiment in experiments)
        return [{"auc": {"difference": 1 / 3}} for _ in experiments]

    monkeypatch.setattr(week, "run", fake)
    run(tmp_path / "table3.jsonl", 1)
    run(tmp_path / "table3.jsonl", 2)

    assert sorted(asked) == sorted((experiment, seed) for seed in (0, 1) for experiment in EXPERIMENTS)
    assert [seed for _, seed in asked] == [0] * len(EXPERIMENTS) + [1] * len(EXPERIMENTS)
