"""Panels and dashboards as values, and what Grafana reads of them: the JSON of its own foundation SDK."""

import json
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, Literal, NamedTuple, TypeAlias

from grafana_foundation_sdk.builders import bargauge, common, dashboard as board, prometheus, stat, text, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    DataSourceRef,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    TooltipDisplayMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DashboardLinkType, Threshold, ThresholdsMode
from grafana_foundation_sdk.models.text import TextMode

SOURCE = DataSourceRef("prometheus", "prometheus")
RUNBOOK = "sml-runbook"

Steps: TypeAlias = Sequence[tuple[float, str]]  # from this value on, this colour


class Panel(NamedTuple):
    """One panel.

    Attributes:
        title: What it shows.
        text: A sentence for whoever has not seen it before: what it says, and what is good.
        queries: Legend → query.
        unit: Of the values, by Grafana's name.
        alerts: The alerts whose pages it links.
        steps: Thresholds, drawn as lines; below the first all is well.
        kind: A line over time, the value now, or a bar for each value now.
        width: Of 24.
    """

    title: str
    text: str
    queries: Mapping[str, str]
    unit: str = "short"
    alerts: Sequence[str] = ()
    steps: Steps = ()
    kind: Literal["line", "value", "bars"] = "line"
    width: int = 8


class Dashboard(NamedTuple):
    """A dashboard: panels in rows, each row under a question."""

    uid: str
    title: str
    rows: Mapping[str, Sequence[Panel]]

    def ids(self) -> dict[str, int]:
        """Return title → number of each panel, by which links lead to it."""
        numbers = count(1)
        return {panel.title: next(numbers) for panels in self.rows.values() for panel in panels}

    def json(self, pages: Mapping[str, int]) -> str:
        """Return what Grafana reads; ``pages`` are the numbers of the runbook's pages, by alert."""
        built, ids = _empty(self.uid, self.title), self.ids()
        for question, panels in self.rows.items():
            built.with_row(board.Row(question))
            for panel in panels:
                links = [_link(f"Runbook: {alert}", f"/d/{RUNBOOK}?viewPanel={pages[alert]}") for alert in panel.alerts]
                built.with_panel(_built(panel).id(ids[panel.title]).links(links))
        return encoded(built)


def runbook(pages: Mapping[str, str]) -> str:
    """Return a dashboard of pages, alert → Markdown, so that they are read where the panels are."""
    built = _empty(RUNBOOK, "Runbook")
    for number, (alert, content) in enumerate(pages.items(), 1):
        page = text.Panel().title(alert).description("What the alert means, how to look, what to do.").id(number)
        built.with_panel(page.mode(TextMode.MARKDOWN).content(content).span(12).height(12))
    return encoded(built)


def encoded(built: board.Dashboard) -> str:
    """Return the JSON of a dashboard, with what each key holds in the order of Grafana's schema."""
    return json.dumps(built.build(), cls=JSONEncoder, indent=1, ensure_ascii=False) + "\n"


def _empty(uid: str, title: str) -> board.Dashboard:
    others = board.DashboardLink("Dashboards").type(DashboardLinkType.DASHBOARDS).tags(["sml"]).as_dropdown(True).keep_time(True)
    return (
        board.Dashboard(f"SML Online: {title}")
        .uid(uid)
        .tags(["sml"])
        .refresh("5s")
        .time("now-30m", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .readonly()
        .links([others])
    )


def _link(title: str, url: str) -> board.DashboardLink:
    return board.DashboardLink(title).type(DashboardLinkType.LINK).url(url).target_blank(True)


def _built(panel: Panel) -> Any:
    """Return the SDK's builder of a panel."""
    built: Any = {"line": _line, "value": _value, "bars": _bars}[panel.kind]()
    built.title(panel.title).description(panel.text).unit(panel.unit).datasource(SOURCE).span(panel.width).no_value("none")
    steps = [Threshold(None, "green" if panel.steps else "blue"), *(Threshold(value, colour) for value, colour in panel.steps)]
    built.thresholds(board.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    if panel.kind == "line" and panel.steps:
        built.thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED))
    for letter, (legend, query) in zip("ABCDEFGH", panel.queries.items(), strict=False):
        asked = prometheus.Dataquery().datasource(SOURCE).ref_id(letter).expr(query).legend_format(legend)
        built.with_target(asked.range() if panel.kind == "line" else asked.instant())
    return built


def _line() -> timeseries.Panel:
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.TABLE).placement(LegendPlacement.BOTTOM).calcs(["lastNotNull"])
    tooltip = common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI)
    return timeseries.Panel().height(8).line_width(1).fill_opacity(8).legend(legend.show_legend(True)).tooltip(tooltip)


def _value() -> stat.Panel:
    reduced = common.ReduceDataOptions().calcs(["lastNotNull"])
    return stat.Panel().height(4).reduce_options(reduced).color_mode(BigValueColorMode.VALUE).graph_mode(BigValueGraphMode.NONE)


def _bars() -> bargauge.Panel:
    reduced = common.ReduceDataOptions().calcs(["lastNotNull"])
    return bargauge.Panel().height(8).reduce_options(reduced).orientation(VizOrientation.HORIZONTAL)
