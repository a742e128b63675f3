"""Draw a figure's curves with their intervals, and a table's estimates beside the paper's numbers.

Drawn without pyplot, so that no state outlives a picture.
"""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from paper.report import Figure, Panel, Row, Table

OURS, PAPER = "tab:blue", "tab:orange"
COLUMNS = 2  # panels side by side


def draw_figure(figure: Figure, path: Path) -> None:
    """Draw the panels into a PNG. A band is the 95 % interval; that of two seeds is left out, as it is wider than the picture."""
    rows = max(1, -(-len(figure.panels) // COLUMNS))  # without panels there is still a picture
    canvas = Canvas(figsize=(5.5 * COLUMNS, 3.6 * rows), layout="constrained")
    grid = canvas.subplots(rows, COLUMNS, squeeze=False)
    for axes, panel in zip(grid.flat, figure.panels, strict=False):
        _draw_panel(axes, panel)
    for axes in grid.flat[len(figure.panels) :]:
        axes.set_axis_off()
    canvas.savefig(path, dpi=110)


def _draw_panel(axes: Axes, panel: Panel) -> None:
    for name, curve in panel.curves.items():
        points = sorted(curve.items())
        (line,) = axes.plot([x for x, _ in points], [estimate.mean for _, estimate in points], marker=".", label=name)
        bands = [(x, y.low, y.high) for x, y in points if y.low is not None and y.seeds != 2]  # noqa: PLR2004  # as said above
        if bands:
            x, low, high = zip(*bands, strict=True)
            axes.fill_between(x, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
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
    canvas = Canvas(figsize=(8, 1.2 + 0.3 * len(rows)), layout="constrained")
    axes = canvas.subplots()
    for y, row in enumerate(rows):
        _draw_row(axes, y, row, column)
    axes.set_yticks(range(len(rows)), [" · ".join(label for label in row.labels if label) for row in rows])
    axes.invert_yaxis()
    axes.set(title=table.title, xlabel=measure)
    if "difference" in measure:
        axes.axvline(0, color="black", linewidth=0.8)
    axes.plot([], [], "o", color=OURS, label="ours, 95 % interval")
    axes.plot([], [], "D", color=PAPER, label="paper")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    canvas.savefig(path, dpi=110)


def _draw_row(axes: Axes, y: int, row: Row, column: int) -> None:
    paper, ours = row.cells[column]
    if ours:
        axes.plot(ours.mean, y, "o", color=OURS)
        if ours.low is not None and ours.high is not None:
            axes.plot([ours.low, ours.high], [y, y], color=OURS)
    if paper is not None:
        axes.plot(paper, y, "D", color=PAPER, markersize=5)
