"""The paper's Table 3, done again on the simulated site: a plain network against one with SML, half of the visitors each, for a week.

    python -m benchmarks.experiments.table3 --seeds 10

runs what table3.jsonl does not hold yet, prints the tables of benchmarks/experiments/README.md, and draws table3.svg.
"""

import argparse
import json
import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import t as student

from benchmarks.experiments import week
from benchmarks.experiments.week import DAYS, Experiment
from experiments.bins import empty
from experiments.comparison import ALPHA, Arm, compare
from experiments.moments import total
from experiments.sequence import Interval, interval

HERE = Path(__file__).parent
DEEP = (64,) * 16
PAPER = {"feed": ("+0.07 %", "+3.28 %"), "video": ("+0.15 %", "+1.13 %")}  # AUC and ADVV of the paper's two scenarios
EXPERIMENTS = [
    Experiment(scenario, **more) for more in ({}, {"learn_from": "own"}, {"hidden": DEEP}, {"change": True}) for scenario in PAPER
]


class Found(NamedTuple):
    """What the runs of an experiment say together; all are relative: treatment / control - 1."""

    seeds: int
    impressions: int
    clicks: int
    auc: Interval  # as a report has it, from what each arm has shown
    value: Interval
    true_auc: Interval  # of the same candidates, predicted by both; over seeds
    true_value: Interval  # of what each would have shown on the same visits, by the true probabilities; over seeds
    of_best: float  # the control's value, as a share of that of who knows the truth


def name_of(experiment: Experiment) -> str:
    """Return an experiment as its runs are kept."""
    return json.dumps(experiment._asdict(), separators=(",", ":"))


def run(path: Path, seeds: int) -> None:
    """Run what is missing, seed by seed, and append each run."""
    done = {(each["experiment"], each["seed"]) for each in read(path)}
    for seed in range(seeds):
        missing = [each for each in EXPERIMENTS if (name_of(each), seed) not in done]
        for _, group in groupby(sorted(missing, key=_site), _site):
            together = list(group)
            found = week.run(together, seed)
            kept = [{"experiment": name_of(each), "seed": seed} | its for each, its in zip(together, found, strict=True)]
            with path.open("a") as file:
                file.writelines(json.dumps(_rounded(each), separators=(",", ":")) + "\n" for each in kept)


def _site(experiment: Experiment) -> tuple[bool, str]:
    """Return what experiments on the same site have equal."""
    return experiment.change, experiment.scenario


