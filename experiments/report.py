"""The report of an experiment: first what would make it worthless, then the arms, then what each does beside the control."""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from experiments.bins import auc
from experiments.comparison import ALPHA, LEAST_CLICKS, LEAST_UNITS, Arm, Compared, compare, ready, wait_for
from experiments.moments import RATES, total
from experiments.sequence import Interval
from experiments.shares import MISMATCH, mismatch

DAY = 86_400_000  # ms
LEFT_OUT = {
    "forced": "somebody chose the arm by hand",
    "without_unit": "the request named no unit",
    "without_prediction": "it carries no version or no probability",
    "in_wrong_arm": "the arm is not the unit's",
    "of_another_arm": "the arm is none of the experiment's",
    "at_other_shares": "it was shown at other shares, or after the end",
    "deleted": "it was deleted before it was counted",
}
_SUSPECT = {"without_prediction": 0.01, "in_wrong_arm": 0.001}  # the share of an arm's impressions above which a guard rail fails
_HEAVY = {"impressions": 0.1, "value": 0.25}  # the share of an arm's that one unit may have
_STOOD_IN, _STALER = 0.01, 2.0
_MATTERS = 1_000.0  # ms: a difference in freshness below this is none
_DIRECTION: dict[str, int] = {"click_rate": 1, "value_per_impression": 1, "auc": 1, "log_loss": -1, "calibration": 0}

Verdict = Literal["better", "worse", "different", "undecided"]


class GuardRail(Struct, frozen=True):
    """Something that must hold before an uplift means anything."""

    name: str
    fine: bool
    found: str


class ArmReport(Struct, frozen=True):
    """What an arm has brought."""

    arm: str
    share: float  # of the units, as it was meant
    units: int
    impressions: int
    clicks: int
    value: float  # ADVV: the sum of what its clicks were worth
    click_rate: float | None
    value_per_impression: float | None
    log_loss: float | None
    auc: float | None
    calibration: float | None  # predicted clicks / clicks
    freshness_seconds: float | None  # age of the weights, mean


class Uplift(Struct, frozen=True):
    """A measure of an arm beside the control's; the intervals hold at every look at once."""

    arm: str
    measure: str
    difference: Interval
    relative: Interval | None  # arm / control − 1
    verdict: Verdict
    detectable: float | None  # the true relative effect that would be seen by now with a chance of 80 %; None where control's value is 0
    days_to_effect: float | None  # until ``effect`` would be, at the pace so far; 0: by now


class Report(Struct, frozen=True):
    """An experiment as it is now."""

    experiment: str
    control: str
    since: int | None  # epoch ms: the first impression counted
    until: int | None  # epoch ms: the last
    confidence: float  # with which all intervals of a measure hold, at every look
    effect: float  # the relative effect that ``days_to_effect`` is about
    guard_rails: list[GuardRail]
    arms: list[ArmReport]
    uplifts: list[Uplift]
    left_out: dict[str, int]  # reason → impressions

    @property
    def fine(self) -> bool:
        """Whether every guard rail holds."""
        return all(rail.fine for rail in self.guard_rails)


class Counted(Struct, frozen=True):
    """What is known of an experiment."""

    experiment: str
    control: str
    shares: dict[str, float]
    arms: dict[str, Arm]
    counts: dict[str, dict[str, int]]  # arm, or "" → what → how many
    heaviest: dict[str, dict[str, float]]  # arm → impressions, value → the largest share of it that one unit has
    since: int | None = None
    until: int | None = None


def report(counted: Counted, *, effect: float = 0.01, alpha: float = ALPHA) -> Report:
    """Return the report.

    Args:
        counted: What was counted.
        effect: The relative effect whose time is foretold.
        alpha: The chance that for one measure any truth is ever outside its interval.
    """
    days = (counted.until - counted.since) / DAY if counted.since and counted.until else None
    found = compare(counted.arms, counted.control, alpha=alpha)
    return Report(
        experiment=counted.experiment,
        control=counted.control,
        since=counted.since,
        until=counted.until,
        confidence=1 - alpha,
        effect=effect,
        guard_rails=guard_rails(counted),
        arms=[_arm(name, arm, counted) for name, arm in counted.arms.items()],
        uplifts=[_uplift(arm, measure, each, effect, days) for (arm, measure), each in found.items()],
        left_out={why: n for why in LEFT_OUT if (n := sum(counts.get(why, 0) for counts in counted.counts.values()))},
    )


def guard_rails(counted: Counted) -> list[GuardRail]:
    """Return what must hold, and whether it does."""
    return [_enough(counted.arms), _shares(counted), _freshness(counted), _errors(counted), _stand_ins(counted), _heavy(counted)]


