"""A page of tables that show the paper's numbers beside ours, and of figures: in Markdown, with a JSON file and a picture of each.

What was measured is always an :class:`Estimate`, with its interval; what is missing stays visible as a gap.
Nothing here knows what a table is about, or whether its systems learned in batches or in a stream.
Pictures are drawn without pyplot, so that no state outlives them.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

OURS, PAPER = "tab:blue", "tab:orange"
COLUMNS = 2  # panels side by side


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % confidence interval; without an interval where that can't be known."""

    mean: float
    low: float | None = None
    high: float | None = None
    seeds: int = 1  # that the mean is taken over

    def __str__(self) -> str:
        """Return it as it stands in a table."""
        return f"{self.mean:.5f}" if self.low is None else f"{self.mean:.5f} ({self.low:.5f} to {self.high:.5f})"


@dataclass(frozen=True)
class Cell:
    """One number, the paper's and ours; either may be missing."""

    paper: float | None = None
    ours: Estimate | None = None


class Row(NamedTuple):
    """One system: its labels, and a cell for each of the table's measures."""

    labels: Sequence[str]
    cells: Sequence[Cell]


class Table(NamedTuple):
    """A table of systems.

    Attributes:
        name: of its files, ``table1_auc``.
        title: one line.
        heads: what each label is, ``("data", "network")``.
        measures: what each cell is, ``("AUC without SML", "AUC with SML", "difference")``.
        rows: the systems, in order.
        drawn: the measure that is also drawn; None draws none.
    """

    name: str
    title: str
    heads: Sequence[str]
    measures: Sequence[str]
    rows: Sequence[Row]
    drawn: str | None = None

    def markdown(self) -> str:
        """Return it as Markdown: for each measure the paper's number, ours and its interval; then the fewest seeds behind any of ours."""
        heads = [*self.heads, *(f"{measure}, {whose}" for measure in self.measures for whose in ("paper", "ours")), "seeds"]
        rows = []
        for labels, cells in self.rows:
            numbers = [text for cell in cells for text in ("" if cell.paper is None else f"{cell.paper:.5f}", str(cell.ours or ""))]
            rows.append([*labels, *numbers, str(min((cell.ours.seeds for cell in cells if cell.ours), default=""))])
        return markdown_table(heads, rows)

    def write(self, folder: Path) -> str:
        """Write every number of it, in full, and its picture; return its Markdown."""
        rows = [dict(zip((*self.heads, *self.measures), (*row.labels, *row.cells), strict=True)) for row in self.rows]
        _write_json(folder / f"{self.name}.json", {"title": self.title, "rows": rows})
        text = f"## {self.title}\n\n{self.markdown()}"
        if self.drawn is None:
            return text
        self._draw(self.drawn, folder / f"{self.name}.png")
        return f"{text}\n\n![{self.drawn}]({self.name}.png)"

    def _draw(self, measure: str, path: Path) -> None:
        """Draw one measure: a line for each row, the paper's number beside our estimate and its interval."""
        column = self.measures.index(measure)
        drawn = [(row.labels, row.cells[column]) for row in self.rows if row.cells[column] != Cell()]
        canvas = Canvas(figsize=(8, 1.2 + 0.3 * len(drawn)), layout="constrained")
        axes = canvas.subplots()
        for y, (_, cell) in enumerate(drawn):
            if cell.ours:
                axes.plot(cell.ours.mean, y, "o", color=OURS)
                if cell.ours.low is not None and cell.ours.high is not None:
                    axes.plot([cell.ours.low, cell.ours.high], [y, y], color=OURS)
            if cell.paper is not None:
                axes.plot(cell.paper, y, "D", color=PAPER, markersize=5)
        axes.set_yticks(range(len(drawn)), [" · ".join(filter(None, labels)) for labels, _ in drawn])
        axes.invert_yaxis()
        axes.set(title=self.title, xlabel=measure)
        if "difference" in measure:
            axes.axvline(0, color="black", linewidth=0.8)
        axes.plot([], [], "o", color=OURS, label="ours, 95 % interval")
        axes.plot([], [], "D", color=PAPER, label="paper")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
        canvas.savefig(path, dpi=110)


Curve: TypeAlias = Mapping[int, Estimate]  # by the position on the x axis: a depth, a layer or a block


@dataclass(frozen=True)
class Panel:
    """One plot of a figure.

    Attributes:
        title: above it.
        xlabel: what the x axis shows, ``"hidden layers"``.
        ylabel: what is measured.
        curves: by their name in the legend.
        log: the x axis is logarithmic.
        shares: what is measured is a share, and the y axis shows all of 0 to 1.
    """

    title: str
    xlabel: str
    ylabel: str
    curves: Mapping[str, Curve]
    log: bool = False
    shares: bool = False

    def draw(self, axes: Axes) -> None:
        """Draw the curves. A band is the 95 % interval; that of two seeds is left out, as it is wider than the picture."""
        for name, curve in self.curves.items():
            points = sorted(curve.items())
            (line,) = axes.plot([x for x, _ in points], [estimate.mean for _, estimate in points], marker=".", label=name)
            bands = [(x, y.low, y.high) for x, y in points if y.low is not None and y.seeds != 2]  # noqa: PLR2004  # as said above
            if bands:
                x, low, high = zip(*bands, strict=True)
                axes.fill_between(x, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
        if self.log:
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter("{x:.0f}")
        if self.shares:
            axes.set_ylim(-0.02, 1.02)
        axes.set(title=self.title, xlabel=self.xlabel, ylabel=self.ylabel)
        axes.grid(alpha=0.3)
        if self.curves:
            axes.legend(fontsize="small")


class Figure(NamedTuple):
    """A figure of several panels.

    Attributes:
        name: of its files, ``figure2``.
        title: one line.
        caption: what the lines and bands are.
        panels: in order.
        as_numbers: whether its curves are also written as JSON.
    """

    name: str
    title: str
    caption: str
    panels: Sequence[Panel]
    as_numbers: bool = False

    def write(self, folder: Path) -> str:
        """Write its curves, if as numbers too, and its picture; return its Markdown."""
        if self.as_numbers:
            _write_json(folder / f"{self.name}.json", self.panels)
        rows = max(1, -(-len(self.panels) // COLUMNS))  # without panels there is still a picture
        canvas = Canvas(figsize=(5.5 * COLUMNS, 3.6 * rows), layout="constrained")
        grid = canvas.subplots(rows, COLUMNS, squeeze=False).ravel()
        for axes, panel in zip(grid, self.panels, strict=False):
            panel.draw(axes)
        for axes in grid[len(self.panels) :]:
            axes.set_axis_off()
        canvas.savefig(folder / f"{self.name}.png", dpi=110)
        return f"## {self.title}\n\n{self.caption}\n\n![{self.title}]({self.name}.png)"


def write_page(page: Path, parts: Iterable[str | Table | Figure]) -> Path:
    """Write a page, and beside it the files of its tables and figures."""
    texts = [part if isinstance(part, str) else part.write(page.parent) for part in parts]
    page.write_text("\n\n".join(text.strip() for text in texts) + "\n", encoding="utf-8")
    return page


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table as Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, ["---"] * len(heads), *rows))


def _write_json(path: Path, plain: Any) -> None:
    path.write_text(json.dumps(plain, indent=1, ensure_ascii=False, default=asdict) + "\n", encoding="utf-8")
