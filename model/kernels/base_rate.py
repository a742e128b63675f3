"""The click rate so far, as a part of the bias that is counted, not learned.

Where C is the weight of the clicks seen so far, and N that of the other impressions, the bias holds the log-odds

    ln (C + 1/2) − ln (N + 5)

beside what Adagrad has learned. A count is right after tens of examples, a gradient after thousands: where few impressions are
clicked, the logit would otherwise crawl down from 0 for as long. What is added to the counts is a Beta prior of mean 9 %, worth
five and a half examples: 1/2 is Krichevsky's and Trofimov's (1981), 5 is for streams where clicks are rare. A click rate that is known
beforehand is a prior of that mean, worth half a click at least, and five others.
"""

from math import log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.kernels.target import inner

OTHERS, CLICKS = 0, 1  # indices of the counts, which are labels
_PRIOR_OTHERS, _PRIOR_CLICKS = 5.0, 0.5


def counts_of(click_rate: float | None) -> NDArray[np.float64]:
    """Return the counts ``(2,)`` to begin with, where a click rate is known beforehand; None: it is not.

    >>> [counts_of(rate).round(3).tolist() for rate in (None, 0.002, 0.5)]
    [[0.0, 0.0], [244.5, 0.0], [0.0, 4.5]]
    """
    counts = np.zeros(2)
    if click_rate is not None:
        odds = click_rate / (1 - click_rate)
        others = max(_PRIOR_CLICKS / odds, _PRIOR_OTHERS)
        counts[OTHERS], counts[CLICKS] = others - _PRIOR_OTHERS, max(others * odds - _PRIOR_CLICKS, 0)
    return counts


@inner
def log_odds(counts: NDArray[np.float64]) -> float:
    """Return the log-odds of a click by the counts ``(2,)``."""
    return float(np.log(counts[CLICKS] + _PRIOR_CLICKS) - np.log(counts[OTHERS] + _PRIOR_OTHERS))


@inner
def count(counts: NDArray[np.float64], label: Any, weight: Any, fnw: bool) -> float:
    """Count an example of this weight, and return by how much the log-odds change.

    Under ``fnw`` an impression that is clicked was counted among the others before: it changes sides.
    """
    before = log_odds(counts)
    if label > 0:
        counts[CLICKS] += weight
        if fnw:
            counts[OTHERS] = max(counts[OTHERS] - weight, 0.0)
    else:
        counts[OTHERS] += weight
    return log_odds(counts) - before


def log_odds_of(counts: NDArray[np.float64]) -> float:
    """Return what :func:`log_odds` returns, outside of kernels."""
    return log(counts[CLICKS] + _PRIOR_CLICKS) - log(counts[OTHERS] + _PRIOR_OTHERS)
