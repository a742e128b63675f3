"""``sml arms``: which arm answers whom. Each change is a decision in the log, which every server follows without a restart."""

import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from service.settings import Settings, SettingsError
from service.telemetry.audit import record, this_user
from stream.arms import NAME, POINTS, ArmError, Traffic, decide, in_force, read_traffic
from stream.log.connect import open_log
from stream.weights.progress import Progress, beside, progress_of


def listed(settings: Settings) -> list[dict[str, Any]]:
    """Return each arm with its role, its share, its newest version, how far it has come, how fast, and its recent log loss.

    ``log_loss_of_control`` is what the arm in control had on the same examples; None where that can't be said.

    Raises:
        SettingsError: there are no arms.
        LogError: the log can't be used.
    """
    settings.expect_arms()
    with open_log(settings.log) as log:
        traffic = in_force(log, settings.topics, settings.traffic)
        progress = {each.topics.arm: progress_of(log, each.topics) for each in settings.of_every_arm()}
        return [_state(settings, arm, traffic, progress) for arm in progress]


def decisions(settings: Settings) -> list[dict[str, Any]]:
    """Return all that was decided, the oldest first: when, by whom, what, and the shares from then on.

    Raises:
        SettingsError: there are no arms.
        LogError: the log can't be used.
    """
    settings.expect_arms()
    with open_log(settings.log) as log:
        made = read_traffic(log, settings.topics)
        return [{"time": each.time, "by": each.by, "action": each.action, **_in_short(each)} for each in made]


def start(settings: Settings, arm: str, share: float, experiment: str | None) -> dict[str, Any]:
    """Give an arm a share of the units, which control gives or gets back; with a name, begin another experiment.

    Raises:
        SettingsError: there is no such arm, or no unit to split the traffic by.
        ArmError: it is in control or was retired, control has too little, or the experiment's name is none.
        LogError: the log can't be used.
    """

    def change(traffic: Traffic) -> Traffic:
        _expect_rival(traffic, arm)
        if experiment is not None and experiment != traffic.experiment:
            traffic = msgspec.structs.replace(traffic.promoted(traffic.control), experiment=experiment)
        return traffic.with_points(arm, round(share * POINTS))

    if experiment is not None and not re.fullmatch(NAME, experiment):
        raise ArmError(f"experiment: got {experiment!r}, expected a name of up to 40 small letters, digits, - and _")
    if settings.experiment.unit is None and share > 0:
        raise SettingsError("experiment.unit: got nothing, expected the feature that decides the arm, such as user_id")
    return _decide(settings, arm, f"start {arm} {share:g}", change)


def stop(settings: Settings, arm: str) -> dict[str, Any]:
    """Give an arm's units back to control: it goes on learning, as a shadow.

    Raises:
        SettingsError: there is no such arm.
        ArmError: it is in control.
        LogError: the log can't be used.
    """

    def change(traffic: Traffic) -> Traffic:
        _expect_rival(traffic, arm)
        return traffic.with_points(arm, 0)

    return _decide(settings, arm, f"stop {arm}", change)


def promote(settings: Settings, arm: str, *, anyway: bool = False) -> dict[str, Any]:
    """Put an arm in control, if it predicts the last examples no worse than who is there, or ``anyway``: from here on it answers everybody.

    Raises:
        SettingsError: there is no such arm.
        ArmError: it was retired, has no weights, or is not known to predict as well.
        LogError: the log can't be used.
    """
    settings.expect_arms()
    with open_log(settings.log) as log:
        progress = progress_of(log, settings.of_arm(arm).topics)
        if not progress.recent:
            raise ArmError(f"{arm} has no weights yet: run `sml learn --arm {arm}` first")
        old = in_force(log, settings.topics, settings.traffic).control
        if old in settings.arms.keys() - {arm} and not anyway:
            _expect_as_good(arm, progress, old, progress_of(log, settings.of_arm(old).topics), _learns_alike(settings, arm, old))

    def change(traffic: Traffic) -> Traffic:
        if arm in traffic.retired:
            raise ArmError(f"{arm} was retired: give its settings another name to begin anew")
        return traffic.promoted(arm)

    return _decide(settings, arm, f"promote {arm}", change)


