"""Whether units came to the arms in the shares that were meant, asked as often as one likes.

A mismatch means that units are lost or counted twice on one side only, and then nothing else can be believed. Lindon, Malek:
"Anytime-Valid Inference for Multinomial Count Data", NeurIPS 2022. Against the shares θ stands a Dirichlet mixture around them, with
parameters a = k θ; of n units x_i are in arm i:

    odds = B(a + x) / B(a) / Π θ_i^x_i,    B(a) = Π Γ(a_i) / Γ(Σ a_i)

Under θ the chance that the odds ever reach 1/α is at most α (Ville's inequality).
"""

import math
from collections.abc import Sequence

MISMATCH = 0.01  # the chance that it is ever said without being so
_CONCENTRATION = 100.0  # k: what stands against the shares is near them, as most mismatches are


def log_odds(counts: Sequence[int], shares: Sequence[float]) -> float:
    """Return the log of the odds that the shares are not what was meant; infinite if an arm without a share has units.

    >>> log_odds([500, 500], [0.5, 0.5]) < 0 < log_odds([600, 400], [0.5, 0.5])
    True

    Args:
        counts: The units of each arm.
        shares: The share of each, summing to 1.
    """
    odds = math.lgamma(_CONCENTRATION) - math.lgamma(_CONCENTRATION + sum(counts))
    for count, share in zip(counts, shares, strict=True):
        if not share:
            odds += math.inf if count else 0.0
            continue
        prior = _CONCENTRATION * share
        odds += math.lgamma(prior + count) - math.lgamma(prior) - count * math.log(share)
    return odds


def mismatch(counts: Sequence[int], shares: Sequence[float]) -> bool:
    """Return whether the shares are not what was meant."""
    return log_odds(counts, shares) >= -math.log(MISMATCH)
