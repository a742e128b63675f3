"""An arm beside the control: difference and ratio of each measure, with intervals that hold at every look.

    difference = arm − control
    relative   = arm / control − 1, whose interval is that of log(arm / control)

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
    relative: Interval | None  # None where the ratio has no logarithm
    error: float  # standard error of the log of the ratio, or of the difference where there is no ratio
    time: float  # effective impressions
    alpha: float

    @property
    def detectable(self) -> float:
        """The least true effect, in the ratio, that would be seen by now with a chance of 80 %."""
        return (multiplier(self.time, self.alpha) + POWER) * self.error


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
    time = impressions * (variance / naive if naive else 1.0)
    difference = interval(arm.value - control.value, math.sqrt(variance), time, alpha)
    if min(arm.value, control.value) <= 0:
        return Compared(difference, None, math.sqrt(variance), time, alpha)
    error = math.hypot(arm.error / arm.value, control.error / control.value)
    logs = interval(math.log(arm.value / control.value), error, time, alpha)
    return Compared(difference, Interval(*map(math.expm1, logs)), error, time, alpha)


def wait_for(found: Compared, effect: float) -> float:
    """Return how many times as many impressions are needed to see a true ``effect`` with a chance of 80 %; 1 or less: no more.

    >>> now = Compared(Interval(0, -1, 1), None, 0.01, 10_000, 0.05)
    >>> round(wait_for(now, now.detectable), 6), round(wait_for(now, now.detectable / 10))
    (1.0, 132)
    """
    low, high = 1e-6, 1e12
    for _ in range(100):
        times = math.sqrt(low * high)
        reached = found._replace(error=found.error / math.sqrt(times), time=found.time * times).detectable <= effect
        low, high = (low, times) if reached else (times, high)
    return high
