"""What one example adds to an experiment's sums: a pure function of the example, the plan and what is forgotten.

Counted is what was assigned, not what answered (intention to treat): where control stood in for an arm that was stale, the impression
counts for that arm, whose doing it was.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from model.encoding.keys import FeatureError, key_of
from model.settings import Field
from stream.experiment.plan import Plan
from stream.records.events import Example, Served

_UNIT = re.compile(r"[0-9a-f]{16}")
_LEAST = 1e-15  # the least probability that a prediction is taken for, and its distance from 1: no loss is infinite
ALL = ""  # in place of an arm's name


class Shown(NamedTuple):
    """An impression, or its click: what it adds to the sums of its unit."""

    unit: int
    arm: str | None  # None: before the experiment
    impressions: int
    clicks: int
    value: float
    probability: float

    def row(self) -> tuple[float, ...]:
        """Return what is added to impressions, clicks, value, loss, prediction, and the squares of value and loss."""
        p = min(max(self.probability, _LEAST), 1 - _LEAST)
        negative, positive = -math.log1p(-p), -math.log(p)
        if self.impressions:
            loss, square = (positive, positive**2) if self.clicks else (negative, negative**2)
        else:  # a click on an impression that was counted as one without
            loss, square = positive - negative, positive**2 - negative**2
        return (self.impressions, self.clicks, self.value, loss, p * self.impressions, self.value**2, square)


class Counting:
    """Takes examples in the order of the log, and holds what they add until it is taken from here."""

    def __init__(self, plan: Plan, unit: Field | None, begun: int, *, at_once: bool) -> None:
        """Count by ``plan``.

        Args:
            plan: What to count.
            unit: The field whose value is the unit, by which examples from before there were arms are told apart; None: they are not.
            begun: When the experiment began, as far as is known, epoch ms.
            at_once: Whether an impression is a negative example at once, and a positive one besides when it is clicked.
        """
        self.plan, self._unit, self.begun, self._at_once = plan, unit, begun, at_once
        self.shown: list[Shown] = []
        self.served: list[tuple[str, int, int]] = []  # arm, version and time of each impression that counts
        self.counts: Counter[tuple[str, str]] = Counter()  # (arm, what) → how many

    def take(self, example: Example, forgotten: Mapping[int, int]) -> None:
        """Count an example.

        Args:
            example: The next one.
            forgotten: Unit → the time up to which its impressions do not count, epoch ms.
        """
        served = example.served
        if example.late:
            return
        if served and served.forced:
            self._leave_out("forced", example, served)
        elif served and served.experiment == self.plan.experiment and example.time >= (self.plan.begins or 0):
            self._during(example, served, forgotten)
        elif example.time < self.begun:
            self._before(example, forgotten)

    def _before(self, example: Example, forgotten: Mapping[int, int]) -> None:
        unit = _unit_of(example.served) if example.served else self._hashed(example)
        if unit is not None and example.time > forgotten.get(unit, -1):
            self._add(unit, None, example, 0.0)

    def _during(self, example: Example, served: Served, forgotten: Mapping[int, int]) -> None:
        unit, arm = _unit_of(served), served.assigned or served.arm
        reason = self._unfit(example, served, unit, arm)
        if reason:
            self._leave_out(reason, example, served)
        elif unit is not None and arm and served.probability is not None and example.time > forgotten.get(unit, -1):
            self._add(unit, arm, example, served.probability)
            self.begun = min(self.begun, example.time)
            if served.version is not None and self._is_impression(example):
                self.served.append((arm, served.version, example.time))
                if served.assigned:
                    self.counts[arm, "stood_in"] += 1

    def _unfit(self, example: Example, served: Served, unit: int | None, arm: str | None) -> str | None:
        """Return why an impression of the experiment is not counted; None if it is."""
        if not self.plan.since <= example.time < self.plan.until:
            return "at_other_shares"
        if unit is None:
            return "without_unit"
        if arm not in self.plan.shares:
            return "of_another_arm"
        if served.version is None or served.probability is None:
            return "without_prediction"
        return None if self.plan.arm_of(str(served.unit)) == arm else "in_wrong_arm"

    def _add(self, unit: int, arm: str | None, example: Example, probability: float) -> None:
        clicked = example.label
        value = (example.value or 0.0) if clicked else 0.0
        self.shown.append(Shown(unit, arm, int(self._is_impression(example)), clicked, value, probability))

    def _leave_out(self, reason: str, example: Example, served: Served) -> None:
        if self._is_impression(example):
            known = served.arm in self.plan.shares and served.experiment == self.plan.experiment
            self.counts[served.arm if known and served.arm else ALL, reason] += 1

    def _is_impression(self, example: Example) -> bool:
        return not (self._at_once and example.label)

    def _hashed(self, example: Example) -> int | None:
        if self._unit is None:
            return None
        try:
            return key_of(self._unit, example.features.get(self._unit.name))
        except FeatureError:
            return None


def _unit_of(served: Served) -> int | None:
    return int(served.unit, 16) if served.unit and _UNIT.fullmatch(served.unit) else None