def retire(settings: Settings, arm: str) -> dict[str, Any]:
    """End an arm for good: its learner ends, and servers let its weights go.

    Raises:
        SettingsError: there is no such arm.
        ArmError: it still answers somebody.
        LogError: the log can't be used.
    """

    def change(traffic: Traffic) -> Traffic:
        if arm == traffic.control or traffic.points().get(arm):
            raise ArmError(f"{arm} answers {traffic.share(arm):.4g} of the units: stop it, or promote another, first")
        return msgspec.structs.replace(traffic, retired=[*traffic.retired, arm])

    return _decide(settings, arm, f"retire {arm}", change)


def _decide(settings: Settings, arm: str, action: str, change: Callable[[Traffic], Traffic]) -> dict[str, Any]:
    settings.expect_arms()
    settings.of_arm(arm)
    who = this_user()

    def signed(traffic: Traffic) -> Traffic:
        return msgspec.structs.replace(change(traffic), action=action, by=who, time=int(time.time() * 1000))

    with open_log(settings.log) as log:
        traffic = decide(log, settings.topics, settings.traffic, signed)
    record(who, "decided", f"{action}, of experiment {traffic.experiment}: {traffic.points()}")
    return _in_short(traffic)


def _expect_rival(traffic: Traffic, arm: str) -> None:
    """Raise an error unless an arm may take units from control, and give them back."""
    if arm == traffic.control:
        raise ArmError(f"{arm} is in control, expected another arm: control has what the others leave")
    if arm in traffic.retired:
        raise ArmError(f"{arm} was retired: give its settings another name to begin anew")


def _expect_as_good(arm: str, ours: Progress, old: str, theirs: Progress, alike: bool) -> None:
    """Raise an error unless an arm's recent log loss is at most that of the arm in control, on the same examples, or that knows nothing."""
    losses = beside(ours, theirs) if alike else None
    if not theirs.recent or (losses and losses.ours <= losses.theirs):
        return
    if losses:
        why = f"the recent log loss of {arm} is {losses.ours:.5f}, that of {old} on the same examples {losses.theirs:.5f}"
    elif alike:
        missing = f"{ours.lag:,} examples are still to be learned" if ours.lag else "they have not yet predicted the same examples"
        why = f"it can't be said yet whether {arm} predicts as well as {old}: {missing}"
    else:
        why = f"{arm} and {old} do not learn from the same examples, so their recent log losses can't be compared"
    raise ArmError(f"{why}; --anyway promotes it all the same")


def _learns_alike(settings: Settings, arm: str, other: str) -> bool:
    """Return whether two arms learn from the same examples."""
    return all(settings.arms[name].learn_from == "all" for name in (arm, other))


def _in_short(traffic: Traffic) -> dict[str, Any]:
    shares = {arm: points / POINTS for arm, points in traffic.points().items()}
    return {"experiment": traffic.experiment, "control": traffic.control, "shares": shares}


def _state(settings: Settings, arm: str, traffic: Traffic, progress: Mapping[str, Progress]) -> dict[str, Any]:
    ours, control = progress[arm], traffic.control
    losses = beside(ours, progress[control]) if control in progress and _learns_alike(settings, arm, control) else None
    version = ours.recent[-1] if ours.recent else None
    return {
        "arm": arm,
        "role": traffic.role(arm),
        "share": traffic.share(arm),
        "experiment": traffic.experiment,
        "version": version and version.version,
        "examples": version.examples if version else 0,
        "lag": ours.lag,
        "examples_per_second": ours.speed,
        "log_loss": losses.ours if losses else version and version.log_loss,
        "log_loss_of_control": losses and losses.theirs,
        "trained_through": version and version.trained_through,
        "digest": version and version.digest,
    }
