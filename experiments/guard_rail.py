"""Whether an arm is worse than control beyond doubt, by more than it may be: then it is to be stopped.

Two measures are looked at, each with half of α; their intervals hold at every look, so one may look as often as one likes:

    harm of the click rate = 1 − arm / control
    harm of the log loss   = (loss / entropy of the click rate) of the arm / the same of control − 1

An arm that finds more clicks has a higher log loss without being worse; the entropy takes that out. Where the click rates themselves are
not sure, the one within their interval that excuses the arm most counts. Units that have much of an arm's impressions are left out: with
one that has nearly all, no interval means anything.
"""

import math
from collections.abc import Mapping

from experiments.comparison import ALPHA, Arm, compare
from experiments.moments import INDEX, Floats, moments, total

HEAVY = 0.1  # the share of an arm's impressions above which a unit is left out
_EVEN = 0.5  # the click rate of the largest entropy


def harms(arms: Mapping[str, Arm], control: str, bound: float, *, alpha: float = ALPHA) -> dict[str, str]:
    """Return the arms whose harm is surely above ``bound``, each with the reason, once they have units and clicks enough.

    Args:
        arms: The arms by name, the control among them.
        control: Its name.
        bound: The relative harm that an arm may do: 0.1 is 10 %.
        alpha: The chance that an arm without such harm is ever said to do it.
    """
    found = compare(arms, control, alpha=alpha / 2)
    reasons = {}
    for name in arms:
        clicks, loss = found.get((name, "click_rate")), found.get((name, "log_loss"))
        if clicks is None or loss is None or clicks.relative is None or loss.relative is None:
            continue
        low, high = clicks.relative.low, clicks.relative.high
        excused = (1 + loss.relative.low) / _entropy_ratio(clicks.base, low, high) - 1
        if high < -bound:
            reasons[name] = f"click rate {clicks.relative.estimate:+.1%} ({low:+.1%} to {high:+.1%}), bound -{bound:.1%}"
        elif excused > bound:
            reasons[name] = f"log loss {loss.relative.estimate:+.1%}, {excused:+.1%} or more beside the click rate, bound +{bound:.1%}"
    return reasons


def without_heavy(arm: Arm, heaviest: Floats) -> Arm:
    """Return an arm without the units that have too much of it, of what is left when heavier ones are left out.

    Args:
        arm: The arm.
        heaviest: Its units of the most impressions, the heaviest first, ``(N, D)``.
    """
    left, heavy = total(arm.moments, "impressions"), 0
    for impressions in heaviest[:, INDEX["impressions"]]:
        if impressions <= HEAVY * left:
            break
        left, heavy = left - impressions, heavy + 1
    return arm._replace(moments=arm.moments - moments(heaviest[:heavy]))


def _entropy_ratio(rate: float, low: float, high: float) -> float:
    """Return the most that the entropy of a click rate ``rate`` · (1 + ``low`` … ``high``) is, as a multiple of that of ``rate``.

    >>> _entropy_ratio(0.5, -0.5, 0.0), round(_entropy_ratio(0.1, -0.2, 0.2), 3)
    (1.0, 1.129)
    """
    most = min(max(_EVEN, rate * (1 + low)), rate * (1 + high))  # of all in the interval the nearest to even
    return _entropy(most) / _entropy(rate)


def _entropy(rate: float) -> float:
    rate = min(max(rate, 1e-12), 1 - 1e-12)
    return -rate * math.log(rate) - (1 - rate) * math.log1p(-rate)
