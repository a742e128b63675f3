"""What is to be counted of an experiment: its arms, their shares, since when and until when."""

from collections.abc import Callable
from typing import NamedTuple

from stream.events import LATEST_TIME
from stream.log.contract import LogError

NEVER = LATEST_TIME + 1


class ExperimentError(LogError):
    """An experiment can't be reported."""


class Plan(NamedTuple):
    """An experiment as its arms' shares are now.

    What was shown before the shares were last changed is left out: the days that an arm has more of would count for it, or against.
    """

    experiment: str
    control: str
    shares: dict[str, float]  # arm → its share of the units, summing to 1
    arm_of: Callable[[str], str]  # the unit, in hex → the arm that it belongs to
    begins: int | None = None  # epoch ms: what a unit did before is what no arm can have changed; None: its first impression
    since: int = 0  # epoch ms: when the shares were last changed
    until: int = NEVER  # epoch ms: when the experiment ended
    versions: dict[str, str] = {}  # noqa: RUF012 - it is immutable; arm → the topic of the versions of its weights
