"""The parts of a page: tables that show the paper's numbers beside ours, and figures; as Markdown and as JSON.

What was measured is always an :class:`Estimate`, with its interval; what is missing stays visible as a gap.
Nothing here knows what a table is about, or whether its systems learned in batches or in a stream.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple, TypeAlias

from scipy.stats import t as student


class Estimate(NamedTuple):
    """A mean and its 95 % confidence interval; without an interval where that can't be known."""

    mean: float
    low: float | None = None
    high: float | None = None
    seeds: int = 1  # that the mean is taken over


class Cell(NamedTuple):
    """One number, the paper's and ours; either may be missing."""

    paper: float | None = None
    ours: Estimate | None = None


class Row(NamedTuple):
    """One system: its labels, and a cell for each of the table's measures."""

    labels: tuple[str, ...]
    cells: tuple[Cell, ...]


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
    heads: tuple[str, ...]
    measures: tuple[str, ...]
    rows: Sequence[Row]
    drawn: str | None = None


Curve: TypeAlias = Mapping[float, Estimate]  # by the position on the x axis


class Panel(NamedTuple):
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


def over_seeds(values: Sequence[float]) -> Estimate:
    """Return the mean over seeds with Student's interval; one seed has no interval.

    >>> over_seeds([1.0, 2.0, 3.0])  # doctest: +ELLIPSIS
    Estimate(mean=2.0, low=-0.48..., high=4.48..., seeds=3)
    """
    mean, count = fmean(values), len(values)
    if count < 2:  # noqa: PLR2004  # a spread takes two
        return Estimate(mean)
    half = float(student.ppf(0.975, count - 1)) * stdev(values) / count**0.5
    return Estimate(mean, mean - half, mean + half, count)


def markdown(table: Table) -> str:
    """Return the table as Markdown: for each measure the paper's number, ours, and its interval."""
    heads = [*table.heads, *(f"{measure}{side}" for measure in table.measures for side in (", paper", ", ours")), "seeds"]
    lines = [f"| {' | '.join(heads)} |", f"| {' | '.join(['---'] * len(heads))} |"]
    for row in table.rows:
        numbers = [text for cell in row.cells for text in (_number(cell.paper), _estimate(cell.ours))]
        lines.append(f"| {' | '.join([*row.labels, *numbers, str(_seeds(row) or '')])} |")
    return "\n".join(lines)


def write_json(part: Table | Figure, folder: Path) -> None:
    """Write ``NAME.json``: every number of the table or figure, in full."""
    plain = _plain_table(part) if isinstance(part, Table) else [_plain_panel(panel) for panel in part.panels]
    text = json.dumps(plain, indent=1, ensure_ascii=False)
    (folder / f"{part.name}.json").write_text(text + "\n", encoding="utf-8")


def _plain_table(table: Table) -> dict[str, Any]:
    rows = [
        dict(zip(table.heads, row.labels, strict=True))
        | {measure: _plain_cell(cell) for measure, cell in zip(table.measures, row.cells, strict=True)}
        for row in table.rows
    ]
    return {"title": table.title, "rows": rows}


def _plain_cell(cell: Cell) -> dict[str, Any]:
    return {"paper": cell.paper, "ours": cell.ours._asdict() if cell.ours else None}


def _plain_panel(panel: Panel) -> dict[str, Any]:
    curves = {name: {x: estimate._asdict() for x, estimate in curve.items()} for name, curve in panel.curves.items()}
    return panel._asdict() | {"curves": curves}


def _seeds(row: Row) -> int:
    """Return the fewest seeds behind any cell of a row; 0 if nothing was measured."""
    return min((cell.ours.seeds for cell in row.cells if cell.ours), default=0)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.5f}"


def _estimate(value: Estimate | None) -> str:
    if value is None:
        return ""
    if value.low is None or value.high is None:
        return f"{value.mean:.5f}"
    return f"{value.mean:.5f} ({value.low:.5f} to {value.high:.5f})"
