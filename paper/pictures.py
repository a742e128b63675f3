"""The pictures: a table's estimates beside the paper's numbers, and curves over depth with their intervals.

Drawn without pyplot, so that no state outlives a picture.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper.report import Estimate, Row, Table

OURS, PAPER = "tab:blue", "tab:orange"


class Panel(NamedTuple):
    """One plot of a picture.

    Attributes:
        title: above it.
        xlabel: what lies along it, ``"hidden layers"``.
        ylabel: what is measured.
        curves: by their name in the legend, estimates by place.
        log: places are spread by their logarithm.
        shares: what is measured lies between 0 and 1, and all of that is shown.
    """

    title: str
    xlabel: str
    ylabel: str
    curves: Mapping[str, Mapping[float, Estimate]]
    log: bool = False
    shares: bool = False


def draw_curves(panels: Sequence[Panel], path: Path, columns: int = 2) -> None:
    """Draw panels side by side into a PNG; a band is the 95 % interval, but that of two seeds is wider than the picture."""
    rows = max(1, -(-len(panels) // columns))  # with none there is still a picture
    figure = Figure(figsize=(5.5 * columns, 3.6 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, panel in zip(grid.flat, panels, strict=False):
        _curves(axes, panel)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    figure.savefig(path, dpi=110)


def _curves(axes: Axes, panel: Panel) -> None:
    for name, points in panel.curves.items():
        places = sorted(points)
        (line,) = axes.plot(places, [points[place].mean for place in places], marker=".", label=name)
        shown = [place for place in places if points[place].low is not None and points[place].seeds != 2]  # noqa: PLR2004  # as said above
        known = [(place, points[place].low, points[place].high) for place in shown]
        if known:
            at, low, high = zip(*known, strict=True)
            axes.fill_between(at, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    if panel.log:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:.0f}")
    if panel.shares:
        axes.set_ylim(-0.02, 1.02)
    axes.set(title=panel.title, xlabel=panel.xlabel, ylabel=panel.ylabel)
    axes.grid(alpha=0.3)
    if panel.curves:
        axes.legend(fontsize="small")


def draw_table(table: Table, measure: str, path: Path) -> None:
    """Draw one measure of a table into a PNG: a line for each row, the paper's number beside our estimate and its interval."""
    column = table.measures.index(measure)
    rows = [row for row in table.rows if row.cells[column].ours or row.cells[column].paper is not None]
    figure = Figure(figsize=(8, 1.2 + 0.3 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(rows):
        _dot(axes, place, row, column)
    axes.set_yticks(range(len(rows)), [" · ".join(label for label in row.labels if label) for row in rows])
    axes.invert_yaxis()
    axes.set(title=table.title, xlabel=measure)
    if "difference" in measure:
        axes.axvline(0, color="black", linewidth=0.8)
    axes.plot([], [], "o", color=OURS, label="ours, 95 % interval")
    axes.plot([], [], "D", color=PAPER, label="paper")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=110)


def _dot(axes: Axes, place: int, row: Row, column: int) -> None:
    paper, ours = row.cells[column]
    if ours:
        axes.plot(ours.mean, place, "o", color=OURS)
        if ours.low is not None and ours.high is not None:
            axes.plot([ours.low, ours.high], [place, place], color=OURS)
    if paper is not None:
        axes.plot(paper, place, "D", color=PAPER, markersize=5)
