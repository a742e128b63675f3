"""``sml experiment report``: count what is new in the log, and say what the experiment shows so far."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from experiments.moments import total
from experiments.report import LEFT_OUT, ArmReport, Counted, Report, Uplift, report as report_of
from model.settings import Field
from service.kept_reports import keep
from service.settings import Settings
from service.tables import labelled, shown
from stream.experiment.plan import Plan, Plans
from stream.experiment.reporter import Reporter
from stream.experiment.sums import Sums
from stream.inputs.event_time import iso
from stream.log.connect import open_log
from stream.log.contract import Log

MEASURES = {
    "click_rate": "click rate",
    "value_per_impression": "value an impression",
    "auc": "AUC",
    "log_loss": "log loss",
    "calibration": "calibration",
}


def report(settings: Settings, name: str, folder: Path, *, effect: float) -> Report:
    """Count the experiment's impressions up to the end of the log; keep its report, and return it.

    Args:
        settings: Where the log is, what the arms are and which feature is the unit.
        name: The experiment.
        folder: Where its sums are kept from one report to the next, and its newest report.
        effect: The relative effect whose time is foretold.

    Raises:
        SettingsError: there are no arms.
        ExperimentError: there is no such experiment, or its sums can't be used.
        LogError: the log can't be used.
    """
    settings.expect_arms()
    with open_log(settings.log) as log:
        plans = Plans(log, settings.topics, settings.traffic, name)
        plans()  # a wrong name makes no file
        sums = Sums(folder / f"{name}.db")
        try:
            reporter = reporter_of(log, settings, sums, plans)
            reporter.run(lambda: False, until_caught_up=True)
            found = report_of(counted(sums, reporter.plan), effect=effect)
            keep(folder, found, int(time.time() * 1000))
            return found
        finally:
            sums.close()


def reporter_of(log: Log, settings: Settings, sums: Sums, plans: Plans) -> Reporter:
    """Return what counts an experiment into ``sums``."""
    unit = settings.experiment.unit
    return Reporter(
        log,
        settings.topics,
        sums,
        plans,
        unit=Field(name=unit) if unit else None,
        at_once=settings.join.label_policy != "window",
        retention=settings.kept.records,
    )


def counted(sums: Sums, plan: Plan) -> Counted:
    """Return what is known of an experiment."""
    arms = sums.arms(plan.shares)
    sizes = {arm: {what: total(each.moments, what) for what in ("impressions", "value")} for arm, each in arms.items()}
    return Counted(
        experiment=plan.experiment,
        control=plan.control,
        shares=dict(plan.shares),
        arms=arms,
        counts=sums.counts(),
        heaviest={arm: {what: sums.most(arm, what) / size for what, size in of.items() if size} for arm, of in sizes.items()},
        since=sums.state("first", 0) or None,
        until=sums.state("last", 0) or None,
    )


def lines(found: Report) -> Iterable[str]:
    """Yield the report as text: what would make it worthless first."""
    times = (iso(time) if time else "-" for time in (found.since, found.until))
    yield f"experiment {found.experiment}, from {' to '.join(times)}"
    yield ""
    yield from (labelled(f"{'ok' if rail.fine else 'FAILS':5}  {rail.name:11}  ", rail.found) for rail in found.guard_rails)
    yield ""
    yield shown([_of_arm(arm) for arm in found.arms])
    yield ""
    if not found.uplifts:
        yield "No uplift is shown before an arm and control have units and clicks enough."
    else:
        beside = f"Beside {found.control}, with intervals that hold together, at every look, with {found.confidence:.0%}."
        yield labelled("", beside)
        if not found.fine:
            yield "A GUARD RAIL FAILS: don't believe them."
        yield shown([_of_uplift(each, found.effect) for each in found.uplifts])
    yield from (labelled("left out: ", f"{count:,} impressions, because {LEFT_OUT[why]}") for why, count in found.left_out.items())


def _of_arm(arm: ArmReport) -> dict[str, str]:
    numbers = {"share": f"{arm.share:.2%}", "units": f"{arm.units:,}", "impressions": f"{arm.impressions:,}", "clicks": f"{arm.clicks:,}"}
    measured = {name: _number(getattr(arm, measure)) for measure, name in MEASURES.items()}
    return {"arm": arm.arm, **numbers, "value": f"{arm.value:,.2f}", **measured, "freshness": f"{_number(arm.freshness_seconds)} s"}


def _of_uplift(uplift: Uplift, effect: float) -> dict[str, str]:
    low, high = uplift.difference.low, uplift.difference.high
    relative = uplift.relative and f"{uplift.relative.estimate:+.2%} ({uplift.relative.low:+.2%} to {uplift.relative.high:+.2%})"
    return {
        "arm": uplift.arm,
        "measure": MEASURES[uplift.measure],
        "difference": f"{uplift.difference.estimate:+.5g} ({low:+.5g} to {high:+.5g})",
        "relative": relative or "-",
        "verdict": uplift.verdict,
        "seen by now": "-" if uplift.detectable is None else f"±{uplift.detectable:.2%}",
        f"±{effect:.2%} in": "-" if uplift.days_to_effect is None else f"{uplift.days_to_effect:,.1f} days",
    }


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.5g}"


def schema() -> dict[str, Any]:
    """Return the JSON schema of a report."""
    return msgspec.json.schema(Report)
