"""The uplifts of an experiment as a picture: a line for each, with its interval, around zero. SVG, with no script and no style sheet."""

from html import escape

from experiments.report import Report, Uplift
from experiments.sequence import Interval
from service.commands.experiments.report import MEASURES

WIDTH, LABEL, ROW, TOP = 900, 300, 30, 64
COLOURS = {"better": "#15803d", "worse": "#b91c1c", "different": "#b45309", "undecided": "#64748b"}


def picture(report: Report) -> str:
    """Return the picture of the relative uplifts; every text in it is escaped."""
    shown = [(uplift, uplift.relative) for uplift in report.uplifts if uplift.relative]
    reach = max((abs(end) for _, relative in shown for end in relative), default=0.01)
    height = TOP + ROW * max(len(shown), 1) + 34
    failing = ", ".join(rail.name for rail in report.guard_rails if not rail.fine)
    title = f"{report.experiment}: beside {report.control}, at every look with {report.confidence:.0%}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(16, 24, title, weight="bold"),
        _text(
            16, 44, f"Guard rails that fail: {failing}" if failing else "All guard rails hold", COLOURS["worse" if failing else "better"]
        ),
        f'<path d="M{_x(0, reach)} {TOP}V{height - 30}" stroke="#94a3b8"/>',
        *(_line(*each, reach, TOP + ROW * n + ROW // 2) for n, each in enumerate(shown)),
        *(_text(_x(at, reach), height - 12, f"{at:+.2%}", anchor="middle") for at in (-reach, 0.0, reach)),
    ]
    return "\n".join([*parts, "</svg>\n"])


def _line(uplift: Uplift, relative: Interval, reach: float, y: int) -> str:
    low, middle, high = (_x(at, reach) for at in (relative.low, relative.estimate, relative.high))
    colour = COLOURS[uplift.verdict]
    name = f"{uplift.arm}, {MEASURES[uplift.measure]} ({uplift.verdict})"
    bar = f'<path d="M{low} {y}H{high}M{low} {y - 5}v10M{high} {y - 5}v10" stroke="{colour}" stroke-width="2" fill="none"/>'
    return f'{_text(16, y + 5, name)}{bar}<circle cx="{middle}" cy="{y}" r="4" fill="{colour}"/>'


def _x(value: float, reach: float) -> float:
    half = (WIDTH - LABEL - 40) / 2
    return round(LABEL + half + value / reach * half, 1)


def _text(x: float, y: float, text: str, colour: str = "#0f172a", *, anchor: str = "start", weight: str = "normal") -> str:
    return f'<text x="{x}" y="{y}" fill="{colour}" text-anchor="{anchor}" font-weight="{weight}">{escape(text)}</text>'
