"""An arm beside the control: difference and ratio of each measure, with intervals that hold at every look.

    difference = arm − control
    relative   = arm / control − 1

The interval of the ratio θ holds what the data can't tell from it (Fieller: "Some Problems in Interval Estimation", 1954), so it leaves
out 0 exactly where that of the difference does, even where one value outweighs all others:

    |arm − θ control| ≤ m √(error_arm² + θ² error_control²)

With several arms each comparison gets its part of α (Bonferroni), so that all intervals of a measure hold together.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

from experiments.bins import Counts, auc
from experiments.moments import RATES, Estimate, Moments, estimates, total
from experiments.sequence import Interval, interval, multiplier

LEAST_UNITS, LEAST_CLICKS = 100, 30  # of every arm, before which nothing is near normal: no interval is given
ALPHA = 0.05


class Arm(NamedTuple):
    """What is summed of one arm."""

    moments: Moments
    bins: Counts


class Compared(NamedTuple):
    """A measure of an arm beside the control's."""

    difference: Interval
    relative: Interval | None  # None where the control's value may as well be 0
    error: float  # standard error of the difference
    base: float  # the control's value
    time: float  # effective impressions
    alpha: float

    @property
    def detectable(self) -> float:
        """The least true relative effect that would be seen by now with a chance of 80 %."""
        return (multiplier(self.time, self.alpha) + POWER) * self.error / abs(self.base) if self.base else math.inf


POWER = 0.8416  # the 80 % quantile of the normal distribution


def ready(arm: Arm) -> bool:
    """Return whether an arm has units and clicks enough for intervals."""
    return total(arm.moments, "units") >= LEAST_UNITS and total(arm.moments, "clicks") >= LEAST_CLICKS


def compare(arms: Mapping[str, Arm], control: str, *, alpha: float = ALPHA, adjust: bool = True) -> dict[tuple[str, str], Compared]:
    """Compare every arm with the control; return (arm, measure) → what was found of those that are :func:`ready`.

    Args:
        arms: The arms by name, the control among them.
        control: Its name.
        alpha: The chance that for one measure any arm's truth is ever outside its interval.
        adjust: Whether to adjust by behaviour before (CUPED).
    """
    each = alpha / max(len(arms) - 1, 1)
    arms = {name: arm for name, arm in arms.items() if ready(arm)}
    if control not in arms:
        return {}
    names, sums = list(arms), [arm.moments for arm in arms.values()]
    measured = {name: dict(zip(names, estimates(sums, rate, adjust=adjust), strict=True)) for name, rate in RATES.items()}
    areas = {name: auc(arm.bins) for name, arm in arms.items()}
    clicks = measured["click_rate"]
    if all(areas.values()):
        # Where the error of the AUC were if impressions were independent is not known: its design effect is taken from the clicks.
        measured["auc"] = {
            name: Estimate(*found, found[1] * clicks[name].naive / (clicks[name].error or 1)) for name, found in areas.items() if found
        }
    return {
        (name, measure): _beside(of[name], of[control], _harmonic(arms[name], arms[control]), each)
        for measure, of in measured.items()
        for name in names
        if name != control
    }


def _harmonic(arm: Arm, control: Arm) -> float:
    one, other = total(arm.moments, "impressions"), total(control.moments, "impressions")
    return one * other / (one + other)


def _beside(arm: Estimate, control: Estimate, impressions: float, alpha: float) -> Compared:
    variance, naive = arm.error**2 + control.error**2, arm.naive**2 + control.naive**2
    time = impressions * (variance / naive if variance and naive else 1.0)
    difference = interval(arm.value - control.value, math.sqrt(variance), time, alpha)
    relative = _relative(arm, control, multiplier(time, alpha))
    return Compared(difference, relative, math.sqrt(variance), control.value, time, alpha)


def _relative(arm: Estimate, control: Estimate, reach: float) -> Interval | None:
    """Solve Fieller's inequality, which is quadratic in θ."""
    square = control.value**2 - (reach * control.error) ** 2
    if control.value <= 0 or square <= 0:
        return None
    product = arm.value * control.value
    root = math.sqrt(max(product**2 - square * (arm.value**2 - (reach * arm.error) ** 2), 0.0))
    return Interval(arm.value / control.value - 1, (product - root) / square - 1, (product + root) / square - 1)


def wait_for(found: Compared, effect: float) -> float:
    """Return how many times as many impressions are needed to see a true ``effect`` with a chance of 80 %; 1 or less: no more.

    >>> now = Compared(Interval(0, -1, 1), None, 0.01, 1.0, 10_000, 0.05)
    >>> round(wait_for(now, now.detectable), 6), round(wait_for(now, now.detectable / 10))
    (1.0, 132)
    """
    low, high = 1e-6, 1e12
    for _ in range(100):
        times = math.sqrt(low * high)
        reached = found._replace(error=found.error / math.sqrt(times), time=found.time * times).detectable <= effect
        low, high = (low, times) if reached else (times, high)
    return high
