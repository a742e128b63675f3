"""Made-up units whose truth is known: how likely each is to click, what its clicks are worth, what it did before."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments import bins
from experiments.comparison import Arm
from experiments.moments import COLUMNS, INDEX, moments

Floats = NDArray[np.float64]


class World(NamedTuple):
    """What is true of all units."""

    rate: float = -2.0  # the logit of a click
    effect: float = 0.5  # the standard deviation, over units, of what a unit adds to it
    visits: float = 8.0  # impressions of a unit, mean
    before: float = 0.0  # impressions of a unit before the experiment, mean
    lift: float = 0.0  # what an arm adds to the logit


def units_of(world: World, random: np.random.Generator, count: int) -> Floats:
    """Draw the sums of ``count`` units, in the order of ``COLUMNS``."""
    p = 1 / (1 + np.exp(-world.rate - world.lift - random.normal(0, world.effect, count)))
    units = np.zeros((count, len(COLUMNS)))
    shown = 1 + random.poisson(world.visits - 1, count)
    clicks = random.binomial(shown, p)
    before = random.poisson(world.before, count)
    clicks_before = random.binomial(before, p)
    worth = random.lognormal(0, 1, count)
    columns: dict[str, Any] = {
        "units": 1,
        "impressions": shown,
        "clicks": clicks,
        "value": clicks * worth,
        "loss": 0.3 * shown,
        "prediction": shown * p,
        "value_squares": clicks * worth**2,
        "loss_squares": 0.1 * shown,
        "known": before > 0,
        "impressions_before": before,
        "clicks_before": clicks_before,
        "value_before": clicks_before * worth,
    }
    for name, column in columns.items():
        units[:, INDEX[name]] = column
    return units


def arm_of(world: World, random: np.random.Generator, count: int) -> Arm:
    """Draw an arm of ``count`` units, without bins."""
    return Arm(moments(units_of(world, random, count)), bins.empty())
