"""A/A: how often intervals exclude the truth at any look, when both arms are the same.

    python -m benchmarks.experiments.intervals --experiments 1000

measures what intervals.json does not hold yet, and draws intervals.svg.
"""

import argparse
import json
import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.experiments.simulation import Simulation, World, names
from experiments.comparison import compare
from experiments.moments import RATES, total
from experiments.sequence import fixed_interval
from experiments.shares import mismatch

HERE = Path(__file__).parent
WORLDS = {
    "50 / 50": (World(), 1.0),
    "90 / 10": (World(shares=(0.9, 0.1), visitors=2_500), 0.2),  # of fewer experiments
    "three arms": (World(shares=(0.34, 0.33, 0.33), visitors=1_500), 0.2),
}


def run(world: World, seed: int) -> dict[str, Any]:
    """Run one experiment; return the look at which the truth was first outside, by measure, and at which the shares were wrong."""
    always: dict[str, int] = {}
    once: dict[str, int] = {}
    wrong, impressions = math.inf, 0.0
    for look, arms in enumerate(Simulation(world, seed).days()):
        if mismatch([int(total(arms[name].moments, "units")) for name in names(world)], world.shares):
            wrong = min(wrong, look)
        for (_, measure), found in compare(arms, "control").items():
            if not found.difference.holds(0):
                always.setdefault(measure, look)
            if not fixed_interval(found.difference.estimate, found.error, found.alpha).holds(0):
                once.setdefault(measure, look)
        impressions = sum(total(arm.moments, "impressions") for arm in arms.values())
    return {"always": always, "once": once, "shares": None if wrong == math.inf else int(wrong), "impressions": impressions}


def measure(experiments: int, world: World, jobs: int) -> dict[str, Any]:
    """Run many experiments."""
    with ProcessPoolExecutor(jobs) as pool:
        return summary(list(pool.map(partial(run, world), range(experiments), chunksize=4)), world)


def summary(runs: Sequence[dict[str, Any]], world: World) -> dict[str, Any]:
    """Return the share of experiments in which each measure was ever outside, by look."""

    def ever(kind: str, measure: str) -> list[float]:
        return [sum(run[kind].get(measure, world.days) <= look for run in runs) / len(runs) for look in range(world.days)]

    measures = [*RATES, "auc"] if world.ranked else list(RATES)
    return {
        "experiments": len(runs),
        "world": world._asdict(),
        "impressions": sum(run["impressions"] for run in runs) / len(runs),
        "always": {name: ever("always", name) for name in measures},
        "once": {name: ever("once", name) for name in measures},
        "shares": sum(run["shares"] is not None for run in runs) / len(runs),
    }


def draw(results: dict[str, Any], path: Path) -> None:
    """Draw the share of experiments in which the truth was ever outside, by the number of looks."""
    import matplotlib as mpl  # noqa: PLC0415 - only who draws needs it
    from matplotlib.figure import Figure  # noqa: PLC0415

    mpl.rcParams["svg.hashsalt"] = "sml"
    canvas = Figure(figsize=(4.2 * len(results), 3.6), layout="constrained")
    for axes, (name, found) in zip(canvas.subplots(1, len(results), sharey=True, squeeze=False)[0], results.items(), strict=True):
        for measure, ever in found["always"].items():
            (line,) = axes.plot(range(1, len(ever) + 1), ever, label=measure.replace("_", " "))
            axes.plot(range(1, len(ever) + 1), found["once"][measure], color=line.get_color(), linestyle=":")
        axes.axhline(0.05, color="black", linewidth=0.8)
        axes.set_title(f"A/A, {name}: {found['experiments']:,} experiments")
        axes.set_xlabel("looks (days)")
    canvas.axes[0].set_ylabel("experiments in which 0 was ever outside")
    canvas.axes[0].legend(title="always valid; dotted: for one look", fontsize=8)
    canvas.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measure, print a table, and draw."""
    parser = argparse.ArgumentParser(description="Count how often intervals exclude the truth at any look, when both arms are the same.")
    parser.add_argument("--experiments", type=int, default=1_000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--output", type=Path, default=HERE)
    parser.add_argument("--draw", action="store_true", help="only draw what intervals.json holds")
    arguments = parser.parse_args()
    file = arguments.output / "intervals.json"
    results = json.loads(file.read_text()) if file.exists() else {}
    for name, (world, part) in {} if arguments.draw else WORLDS.items():
        count = round(part * arguments.experiments)
        if results.get(name, {}).get("experiments", 0) < count:
            results[name] = measure(count, world, arguments.jobs)
            file.write_text(json.dumps(results, indent=1) + "\n")
    print("| shares | measure | ever outside, always valid | ever outside, for one look |\n| --- | --- | --- | --- |")
    for name, found in results.items():
        for each in found["always"]:
            print(f"| {name} | {each.replace('_', ' ')} | {found['always'][each][-1]:.1%} | {found['once'][each][-1]:.1%} |")
        print(f"| {name} | shares said to be wrong | {found['shares']:.1%} | |")
    draw(results, arguments.output / "intervals.svg")


if __name__ == "__main__":
    main()
