"""The arms in service: the weights of each, and which of them answers a request.

A unit always gets the arm that the decision in force gives it. Where that arm has no weights, or they are stale, control answers for it,
and the answer says so. Without arms there is one model, and nothing to select.
"""

import time
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

from model.encoding.keys import FeatureError, keys_of_field
from model.settings import Field
from service.api.answers import BadRequestError
from service.api.in_thread import in_thread
from service.api.served_weights import Follow, ServedWeights
from stream.arms import POINTS, Traffic
from stream.log.topics import CONTROL
from stream.records.events import Served
from stream.traffic import TrafficFollower


class Selected(NamedTuple):
    """The weights that answer a request."""

    weights: ServedWeights
    served: Served | None  # how they were selected; None: there are no arms
    stale: list[str]  # arms with a share that control answers for
    reason: str = "unit"  # that metrics count it under


class Split(NamedTuple):
    """A decision, ready to be looked up."""

    traffic: Traffic
    ends: list[int]
    arms: list[str]
    shares: dict[str, float]

    @classmethod
    def of(cls, traffic: Traffic) -> "Split":
        """Make it."""
        ends, arms = zip(*traffic.ranges, strict=True)
        return cls(traffic, list(ends), list(arms), {arm: points / POINTS for arm, points in traffic.points().items()})


class Arms:
    """The weights of every arm.

    Args:
        names: The arms; none: there is one model.
        follower: Holds the decision in force.
        unit: The feature of a request's context that decides the arm.
        staleness: Seconds after which weights that know less than control's answer nobody.
        clock: Returns epoch seconds.
    """

    def __init__(
        self,
        names: Sequence[str] = (),
        follower: TrafficFollower | None = None,
        unit: str | None = None,
        staleness: float = 60.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.weights = {name: ServedWeights(clock, name) for name in names or (CONTROL,)}
        self._follower, self._staleness, self._clock, self._started = follower, staleness, clock, clock()
        self._name, self._keys = unit, keys_of_field(Field(name=unit)) if unit else None
        self._split = Split.of(follower.traffic) if follower else None

    @property
    def split(self) -> Split | None:
        """The decision in force; None: there are no arms."""
        if self._follower and self._split and self._follower.traffic is not self._split.traffic:
            self._split = Split.of(self._follower.traffic)
        return self._split

    @property
    def control(self) -> ServedWeights:
        """The weights of the arm in control."""
        split = self.split
        return self.weights.get(split.traffic.control if split else CONTROL, self.weights[CONTROL])

    @property
    def living(self) -> dict[str, ServedWeights]:
        """The arms that were not retired."""
        return {name: weights for name, weights in self.weights.items() if not self._is_retired(name)}

    def select(self, context: Mapping[str, Any], forced: str | None = None) -> Selected:
        """Select the weights that answer a request with this context; ``forced`` names an arm.

        Raises:
            BadRequestError: there is no such arm.
        """
        split = self.split
        if forced is not None and forced not in (self.living if split else ()):
            raise BadRequestError(
                "x-sml-arm", f"got {forced!r}, expected {' or '.join(self.living) if split else 'none: there are no arms'}"
            )
        if split is None:
            return Selected(self.control, None, [])
        control, experiment, unit = self.control, split.traffic.experiment, self._unit(context)
        name = unit.hex() if unit else None
        if forced is not None:
            return Selected(self.weights[forced], Served(arm=forced, experiment=experiment, unit=name, forced=True), [], "forced")
        stale = [arm for arm in split.shares if not self.answers(arm, control)]
        if unit is None:
            return Selected(control, Served(arm=control.arm, experiment=experiment, propensity=1.0), stale, "no_unit")
        assigned = split.arms[bisect_right(split.ends, split.traffic.point(unit))]
        if assigned != control.arm and assigned not in stale:
            served = Served(arm=assigned, experiment=experiment, propensity=split.shares[assigned], unit=name)
            return Selected(self.weights[assigned], served, stale)
        propensity = min(1.0, sum(split.shares[arm] for arm in {*stale, control.arm} & split.shares.keys()))
        absent = None if assigned == control.arm else assigned
        served = Served(arm=control.arm, experiment=experiment, propensity=propensity, unit=name, assigned=absent)
        return Selected(control, served, stale, "stand_in" if absent else "unit")

    def answers(self, arm: str, control: ServedWeights) -> bool:
        """Return whether an arm can answer: it has weights, which are as new as its bound says or know all that control's know."""
        weights = self.weights.get(arm)
        if weights is control:
            return True
        if weights is None or not weights.has_weights:
            return False
        if weights.staleness() <= self._staleness or not control.has_weights:
            return True
        return (weights.predictor.header.trained_through or 0) >= (control.predictor.header.trained_through or 0)

    def caught_up(self) -> bool:
        """Return whether the weights that answer are as new as when the server started; arms that are away are not waited for for long."""
        waited = self._clock() - self._started > self._staleness
        arms = [weights for name, weights in self.living.items() if self.split and self.split.shares.get(name)]
        known = self._follower is None or self._follower.caught_up
        return self.control.caught_up and known and (waited or all(weights.caught_up for weights in arms))

    @asynccontextmanager
    async def following(self, follow: Follow) -> AsyncIterator[None]:
        """Follow the weights of all arms, and the decisions about them, until the block ends."""
        async with AsyncExitStack() as stack:
            for name, weights in self.weights.items():
                await stack.enter_async_context(weights.following(follow, partial(self._is_retired, name)))
            if self._follower:
                await stack.enter_async_context(in_thread(self._follower.run, "traffic"))
            yield

    def _is_retired(self, name: str) -> bool:
        return self._follower is not None and name in self._follower.traffic.retired

    def _unit(self, context: Mapping[str, Any]) -> bytes | None:
        """Return the key of a request's unit; None where there is no single value."""
        if self._keys is None:
            return None
        try:
            key = self._keys.of(context.get(self._name))  # type: ignore[arg-type]  # a unit has a name
        except FeatureError:
            return None
        return None if key == self._keys.missing else key
