"""Sums by unit, and the estimates that follow from them: rates, their differences and ratios, adjusted by behaviour before.

A unit (a user) is assigned as a whole, so its impressions are not independent: variances are over units. Each unit is one vector u of
sums, and an arm is the matrix M = Σ u uᵀ over its units: sums, squares and products of all columns. Matrices of different units add.

Delta method for a rate R = Σx / Σy of n units, ȳ the mean of y (Deng, Knoblich, Lu: "Applying the Delta Method in Metric Analytics",
KDD 2018):

    ψ_i = (x_i − R y_i) / ȳ,    error² = Σ ψ_i² / (n (n − 1))

CUPED (Deng, Xu, Kohavi, Walker, WSDM 2013) subtracts what the unit's behaviour before the experiment, c_i, foretells; the assignment
can't have changed that. θ is the least squares fit of ψ on c within the arms, c̄ the mean of all:

    R_arm − θ·(c̄_arm − c̄),    ψ_i − θ·(c_i − c̄_arm) in place of ψ_i
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Moments: TypeAlias = Floats  # (D, D)

OF_UNIT = ("impressions", "clicks", "value", "loss", "prediction", "value_squares", "loss_squares")
BEFORE = ("impressions_before", "clicks_before", "value_before")
COLUMNS = ("units", *OF_UNIT, "known", *BEFORE)  # units is 1; known is 1 where something is known of before
INDEX = {name: index for index, name in enumerate(COLUMNS)}
_COVARIATES = [INDEX[name] for name in ("known", *BEFORE)]


class Rate(NamedTuple):
    """What is measured: a sum over another sum."""

    numerator: str
    denominator: str
    squares: str | None = None  # the sum of squares over impressions, where the denominator is impressions


RATES = {
    "click_rate": Rate("clicks", "impressions", "clicks"),  # a click is its own square
    "value_per_impression": Rate("value", "impressions", "value_squares"),
    "log_loss": Rate("loss", "impressions", "loss_squares"),
    "calibration": Rate("prediction", "clicks"),
}


class Estimate(NamedTuple):
    """A rate of one arm."""

    value: float
    error: float  # its standard error, over units
    naive: float  # what that would be if impressions were independent


def moments(units: Any) -> Moments:
    """Return the matrix of some units, ``(N, D)`` in the order of ``COLUMNS``."""
    rows = np.asarray(units, np.float64).reshape(-1, len(COLUMNS))
    products: Moments = rows.T @ rows
    return products


def total(arm: Moments, column: str) -> float:
    """Return the sum of a column over the units of an arm."""
    return float(arm[0, INDEX[column]])


def estimates(arms: Sequence[Moments], rate: Rate, *, adjust: bool = True) -> list[Estimate]:
    """Estimate a rate in each arm; every arm must have two units and a denominator above zero.

    Args:
        arms: One matrix an arm.
        rate: What to estimate.
        adjust: Whether by behaviour before (CUPED).
    """
    influences = [_influence(arm, rate) for arm in arms]  # (D,) each: ψ_i = influence · u_i
    centred = [arm - np.outer(arm[0], arm[0]) / arm[0, 0] for arm in arms]  # (D, D) each
    means = [arm[0] / arm[0, 0] for arm in arms]
    everywhere = np.sum([arm[0] for arm in arms], axis=0) / sum(arm[0, 0] for arm in arms)  # (D,)
    theta = _theta(centred, influences) if adjust else np.zeros(len(COLUMNS))
    found = []
    for arm, influence, spread, mean in zip(arms, influences, centred, means, strict=True):
        units, residual = arm[0, 0], influence - theta
        value = total(arm, rate.numerator) / total(arm, rate.denominator) - float(theta @ (mean - everywhere))
        error = math.sqrt(max(float(residual @ spread @ residual), 0.0) / (units * (units - 1)))
        found.append(Estimate(value, error, _naive(arm, rate)))
    return found


def _influence(arm: Moments, rate: Rate) -> Floats:
    numerator, denominator = INDEX[rate.numerator], INDEX[rate.denominator]
    influence = np.zeros(len(COLUMNS))
    influence[numerator] = 1
    influence[denominator] -= arm[0, numerator] / arm[0, denominator]
    influence /= arm[0, denominator] / arm[0, 0]
    return influence


def _theta(centred: Sequence[Floats], influences: Sequence[Floats]) -> Floats:
    """Return θ, ``(D,)``, zero where a column is no covariate, or does not vary."""
    within = np.sum(centred, axis=0)[np.ix_(_COVARIATES, _COVARIATES)]
    toward = np.sum([spread[_COVARIATES] @ influence for spread, influence in zip(centred, influences, strict=True)], axis=0)
    scale = np.sqrt(np.maximum(np.diag(within), 0.0))  # a covariate in cents counts as one in euros
    scale[scale == 0] = np.inf
    theta = np.zeros(len(COLUMNS))
    theta[_COVARIATES] = np.linalg.lstsq(within / np.outer(scale, scale), toward / scale, rcond=1e-9)[0] / scale
    return theta


def _naive(arm: Moments, rate: Rate) -> float:
    impressions = total(arm, "impressions")
    squares = RATES["click_rate"] if rate.squares is None else rate
    mean = total(arm, squares.numerator) / impressions
    variance = total(arm, squares.squares or "") / impressions - mean**2
    return math.sqrt(max(variance, 0.0) / impressions)
