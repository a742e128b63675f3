"""Charts as SVG elements: lines over an axis, and dots with whiskers, one a row. Their text is escaped where a page is written.

Colours are the page's classes: ``s0`` to ``s5`` for the series, and again from the first.
"""

from collections.abc import Iterable, Sequence
from math import ceil, floor, isfinite, log10
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement

WIDTH, HEIGHT = 520, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 68, 12, 10, 40  # margins of a chart of lines
_ROW, _LABEL = 20, 170  # of a chart of dots: a row's height, the width of its label

Points = Sequence[tuple[float, float]]


class Line(NamedTuple):
    """A line by its name."""

    name: str
    points: Points


def colour(number: int) -> str:
    """Return the class of a series."""
    return f"s{number % 6}"


class Dot(NamedTuple):
    """A row of a chart of dots."""

    label: str
    value: float
    low: float
    high: float


class _Axis(NamedTuple):
    """A range of numbers, from one pixel to another."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        return round(self.start + (self.end - self.start) * (value - self.low) / (self.high - self.low), 1)

    def ticks(self) -> list[float]:
        """Return round numbers in the range.

        >>> _Axis(0.0, 1.0, 0, 100).ticks()
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
        """
        rough = (self.high - self.low) / 5
        unit = 10.0 ** floor(log10(rough))
        step = next(size * unit for size in (1, 2, 5, 10) if size * unit >= rough * 0.999)
        return [round(n * step, 12) for n in range(ceil(self.low / step - 1e-9), floor(self.high / step + 1e-9) + 1)]


def lines(series: Sequence[Line], across: str, up: str, *, diagonal: bool = False, whole: bool = False) -> Element:
    """Return a chart of lines.

    Args:
        series: The lines; a point that is not finite interrupts one.
        across: What the horizontal axis shows.
        up: What the vertical axis shows.
        diagonal: Draw where both are equal, and a dot at each point.
        whole: The vertical axis begins at 0.
    """
    points = [point for line in series for point in line.points if all(map(isfinite, point))]
    svg = _svg(WIDTH, HEIGHT, f"{up} by {across}: {', '.join(line.name for line in series)}")
    if not points:
        return svg
    xs, ys = zip(*points, strict=True)
    both = (*xs, *ys) if diagonal else ()
    x = _axis((0.0, *(both or xs)), _LEFT, WIDTH - _RIGHT)
    y = _axis((*([0.0] if whole or diagonal else []), *(both or ys)), HEIGHT - _BOTTOM, _TOP)
    _grid(svg, x, y, across, up)
    if diagonal:
        _line(svg, [(x.low, x.low), (min(x.high, y.high),) * 2], x, y, "axis")
    for number, (name, line) in enumerate(series):
        _line(svg, line, x, y, colour(number), name)
        for across_, up_ in line if diagonal else ():
            _dot(svg, x.at(across_), y.at(up_), colour(number), f"{name}: {across_:.4g}, {up_:.4g}")
    return svg


def dots(rows: Sequence[Dot], across: str, reference: float) -> Element:
    """Return a chart of dots and whiskers, with a line at the reference."""
    height = _ROW * len(rows) + _BOTTOM
    svg = _svg(WIDTH, height, f"{across}: {', '.join(row.label for row in rows)}")
    values = [end for row in rows for end in (row.low, row.high) if isfinite(end)]
    if not values:
        return svg
    x = _axis((reference, *values), _LABEL, WIDTH - _RIGHT)
    bottom = height - _BOTTOM
    for tick in x.ticks():
        _rule(svg, (x.at(tick), 0), (x.at(tick), bottom), "grid")
        _text(svg, x.at(tick), bottom + 16, f"{tick:g}", "middle")
    _rule(svg, (x.at(reference), 0), (x.at(reference), bottom), "axis")
    _text(svg, (_LABEL + WIDTH - _RIGHT) / 2, height - 4, across, "middle")
    for number, row in enumerate(rows):
        middle = _ROW * number + _ROW / 2
        _text(svg, _LABEL - 10, middle + 4, row.label if len(row.label) <= 24 else f"{row.label[:23]}…", "end")  # noqa: PLR2004 - what fits
        _rule(svg, (x.at(row.low), middle), (x.at(row.high), middle), "s0")
        _dot(svg, x.at(row.value), middle, "s0", f"{row.label}: {row.value:.4g} ({row.low:.4g} to {row.high:.4g})")
    return svg


def _axis(values: Iterable[float], start: float, end: float) -> _Axis:
    values = list(values)
    low, high = min(values), max(values)
    margin = 0.04 * (high - low) or 0.5 * (abs(high) or 1)
    return _Axis(low if low == 0 else low - margin, high + margin, start, end)


def _svg(width: float, height: float, label: str) -> Element:
    return Element("svg", {"viewBox": f"0 0 {width} {height}", "role": "img", "aria-label": label})


def _grid(svg: Element, x: _Axis, y: _Axis, across: str, up: str) -> None:
    for tick in x.ticks():
        _text(svg, x.at(tick), HEIGHT - _BOTTOM + 16, f"{tick:,.10g}", "middle")
    for tick in y.ticks():
        _rule(svg, (_LEFT, y.at(tick)), (WIDTH - _RIGHT, y.at(tick)), "grid")
        _text(svg, _LEFT - 6, y.at(tick) + 4, f"{tick:.6g}", "end")
    _text(svg, (_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 4, across, "middle")
    label = _text(svg, 0, 0, up, "middle")
    label.set("transform", f"translate(11 {(HEIGHT - _BOTTOM + _TOP) / 2}) rotate(-90)")


def _line(svg: Element, points: Points, x: _Axis, y: _Axis, style: str, title: str = "") -> None:
    path, pen = "", "M"
    for across, up in points:
        if isfinite(across) and isfinite(up):
            path += f"{pen}{x.at(across)} {y.at(up)}"
            pen = "L"
        else:
            pen = "M"
    element = SubElement(svg, "path", {"d": path, "class": style})
    SubElement(element, "title").text = title


def _rule(svg: Element, start: tuple[float, float], end: tuple[float, float], style: str) -> None:
    SubElement(svg, "path", {"d": f"M{start[0]} {start[1]}L{end[0]} {end[1]}", "class": style})


def _dot(svg: Element, x: float, y: float, style: str, title: str) -> None:
    circle = SubElement(svg, "circle", {"cx": f"{x}", "cy": f"{y}", "r": "3.5", "class": style})
    SubElement(circle, "title").text = title


def _text(svg: Element, x: float, y: float, text: str, anchor: str) -> Element:
    element = SubElement(svg, "text", {"x": f"{x}", "y": f"{y}", "text-anchor": anchor})
    element.text = text
    return element
