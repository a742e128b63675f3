"""Tables of what the paper has beside what we found, as Markdown, as JSON and as a picture.

What was measured is always an :class:`Estimate`, with the interval that it is known to; what is missing stays visible as a gap.
Nothing here knows what a table is about, or whether its systems learned in batches or in a stream.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

from scipy.stats import t as student


class Estimate(NamedTuple):
    """A mean, and the interval that holds the true one in 95 % of repetitions; no interval where it can't be known."""

    mean: float
    low: float | None = None
    high: float | None = None
    seeds: int = 1  # what the mean is over


class Cell(NamedTuple):
    """One number as the paper has it and as we found it; either may be missing."""

    paper: float | None = None
    ours: Estimate | None = None


class Row(NamedTuple):
    """One system: what it is, and a cell for each of the table's measures."""

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
    """

    name: str
    title: str
    heads: tuple[str, ...]
    measures: tuple[str, ...]
    rows: Sequence[Row]


def over_seeds(values: Sequence[float]) -> Estimate:
    """The mean over seeds, with Student's interval; one seed has none.

    >>> over_seeds([1.0, 2.0, 3.0])  # doctest: +ELLIPSIS
    Estimate(mean=2.0, low=-0.48..., high=4.48..., seeds=3)
    """
    mean, count = fmean(values), len(values)
    if count < 2:  # noqa: PLR2004  # a spread takes two
        return Estimate(mean)
    half = float(student.ppf(0.975, count - 1)) * stdev(values) / count**0.5
    return Estimate(mean, mean - half, mean + half, count)


def markdown(table: Table) -> str:
    """The table as Markdown: for each measure the paper's number, ours, and its interval."""
    heads = [*table.heads, *(f"{measure}{side}" for measure in table.measures for side in (", paper", ", ours")), "seeds"]
    lines = [f"| {' | '.join(heads)} |", f"| {' | '.join(['---'] * len(heads))} |"]
    for row in table.rows:
        shown = [text for cell in row.cells for text in (_number(cell.paper), _estimate(cell.ours))]
        lines.append(f"| {' | '.join([*row.labels, *shown, str(_seeds(row) or '')])} |")
    return "\n".join(lines)


def as_json(table: Table) -> dict[str, Any]:
    """The table as one JSON value, every number in full."""
    rows = [
        dict(zip(table.heads, row.labels, strict=True))
        | {measure: _plain(cell) for measure, cell in zip(table.measures, row.cells, strict=True)}
        for row in table.rows
    ]
    return {"title": table.title, "rows": rows}


def write_json(table: Table, folder: Path) -> None:
    """Write ``NAME.json``."""
    text = json.dumps(as_json(table), indent=1, ensure_ascii=False)
    (folder / f"{table.name}.json").write_text(text + "\n", encoding="utf-8")


def _seeds(row: Row) -> int:
    """What a row's estimates are over: the fewest of its cells; 0 if nothing was measured."""
    return min((cell.ours.seeds for cell in row.cells if cell.ours), default=0)


def _plain(cell: Cell) -> dict[str, Any]:
    return {"paper": cell.paper, "ours": cell.ours._asdict() if cell.ours else None}


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.5f}"


def _estimate(value: Estimate | None) -> str:
    if value is None:
        return ""
    if value.low is None or value.high is None:
        return f"{value.mean:.5f}"
    return f"{value.mean:.5f} ({value.low:.5f} to {value.high:.5f})"
