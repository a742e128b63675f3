"""An experiment whose truth is known: visitors who come, return unequally often, differ in their liking, and buy for unequal sums.

Each look is a day. A visitor's activity is gamma-distributed, so a few come very often; their click probability is their own; a click is
worth a lognormal sum; some were there before the experiment. Both arms predict equally well: neither knows the visitor.

Axes: U visitors, N impressions of a day.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments import bins
from experiments.comparison import Arm
from experiments.moments import COLUMNS, INDEX, moments

Floats = NDArray[np.float64]


class World(NamedTuple):
    """What is true of the site."""

    visitors: int = 1_000  # who come at all within the days
    days: int = 40
    a_day: float = 0.4  # impressions of a visitor who has come, mean
    shares: tuple[float, ...] = (0.5, 0.5)  # the first is control's
    rate: float = -2.2  # the logit of a click
    liking: float = 0.7  # its standard deviation over visitors
    item: float = 1.0  # and over items, which the model knows
    lift: float = 0.0  # what every arm but control adds to the logit
    spread: float = 1.0  # of the logarithm of what a click is worth
    before: int = 7  # days before the experiment that are known
    ranked: bool = True  # whether the AUC is measured, which takes most of the time


class Simulation:
    """One experiment, day after day."""

    def __init__(self, world: World, seed: int) -> None:
        self._world, self._random = world, np.random.default_rng(seed)
        random, count = self._random, world.visitors
        self._comes = np.sort(random.integers(0, world.days, count))  # the day on which each comes first
        self._activity = random.gamma(0.8, 1 / 0.8, count)
        self._liking = random.normal(0, world.liking, count)
        self._purse = random.lognormal(0, 0.5, count)
        self._arm = random.choice(len(world.shares), count, p=world.shares)
        self._unit = random.integers(0, 2**63, count).astype(np.uint64)
        self._sums = np.zeros((count, len(COLUMNS)))
        self._bins = [bins.empty() for _ in world.shares]
        self._before()

    def days(self) -> Iterator[dict[str, Arm]]:
        """Yield the arms as they are at the end of each day."""
        for day in range(self._world.days):
            self._day(day)
            yield {
                name: Arm(moments(self._sums[(self._arm == arm) & (self._sums[:, INDEX["impressions"]] > 0)]), self._bins[arm])
                for arm, name in enumerate(names(self._world))
            }

    def _before(self) -> None:
        old = np.flatnonzero(self._comes < self._world.days // 2)  # the others are new to the site
        visitor, _, _, clicked, value = self._visits(old, self._world.before, lifted=False)
        for column, what in (("impressions_before", 1.0), ("clicks_before", clicked), ("value_before", value)):
            np.add.at(self._sums[:, INDEX[column]], visitor, what)
        self._sums[:, INDEX["known"]] = self._sums[:, INDEX["impressions_before"]] > 0
        self._sums[:, INDEX["units"]] = 1

    def _day(self, day: int) -> None:
        here = np.flatnonzero(self._comes <= day)
        visitor, p, loss, clicked, value = self._visits(here, 1, lifted=True)
        columns = {
            "impressions": np.ones(len(visitor)),
            "clicks": clicked,
            "value": value,
            "loss": loss,
            "prediction": p,
            "value_squares": value**2,
            "loss_squares": loss**2,
        }
        for column, what in columns.items():
            np.add.at(self._sums[:, INDEX[column]], visitor, what)
        for arm, counts in enumerate(self._bins if self._world.ranked else ()):
            its = self._arm[visitor] == arm
            bins.add(counts, self._unit[visitor[its]], p[its], np.full(its.sum(), -1), clicked[its].astype(int))

    def _visits(self, visitors: NDArray[np.intp], days: int, *, lifted: bool) -> tuple[NDArray[np.intp], Floats, Floats, Floats, Floats]:
        """Draw the impressions of some days: visitor, prediction, its loss, whether clicked, and what that was worth, ``(N,)`` each."""
        random, world = self._random, self._world
        visitor = np.repeat(visitors, random.poisson(days * world.a_day * self._activity[visitors]))
        known = world.rate + random.normal(0, world.item, len(visitor))
        lift = world.lift * (self._arm[visitor] > 0) * lifted
        clicked = (random.random(len(visitor)) < _sigmoid(known + self._liking[visitor] + lift)).astype(np.float64)
        p = _sigmoid(known + lift)
        value = clicked * self._purse[visitor] * random.lognormal(0, world.spread, len(visitor))
        return visitor, p, -np.log(np.where(clicked > 0, p, 1 - p)), clicked, value


def names(world: World) -> list[str]:
    """Return the names of the arms."""
    return ["control", *(f"arm{n}" for n in range(1, len(world.shares)))]


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-logits)))
