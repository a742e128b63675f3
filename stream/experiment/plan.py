"""What is to be counted of an experiment, by the decisions about its arms: their shares, since when and until when."""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby, takewhile
from typing import NamedTuple

from stream.arms import POINTS, Traffic, read_traffic
from stream.log.contract import Log, LogError
from stream.log.topics import Topics
from stream.records.times import LATEST_TIME

NEVER = LATEST_TIME + 1


class ExperimentError(LogError):
    """An experiment can't be reported."""


class Plan(NamedTuple):
    """An experiment as its arms' shares are now.

    What was shown before the shares were last changed is left out: the days that an arm has more of would count for it, or against.
    """

    experiment: str
    control: str
    shares: Mapping[str, float]  # arm → its share of the units, summing to 1
    arm_of: Callable[[str], str]  # the unit, in hex → the arm that it belongs to
    begins: int | None = None  # epoch ms: what a unit did before is what no arm can have changed; None: its first impression
    since: int = 0  # epoch ms: when the shares were last changed
    until: int = NEVER  # epoch ms: when the experiment ended
    versions: Mapping[str, str] = {}  # arm → the topic of the versions of its weights


def plan_of(experiment: str, decisions: Sequence[Traffic], topics: Topics) -> Plan:
    """Return the plan of the last run of an experiment.

    Args:
        experiment: Its name.
        decisions: The one that the settings begin with, whose time is 0, then those of the log.
        topics: The names of the topics.

    Raises:
        ExperimentError: no traffic was ever split under that name.
    """
    runs = [(splits, list(run)) for splits, run in groupby(decisions, lambda each: _splits(each, experiment))]
    of_it = [n for n, (splits, _) in enumerate(runs) if splits]
    if not of_it:
        known = sorted({each.experiment for each in decisions if _splits(each, each.experiment)})
        raise ExperimentError(
            f"experiment: got {experiment!r}, expected one that has split the traffic: {', '.join(known) or 'there is none'}"
        )
    run, later = runs[of_it[-1]][1], runs[of_it[-1] + 1 :]
    now = run[-1]
    same = list(takewhile(lambda each: (each.ranges, each.control) == (now.ranges, now.control), reversed(run)))
    shares = {now.control: 0.0} | {arm: points / POINTS for arm, points in now.points().items()}
    return Plan(
        experiment=experiment,
        control=now.control,
        shares=shares,
        arm_of=_arm_of(now),
        begins=run[0].time or None,
        since=same[-1].time,
        until=later[0][1][0].time if later else NEVER,
        versions={arm: topics._replace(arm=arm).versions for arm in shares},
    )


class Plans:
    """Returns the plan of an experiment as it is now; what was decided is read again only where something was.

    Args:
        log: The log that holds the decisions.
        topics: The names of the topics.
        begins: What is in force until somebody decides.
        experiment: The name of the experiment.
    """

    def __init__(self, log: Log, topics: Topics, begins: Traffic, experiment: str) -> None:
        self._log, self._topics, self._begins, self._experiment = log, topics, begins, experiment
        self._end = -1
        self._plan: Plan | None = None

    def __call__(self) -> Plan:
        """Return the plan.

        Raises:
            ExperimentError: no traffic was ever split under that name.
            LogError: the decisions can't be read.
        """
        end = self._log.bounds(self._topics.arms)[0].end
        if self._plan is None or end != self._end:
            decisions = [self._begins, *read_traffic(self._log, self._topics)]
            self._plan, self._end = plan_of(self._experiment, decisions, self._topics), end
        return self._plan


def _splits(decision: Traffic, experiment: str) -> bool:
    return decision.experiment == experiment and len(decision.points()) > 1


def _arm_of(decision: Traffic) -> Callable[[str], str]:
    ends, arms = zip(*decision.ranges, strict=True)
    return lambda unit: str(arms[bisect_right(ends, decision.point(bytes.fromhex(unit)))])
