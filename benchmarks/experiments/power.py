"""A/B: how often a true effect is found, and how soon, beside the test for a single look at a time fixed before.

    python -m benchmarks.experiments.power --experiments 400

measures what power.json does not hold yet, and draws power.svg.
"""

import argparse
import json
import math
import statistics
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

from benchmarks.experiments.simulation import Simulation, World
from experiments.comparison import compare
from experiments.sequence import fixed_interval

HERE = Path(__file__).parent
LIFTS = (0.0, 0.15, 0.25, 0.4)  # of the logit


def run(world: World, seed: int) -> tuple[list[bool], list[bool], float]:
    """Run one experiment; return by look whether the always-valid interval says so, whether that for one look does, and the last ratio."""
    always, once, ratio = [], [], math.nan
    for arms in Simulation(world, seed).days():
        found = compare(arms, "control").get(("arm1", "click_rate"))
        if found is None or found.relative is None:
            always.append(False)
            once.append(False)
            continue
        always.append(not found.difference.holds(0))
        once.append(not fixed_interval(found.difference.estimate, found.error, found.alpha).holds(0))
        ratio = found.relative.estimate
    return always, once, ratio


def measure(experiments: int, world: World, jobs: int) -> dict[str, Any]:
    """Run many experiments of one lift."""
    with ProcessPoolExecutor(jobs) as pool:
        return summary(list(pool.map(partial(run, world), range(experiments), chunksize=4)), world)


def summary(runs: Sequence[tuple[list[bool], list[bool], float]], world: World) -> dict[str, Any]:
    """Return by look how many experiments have found the effect, in each way."""
    decided = [always.index(True) + 1 if True in always else math.inf for always, _, _ in runs]
    days = statistics.median(decided)
    return {
        "experiments": len(runs),
        "lift": world.lift,
        "relative": statistics.fmean(ratio for _, _, ratio in runs),
        "always": [sum(day <= look for day in decided) / len(runs) for look in range(1, world.days + 1)],
        "once": [sum(once[look] for _, once, _ in runs) / len(runs) for look in range(world.days)],
        "any": [sum(any(once[: look + 1]) for _, once, _ in runs) / len(runs) for look in range(world.days)],
        "days": None if math.isinf(days) else days,
    }


def draw(results: list[dict[str, Any]], path: Path) -> None:
    """Draw power by the day."""
    import matplotlib as mpl  # noqa: PLC0415 - only who draws needs it
    from matplotlib.figure import Figure  # noqa: PLC0415

    mpl.rcParams["svg.hashsalt"] = "sml"
    canvas = Figure(figsize=(3.4 * len(results), 3.4), layout="constrained")
    for axes, found in zip(canvas.subplots(1, len(results), sharey=True, squeeze=False)[0], results, strict=True):
        days = range(1, len(found["always"]) + 1)
        axes.plot(days, found["always"], label="always valid, one look a day")
        axes.plot(days, found["once"], linestyle="--", label="fixed: one look, on that day")
        axes.plot(days, found["any"], linestyle=":", label="fixed, but looked at daily")
        axes.set_title(f"click rate {found['relative']:+.1%}")
        axes.set_xlabel("days")
    canvas.axes[0].set_ylabel("experiments that have found it")
    canvas.axes[0].legend(fontsize=8)
    canvas.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measure, print a table, and draw."""
    parser = argparse.ArgumentParser(description="Count how often, and how soon, a true effect is found.")
    parser.add_argument("--experiments", type=int, default=400)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--output", type=Path, default=HERE)
    parser.add_argument("--draw", action="store_true", help="only draw what power.json holds")
    arguments = parser.parse_args()
    file = arguments.output / "power.json"
    results = json.loads(file.read_text()) if file.exists() else []
    for lift in () if arguments.draw else LIFTS:
        others = [each for each in results if each["lift"] != lift]
        if not any(each["lift"] == lift and each["experiments"] >= arguments.experiments for each in results):
            found = measure(arguments.experiments, World(lift=lift, ranked=False), arguments.jobs)
            results = sorted([*others, found], key=itemgetter("lift"))
            file.write_text(json.dumps(results, indent=1) + "\n")
    print(
        "| click rate | found by the last day, always valid | fixed, at the last day | fixed, looked at daily | days to decision, median |"
    )
    print("| --- | --- | --- | --- | --- |")
    for found in results:
        shown = " | ".join(f"{found[kind][-1]:.0%}" for kind in ("always", "once", "any"))
        print(f"| {found['relative']:+.1%} | {shown} | {found['days'] or 'later'} |")
    draw(results, arguments.output / "power.svg")


if __name__ == "__main__":
    main()
