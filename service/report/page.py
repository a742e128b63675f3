"""One page of HTML that shows evaluations: for any browser, offline. It loads nothing and runs nothing, and all text in it is escaped."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element, SubElement, tostring

import numpy as np
from numpy.typing import NDArray

from model.evaluation.scores import Group
from service.report.blocks import Blocks
from service.report.charts import Dot, Line, colour, dots, lines
from service.report.field_worth import EVERY, Worth
from service.report.slices import Slice

_FIELDS = 5  # lines of the chart of unseen values
_FEWEST = 10  # clicks from which a slice's calibration is drawn: with fewer it is noise
_LONGEST = 300  # characters of any text
_TEMPLATE = Path(__file__).with_name("page.html")


class Section(NamedTuple):
    """What is shown of one model."""

    name: str
    curve: Sequence[Group]
    slices: Mapping[str, Sequence[Slice]]  # by field
    worth: Sequence[Worth]
    unseen: Blocks  # a series for each field
    fields: Sequence[str]  # the fields' names
    set_aside: Sequence[Sequence[Any]]  # reasons, as rows of a table: field, expected, example, rows


class Page(NamedTuple):
    """What is shown.

    Attributes:
        title: One line.
        notes: Paragraphs below it.
        heads: The heads of the table of scores.
        scores: Its rows, a row for each model.
        names: Of the series of ``losses``.
        losses: Log losses by blocks.
        sections: What is shown of each model by itself.
    """

    title: str
    notes: Sequence[str]
    heads: Sequence[str]
    scores: Sequence[Sequence[Any]]
    names: Sequence[str]
    losses: Blocks
    sections: Sequence[Section]


def html(page: Page) -> str:
    """Return the page."""
    main = Element("main")
    _add(main, "h1", page.title)
    for note in page.notes:
        _add(main, "p", note)
    _table(_grid(main), "Scores", page.heads, page.scores)
    _losses(_grid(main), page.names, page.losses, len(page.sections))
    for section in page.sections:
        _section(main, section)
    return _TEMPLATE.read_text(encoding="utf-8").replace("<body>\n", f"<body>\n{tostring(main, 'unicode', 'html')}\n")


def _section(main: Element, section: Section) -> None:
    _add(main, "h2", section.name)
    grid = _grid(main)
    curve = [(group.prediction, group.click_rate) for group in section.curve]
    text = "Each dot is a twentieth of the examples, by their predictions; on the dashed line, as many clicked as predicted."
    _chart(grid, "Calibration", text, lines([Line(_clean(section.name), curve)], "predicted", "clicked", diagonal=True))
    _worth(grid, section.worth)
    _unseen(grid, section.unseen, section.fields)
    if section.set_aside:
        _table(grid, "Set aside, and why", ("field", "expected", "the first value", "rows"), section.set_aside)
    else:
        _add(_card(grid, "Set aside, and why"), "p", "No row was set aside.")
    for field, found in section.slices.items():
        _sliced(grid, field, found)


def _losses(grid: Element, names: Sequence[str], blocks: Blocks, settings: int) -> None:
    """Draw the losses of some settings, and of what stands beside them; the differences between several of them are by themselves."""
    text = f"The mean of each block of {blocks.size:,} rows; lower is better."
    _lines(grid, "Log loss over the stream", text, _by_rows(names, blocks.means(), blocks), "log loss")
    so_far, compared = blocks.means_so_far(), settings if settings > 1 else len(names)
    above = _by_rows(names[:compared], (so_far - so_far[0])[:compared], blocks)
    text = f"The mean from the first row on, minus that of {names[0]}; below 0 is better than it."
    _lines(grid, "Log loss so far, compared", text, above, "difference")


def _worth(grid: Element, worth: Sequence[Worth]) -> None:
    rows = [Dot(_clean(field), saved.mean, saved.low or 0.0, saved.high or 0.0) for field, saved in worth]
    text = (
        f"The log loss that a field saves: with its default row instead, which a value never seen has, minus as it is; one row in {EVERY}, "
        "with 95 % intervals. What two fields both tell counts for neither."
    )
    _chart(grid, "What each field is worth", text, dots(rows, "log loss saved", 0.0))


def _unseen(grid: Element, unseen: Blocks, fields: Sequence[str]) -> None:
    shares = unseen.means()
    most = np.argsort(-np.nansum(shares, axis=1), kind="stable")[:_FIELDS]
    text = f"The share of a field's values that have no row yet, of the fields with most of them; one row in {EVERY}."
    _lines(grid, "Values never seen", text, _by_rows([fields[f] for f in most], shares[most], unseen), "share", whole=True)


def _sliced(grid: Element, field: str, found: Sequence[Slice]) -> None:
    card = _card(grid, f"By {_clean(field)}")
    calibrated = [(each, each.calibration) for each in found]
    sure = [(each.value, *value) for each, value in calibrated if value and each.clicks >= _FEWEST]
    rows = [Dot(_clean(name), value, value - noise, value + noise) for name, value, noise in sure]
    card.append(dots(rows, "calibration, with the noise of the clicks", 1.0))
    heads = ("value", "examples", "clicked", "AUC", "calibration")
    cells = [
        (each.value, f"{each.examples:,}", f"{each.clicks / each.examples:.2%}", _number(each.auc), _number(value[0] if value else None))
        for each, value in calibrated
    ]
    _fill(card, heads, cells)


def _by_rows(names: Iterable[str], means: NDArray[Any], blocks: Blocks) -> list[Line]:
    """Return a line for each series, by the rows where its blocks end."""
    ends = blocks.size * np.arange(1, means.shape[1] + 1)
    return [Line(_clean(name), list(zip(ends.tolist(), line.tolist(), strict=True))) for name, line in zip(names, means, strict=True)]


def _lines(grid: Element, title: str, text: str, series: Sequence[Line], up: str, *, whole: bool = False) -> None:
    card = _chart(grid, title, text, lines(series, "rows", up, whole=whole))
    key = SubElement(card, "p", {"class": "key"})
    for number, line in enumerate(series):
        entry = SubElement(key, "span")
        SubElement(entry, "i", {"class": colour(number)}).tail = line.name


def _chart(grid: Element, title: str, text: str, chart: Element) -> Element:
    card = _card(grid, title)
    _add(card, "p", text)
    card.append(chart)
    return card


def _table(grid: Element, title: str, heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    _fill(_card(grid, title), heads, rows)


def _fill(card: Element, heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    table = SubElement(card, "table")
    for kind, cells in (("th", heads), *(("td", row) for row in rows)):
        line = SubElement(table, "tr")
        for cell in cells:
            _add(line, kind, cell)


def _grid(main: Element) -> Element:
    return SubElement(main, "section", {"class": "grid"})


def _card(grid: Element, title: str) -> Element:
    card = SubElement(grid, "div", {"class": "card"})
    _add(card, "h3", title)
    return card


def _add(parent: Element, kind: str, text: Any) -> None:
    SubElement(parent, kind).text = _clean(_number(text) if isinstance(text, float) or text is None else str(text))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.5g}"


def _clean(text: str) -> str:
    """Return a text without what changes how the text around it is shown, and not too long."""
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