def read(path: Path) -> list[dict[str, Any]]:
    """Return the runs that are kept."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _rounded(found: Any) -> Any:
    if isinstance(found, dict):
        return {name: _rounded(each) for name, each in found.items()}
    if isinstance(found, list):
        return [_rounded(each) for each in found]
    return float(f"{found:.9g}") if isinstance(found, float) else found


def pooled(runs: Sequence[dict[str, Any]]) -> Found:
    """Return what runs of an experiment say together; another seed is another site, with other visitors."""
    sums = {arm: np.sum([run["moments"][arm] for run in runs], axis=0) for arm in ("control", "treatment")}
    value = compare({arm: Arm(each, empty()) for arm, each in sums.items()}, "control")["treatment", "value_per_impression"].relative
    return Found(
        seeds=len(runs),
        impressions=int(sum(total(each, "impressions") for each in sums.values())),
        clicks=int(sum(total(each, "clicks") for each in sums.values())),
        auc=_measured_auc([run["auc"] for run in runs]),
        value=value or Interval(math.nan, math.nan, math.nan),
        true_auc=over_seeds(fmean(each["treatment"]["auc"]) / fmean(each["control"]["auc"]) - 1 for each in _true(runs)),
        true_value=over_seeds(sum(each["treatment"]["value"]) / sum(each["control"]["value"]) - 1 for each in _true(runs)),
        of_best=fmean(sum(run["true"]["control"]["value"]) / run["best_value"] for run in runs),
    )


def _true(runs: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    return (run["true"] for run in runs)


def _measured_auc(runs: Sequence[dict[str, float]]) -> Interval:
    """Return the mean of the runs' differences, relative to control's mean."""
    base, error = fmean(run["base"] for run in runs), math.sqrt(sum(run["error"] ** 2 for run in runs)) / len(runs)
    found = interval(fmean(run["difference"] for run in runs), error, sum(run["time"] for run in runs), ALPHA)
    return Interval(*(each / base for each in found))


def over_seeds(values: Iterable[float]) -> Interval:
    """Return the mean of some seeds' values, and its 95 % interval by Student's t."""
    kept = list(values)
    if len(kept) < 2:  # noqa: PLR2004 - no spread
        return Interval(kept[0], -math.inf, math.inf)
    reach = float(student.ppf(0.975, len(kept) - 1)) * stdev(kept) / math.sqrt(len(kept))
    return Interval(fmean(kept), fmean(kept) - reach, fmean(kept) + reach)


def title(experiment: Experiment) -> str:
    """Return what is special about an experiment."""
    depth = f"{len(experiment.hidden)} layers, learns from {experiment.learn_from}"
    return f"{depth}, tastes change at once" if experiment.change else depth


def _percent(found: Interval) -> str:
    return f"{found.estimate:+.2%} ({found.low:+.2%} to {found.high:+.2%})"


def lines(runs: Sequence[dict[str, Any]]) -> Iterable[str]:
    """Yield the table."""
    yield "| scenario | | seeds | AUC: paper | measured | true | ADVV: paper | measured | true | control's, of the best |"
    yield "| --- " * 10 + "|"
    for experiment in EXPERIMENTS:
        its = [each for each in runs if each["experiment"] == name_of(experiment)]
        if its:
            found, (auc, value) = pooled(its), PAPER[experiment.scenario]
            measured = " | ".join(_percent(each) for each in (found.auc, found.true_auc))
            yield (
                f"| {experiment.scenario} | {title(experiment)} | {found.seeds} | {auc} | {measured} | {value} "
                f"| {_percent(found.value)} | {_percent(found.true_value)} | {found.of_best:.0%} |"
            )


def draw(runs: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the true uplift of the value and of the AUC, day by day."""
    import matplotlib as mpl  # noqa: PLC0415 - only who draws needs it
    from matplotlib.figure import Figure  # noqa: PLC0415

    mpl.rcParams["svg.hashsalt"] = "sml"
    canvas = Figure(figsize=(9, 6), layout="constrained")
    grid = canvas.subplots(2, len(PAPER), sharex=True)
    for column, scenario in enumerate(PAPER):
        for row, measure in enumerate(("value", "auc")):
            axes = grid[row, column]
            for experiment in EXPERIMENTS:
                its = [each["true"] for each in runs if each["experiment"] == name_of(experiment)]
                if experiment.scenario == scenario and its:
                    ratios = [np.divide(each["treatment"][measure], each["control"][measure]) - 1 for each in its]
                    axes.plot(range(1, DAYS + 1), 100 * np.mean(ratios, axis=0), marker=".", label=title(experiment))
            axes.axhline(0, color="black", linewidth=0.8)
            axes.set_title(f"{scenario}: {'ADVV' if measure == 'value' else 'AUC'}")
            axes.set_ylabel("uplift by SML, %")
        grid[1, column].set_xlabel("day")
    grid[0, 0].legend(fontsize=8)
    canvas.savefig(path, metadata={"Date": None})


def main() -> None:
    """Run what is missing, print the table, and draw."""
    parser = argparse.ArgumentParser(description="Do the paper's Table 3 again, on the simulated site.")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--output", type=Path, default=HERE)
    parser.add_argument("--draw", action="store_true", help="only print and draw what table3.jsonl holds")
    arguments = parser.parse_args()
    file = arguments.output / "table3.jsonl"
    if not arguments.draw:
        run(file, arguments.seeds)
    runs = read(file)
    print("\n".join(lines(runs)))
    draw(runs, arguments.output / "table3.svg")


if __name__ == "__main__":
    main()
