"""``sml experiment guard``: give the units of an arm that is worse beyond doubt back to control, while the experiment runs.

One process counts the examples as they are joined, in sums of its own, and decides as a person would by ``sml arms stop``: the decision is
a record in the log, with its reason. It is written once, whatever is killed and however many guards run: whoever decides holds the right to
write there, reads what was decided before, and finds the arm stopped.
"""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from experiments.guard_rail import harms, without_heavy
from experiments.report import report as report_of
from service.commands.experiments.report import counted, reporter_of
from service.kept_reports import keep
from service.settings import Settings
from service.telemetry.audit import record
from stream.arms import ArmError, Traffic, decide, in_force
from stream.experiment.plan import NEVER, Plan, Plans
from stream.experiment.sums import Sums
from stream.log.connect import open_log
from stream.log.contract import FencedError, Log, LogError
from stream.log.reading import sleep_unless
from stream.log.trouble import Trouble

logger = logging.getLogger(__name__)

BY = "guard rail"
MOST_HEAVY = 100  # units that may be left out for having much of an arm
LOOK_EVERY = 1.0  # seconds between looks at least, and a look takes at most a twentieth of the time
WAIT = 1.0  # seconds until it is looked again whether an experiment has begun


def guard(settings: Settings, folder: Path, should_stop: Callable[[], bool]) -> None:
    """Guard whichever experiment splits the traffic, until asked to stop.

    While the log is away, or the sums can't be written, or another guard has them, keep trying.

    Args:
        settings: Where the log is, what the arms are, and how much worse an arm may be.
        folder: Where the sums are kept.
        should_stop: Whether to stop.

    Raises:
        SettingsError: there are no arms.
        LogError: there is no such log.
    """
    settings.expect_arms()
    trouble = Trouble(logger)
    with open_log(settings.log) as log:
        while not should_stop():
            try:
                traffic = in_force(log, settings.topics, settings.traffic)
                if len(traffic.points()) > 1:
                    _guard_one(log, settings, traffic.experiment, folder, should_stop)
                trouble.over()
            except LogError as error:
                trouble.report("Nothing is guarded, trying again", error)
            sleep_unless(should_stop, WAIT)


def _guard_one(log: Log, settings: Settings, experiment: str, folder: Path, should_stop: Callable[[], bool]) -> None:
    """Guard an experiment until it ends, or asked to stop."""
    plans = Plans(log, settings.topics, settings.traffic, experiment)
    rail, sums = GuardRail(log, settings, plans), Sums(folder / f"{experiment}.db")
    try:
        reporter_of(log, settings, sums, plans).run(lambda: should_stop() or rail.ended, look=rail.look)
    finally:
        sums.close()


class GuardRail:
    """Looks at the sums of an experiment, and stops the arms that are worse.

    Args:
        log: The log that holds the decisions.
        settings: What the arms are, and how much worse one may be.
        plans: Returns the experiment as it is now.
        clock: Seconds.

    Attributes:
        ended: The experiment is over.
    """

    def __init__(self, log: Log, settings: Settings, plans: Plans, clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._settings, self._plans, self._clock = log, settings, plans, clock
        self._next, self.ended = 0.0, False

    def look(self, sums: Sums, plan: Plan) -> None:
        """Look at what was counted by ``plan``, if it is time; keep its report, for servers to show, and stop each arm that is worse."""
        begun = self._clock()
        if begun < self._next:
            return
        with suppress(OSError):  # on a full disk servers show the report before
            keep(Path(self._settings.experiment.directory), report_of(counted(sums, plan)), int(time.time() * 1000))
        self.ended = self._plans().until != NEVER
        if not self.ended:
            arms = {name: without_heavy(arm, sums.heaviest(name, MOST_HEAVY)) for name, arm in sums.arms(plan.shares).items()}
            for arm, reason in harms(arms, plan.control, self._settings.experiment.guard_rail).items():
                self._stop(arm, reason, plan)
        self._next = begun + max(LOOK_EVERY, 20 * (self._clock() - begun))

    def _stop(self, arm: str, reason: str, plan: Plan) -> None:
        def change(traffic: Traffic) -> Traffic:
            now = self._plans()  # nobody can decide between this and the commit
            if (now.since, now.until, now.shares) != (plan.since, plan.until, plan.shares):
                raise ArmError("somebody has decided since")
            stopped = traffic.with_points(arm, 0)
            return msgspec.structs.replace(stopped, action=f"stop {arm}: {reason}", by=BY, time=int(time.time() * 1000))

        try:
            decide(self._log, self._settings.topics, self._settings.traffic, change)
        except (ArmError, FencedError) as error:
            logger.info("%s is not stopped: %s", arm, error)
        else:
            record(BY, "decided", f"stop {arm}, of experiment {plan.experiment}: {reason}")