def _enough(arms: Mapping[str, Arm]) -> GuardRail:
    parts = (f"{name} {total(arm.moments, 'units'):,.0f} units, {total(arm.moments, 'clicks'):,.0f} clicks" for name, arm in arms.items())
    return GuardRail("enough", all(map(ready, arms.values())), f"{'; '.join(parts)}; expected at least {LEAST_UNITS} and {LEAST_CLICKS}")


def _shares(counted: Counted) -> GuardRail:
    units = [int(total(counted.arms[arm].moments, "units")) for arm in counted.shares]
    parts = (f"{arm} {n:,} units ({n / max(sum(units), 1):.2%}, meant {share:.2%})" for (arm, share), n in _with(counted.shares, units))
    odds = f"a mismatch is said in {MISMATCH:.0%} of sound experiments at most, however often one looks"
    return GuardRail("shares", not mismatch(units, list(counted.shares.values())), f"{', '.join(parts)}; {odds}")


def _with(shares: Mapping[str, float], units: list[int]) -> list[tuple[tuple[str, float], int]]:
    return list(zip(shares.items(), units, strict=True))


def _freshness(counted: Counted) -> GuardRail:
    ages = {arm: age for arm in counted.shares if (age := _age(counted, arm)) is not None}
    least, most = min(ages.values(), default=0.0), max(ages.values(), default=0.0)
    found = ", ".join(f"{arm} {age / 1000:.2f} s" for arm, age in ages.items()) or "not measured"
    return GuardRail("freshness", most <= least * _STALER or most - least <= _MATTERS, f"age of the weights: {found}")


def _age(counted: Counted, arm: str) -> float | None:
    counts = counted.counts.get(arm, {})
    return counts["age_ms"] / counts["aged"] if counts.get("aged") else None


def _errors(counted: Counted) -> GuardRail:
    rates = {arm: {what: _rate(counted, arm, what) for what in _SUSPECT} for arm in counted.shares}
    fine = all(rate <= _SUSPECT[what] for of in rates.values() for what, rate in of.items())
    deleted = counted.counts.get("", {}).get("deleted", 0)
    parts = [f"{arm} {sum(of.values()):.3%}" for arm, of in rates.items()] + ([f"{deleted:,} deleted uncounted"] if deleted else [])
    return GuardRail("errors", fine and not deleted, f"impressions that could not be counted: {', '.join(parts)}")


def _stand_ins(counted: Counted) -> GuardRail:
    rates = {arm: _rate(counted, arm, "stood_in") for arm in counted.shares}
    found = ", ".join(f"{arm} {rate:.2%}" for arm, rate in rates.items())
    return GuardRail("stand-ins", max(rates.values()) <= _STOOD_IN, f"impressions for which control stood in: {found}")


def _rate(counted: Counted, arm: str, what: str) -> float:
    impressions, count = total(counted.arms[arm].moments, "impressions"), counted.counts.get(arm, {}).get(what, 0)
    every = impressions if what == "stood_in" else impressions + count
    return count / every if every else 0.0


def _heavy(counted: Counted) -> GuardRail:
    found = ", ".join(f"{arm} {share:.2%} of {what}" for arm, of in counted.heaviest.items() for what, share in of.items())
    fine = all(share <= _HEAVY[what] for of in counted.heaviest.values() for what, share in of.items())
    return GuardRail("heavy units", fine, f"the most that one unit has: {found}")


def _arm(name: str, arm: Arm, counted: Counted) -> ArmReport:
    sums, area, age = arm.moments, auc(arm.bins), _age(counted, name)
    rates = {
        measure: total(sums, rate.numerator) / total(sums, rate.denominator) if total(sums, rate.denominator) else None
        for measure, rate in RATES.items()
    }
    return ArmReport(
        arm=name,
        share=counted.shares[name],
        units=int(total(sums, "units")),
        impressions=int(total(sums, "impressions")),
        clicks=int(total(sums, "clicks")),
        value=total(sums, "value"),
        auc=area and area[0],
        freshness_seconds=None if age is None else age / 1000,
        **rates,
    )


def _uplift(arm: str, measure: str, found: Compared, effect: float, days: float | None) -> Uplift:
    times = wait_for(found, effect) if found.relative else None
    return Uplift(
        arm=arm,
        measure=measure,
        difference=found.difference,
        relative=found.relative,
        verdict=_verdict(found, _DIRECTION[measure]),
        detectable=found.detectable if found.base else None,
        days_to_effect=None if times is None or days is None else max(0.0, (times - 1) * days),
    )


def _verdict(found: Compared, direction: int) -> Verdict:
    if found.difference.holds(0.0):
        return "undecided"
    if not direction:
        return "different"
    return "better" if found.difference.estimate * direction > 0 else "worse"
