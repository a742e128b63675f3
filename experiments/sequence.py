"""Confidence sequences: intervals that all hold at once, however often one looks and whenever one stops.

Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas: "Time-uniform central limit theory and asymptotic confidence sequences", arXiv
2103.06476. With t observations of variance σ², Theorem 2.2 gives, for every t at once with probability 1 − α (asymptotically),

    |mean_t − μ| ≤ σ √( 2 (t ρ² + 1) / (t² ρ²) · log( √(t ρ² + 1) / α ) )  =  m(t ρ²) σ / √t,
    m(r) = √( (1 + 1/r) log( (1 + r) / α² ) )

so an interval is the usual one with m(r) standard errors in place of 1.96. ρ only decides at which t it is tightest.

Visitors who return make later observations lean the way of earlier ones. By Slepian's inequality that makes a crossing less likely than
for independent observations *of the same variance*, so r must grow as the variance of the sum does: t is not the count of impressions
but that count times the design effect, the variance by unit over what it would be if impressions were independent.
"""

import math
from statistics import NormalDist
from typing import NamedTuple

TIGHTEST = 10_000.0  # effective impressions at which intervals are tightest; at 100 times as many they are 18 % wider than they could be


class Interval(NamedTuple):
    """An estimate, and what it may as well be."""

    estimate: float
    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Return whether ``value`` is within."""
        return self.low <= value <= self.high


def multiplier(time: float, alpha: float) -> float:
    """Return m(r): how many standard errors to each side an interval reaches.

    >>> round(multiplier(TIGHTEST, 0.05), 2), round(multiplier(100 * TIGHTEST, 0.05), 2)
    (3.04, 3.57)

    Args:
        time: Effective impressions.
        alpha: The chance that the truth is ever outside.
    """
    r = time * best_ratio(alpha) / TIGHTEST
    return math.sqrt((1 + 1 / r) * math.log((1 + r) / alpha**2))


def best_ratio(alpha: float) -> float:
    """Return the r at which m(r) is least: where r = log((1 + r) / α²).

    >>> round(best_ratio(0.05), 2)
    8.21
    """
    r = 1.0
    for _ in range(60):  # each step brings it nearer by a factor of 1 + r
        r = math.log((1 + r) / alpha**2)
    return r


def interval(estimate: float, error: float, time: float, alpha: float) -> Interval:
    """Return the interval of the confidence sequence at this look.

    Args:
        estimate: What is estimated.
        error: Its standard error.
        time: Effective impressions.
        alpha: The chance that the truth is ever outside.
    """
    reach = multiplier(time, alpha) * error
    return Interval(estimate, estimate - reach, estimate + reach)


def fixed_interval(estimate: float, error: float, alpha: float) -> Interval:
    """Return the interval for a single look, at a time that was fixed before: what the price of looking often is measured against."""
    reach = NormalDist().inv_cdf(1 - alpha / 2) * error
    return Interval(estimate, estimate - reach, estimate + reach)
