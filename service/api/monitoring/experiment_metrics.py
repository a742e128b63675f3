"""What experiments have shown, for Prometheus: read from the reports that are kept, whenever it asks.

Its labels are bounded: the newest reports only, the arms of the settings, and words of ours.
"""

from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from service.kept_reports import KeptReport, kept

_COUNTS = {"units": "Units of an arm.", "impressions": "Their impressions.", "clicks": "Their clicks.", "value": "What these were worth."}
_RATES = ("click_rate", "value_per_impression", "log_loss", "auc", "calibration")


class ExperimentMetrics(Collector):
    """The newest report of each experiment, as gauges."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges."""
        reports = kept(self._folder)
        reported = _gauge("reported_at_seconds", "Time of the newest report, in epoch seconds.")
        rails = _gauge("guard_rail_fails", "1 where a guard rail fails, and no uplift is to be believed.", "rail")
        for each in reports:
            name = each.report.experiment
            reported.add_metric([name], each.reported_at / 1000)
            for rail in each.report.guard_rails:
                rails.add_metric([name, rail.name], float(not rail.fine))
        yield from (reported, rails, *_of_arms(reports), _uplifts(reports))


def _of_arms(reports: list[KeptReport]) -> Iterator[GaugeMetricFamily]:
    counts = {what: _gauge(what, text, "arm") for what, text in _COUNTS.items()}
    rates = _gauge("arm_measure", "How an arm does, by its measures.", "arm", "measure")
    for report in (each.report for each in reports):
        for arm in report.arms:
            for what, gauge in counts.items():
                gauge.add_metric([report.experiment, arm.arm], getattr(arm, what))
            for measure in _RATES:
                if (value := getattr(arm, measure)) is not None:
                    rates.add_metric([report.experiment, arm.arm, measure], value)
    yield from (*counts.values(), rates)


def _uplifts(reports: list[KeptReport]) -> GaugeMetricFamily:
    uplifts = _gauge("uplift_ratio", "Relative to control, and the interval that holds at every look.", "arm", "measure", "bound")
    for report in (each.report for each in reports):
        for uplift in report.uplifts:
            for bound, value in (uplift.relative._asdict() if uplift.relative else {}).items():
                uplifts.add_metric([report.experiment, uplift.arm, uplift.measure, bound], value)
    return uplifts


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"sml_experiment_{name}", text, labels=["experiment", *labels])
