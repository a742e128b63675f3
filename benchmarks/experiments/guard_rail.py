"""How many impressions it takes until an arm that is worse is stopped by its guard rail, and how often one that is not is.

    python -m benchmarks.experiments.guard_rail --experiments 40

writes guard_rail.json and prints its table. The site is the simulated one; both arms know the chance of a click roughly, and what the site
shows is what promises the most value by the prediction of the visitor's arm.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from experiments import bins
from experiments.comparison import Arm
from experiments.guard_rail import harms
from experiments.moments import COLUMNS, INDEX, moments
from service.commands.simulation.site import SCENARIOS, Site

Floats: TypeAlias = NDArray[np.float64]

HERE = Path(__file__).parent
BOUND = 0.1  # [experiment] guard_rail
LOOK_EVERY, MOST = 100, 12_000  # impressions
NOISE = 0.5  # of the logits that an arm knows

TREATMENTS: dict[str, Callable[[Floats, np.random.Generator], Floats]] = {  # logits → what the treatment takes them for
    "as good as control": lambda logits, _: logits,
    "upside down": lambda logits, _: -logits,
    "knows nothing of what it shows": lambda logits, random: random.permutation(logits),
    "the same for all": lambda logits, _: np.full_like(logits, -2.0),
    "four times the odds": lambda logits, _: logits + np.log(4),
}


def run(treatment: str, seed: int) -> tuple[int | None, str]:
    """Return after how many impressions of both arms the treatment is stopped, and why; None if it is not."""
    site, random = Site(seed, 50, SCENARIOS["feed"]), np.random.default_rng([seed, 2])
    users = site.scenario.users
    treated, sums = random.random(users) < 0.5, np.zeros((users, len(COLUMNS)))  # noqa: PLR2004 - half of them
    sums[:, INDEX["units"]] = 1
    shown = 0
    while shown < MOST:
        for _ in range(LOOK_EVERY // site.scenario.shown):
            visit = site.visit()
            user = int(visit.context["user_id"][1:])
            logits = np.log(visit.probabilities / (1 - visit.probabilities)) + random.normal(0, NOISE, len(visit.probabilities))
            p = 1 / (1 + np.exp(-(TREATMENTS[treatment](logits, random) if treated[user] else logits)))
            chosen = site.show(visit, p.tolist())
            clicked, p = visit.clicked[chosen], p[chosen]
            loss = -np.log(np.where(clicked, p, 1 - p))
            added = {
                "impressions": len(p),
                "clicks": clicked.sum(),
                "prediction": p.sum(),
                "loss": loss.sum(),
                "loss_squares": (loss**2).sum(),
            }
            for column, each in added.items():
                sums[user, INDEX[column]] += each
            shown += len(p)
        seen = sums[:, INDEX["impressions"]] > 0
        arms = {name: Arm(moments(sums[seen & (treated == its)]), bins.empty()) for name, its in (("control", False), ("treatment", True))}
        if found := harms(arms, "control", BOUND):
            return shown, found["treatment"].split()[0]
    return None, ""


def measure(treatment: str, experiments: int) -> dict[str, Any]:
    """Run many experiments."""
    runs = [run(treatment, seed) for seed in range(experiments)]
    stopped = [shown for shown, _ in runs if shown is not None]
    return {
        "experiments": experiments,
        "stopped": len(stopped),
        "median": statistics.median(stopped) if stopped else None,
        "most": max(stopped, default=None),
        "by_click_rate": sum(why == "click" for _, why in runs),
    }


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description="Count the impressions until an arm that is worse is stopped.")
    parser.add_argument("--experiments", type=int, default=40)
    parser.add_argument("--output", type=Path, default=HERE)
    arguments = parser.parse_args()
    file = arguments.output / "guard_rail.json"
    results = json.loads(file.read_text()) if file.exists() else {}
    for treatment in TREATMENTS:
        if results.get(treatment, {}).get("experiments", 0) < arguments.experiments:
            results[treatment] = measure(treatment, arguments.experiments)
            file.write_text(json.dumps(results, indent=1) + "\n")
    print("| the treatment's predictions | experiments | stopped | by click rate | impressions until then, median | most |")
    print("| --- " * 6 + "|")
    for treatment, found in results.items():
        numbers = [found[name] for name in ("experiments", "stopped", "by_click_rate", "median", "most")]
        print(f"| {treatment} | {' | '.join('-' if number is None else f'{number:,.0f}' for number in numbers)} |")


if __name__ == "__main__":
    main()
