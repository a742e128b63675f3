"""A command's result for people, in the width of their terminal, 80 columns where there is none.

    a value with parts    a line for each part
    a list                a table; where that is too wide, a block of such lines for each item; "none" where it is empty

A line that is too long goes on below its value. Text that can't be broken, a digest say, stays whole, to be copied.
"""

import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from service.telemetry.log_lines import printable

_GAP = 2  # columns
_LEAST = 20  # columns for a text, however long its label is


def shown(value: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> str:
    """Return a result as text.

    >>> print(shown([{"version": 7, "digest": None}, {"version": 12, "digest": "ab"}]))
    version  digest
          7  -
         12  ab
    >>> print(shown({"version": 7, "offsets": {0: 3, 1: 4}}))
    version  7
    offsets  0: 3, 1: 4
    """
    if isinstance(value, Mapping):
        return _parts(value)
    if not value:
        return "none"
    table = list(_table(value))
    if all(len(line) <= _columns() for line in table):
        return "\n".join(table)
    return "\n\n".join(map(_parts, value))


def labelled(label: str, text: str) -> str:
    """Return a text behind a label; lines that follow begin where it does.

    >>> print(labelled("ok  topics  ", "partitions of impressions, clicks and examples: [1, 1, 1], as many of each"))
    ok  topics  partitions of impressions, clicks and examples: [1, 1, 1], as many
                of each
    """
    label, width = printable(label), max(_LEAST, _columns() - len(label))
    lines = textwrap.wrap(printable(text), width, break_long_words=False, break_on_hyphens=False)
    return (label + ("\n" + " " * len(label)).join(lines)).rstrip()


def _columns() -> int:
    return shutil.get_terminal_size((80, 24)).columns


def _parts(value: Mapping[str, Any]) -> str:
    width = max(map(len, value), default=0)
    return "\n".join(labelled(f"{name:{width}}{' ' * _GAP}", _text(part)) for name, part in value.items())


def _table(items: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    names = list(dict.fromkeys(name for item in items for name in item))
    columns = [[name, *(_text(item.get(name)) for item in items)] for name in names]
    numbers = [all(isinstance(item.get(name), int | float | None) for item in items) for name in names]
    widths = [max(map(len, column)) for column in columns]
    for row in zip(*columns, strict=True):
        cells = (f"{text:{'>' if number else '<'}{width}}" for text, number, width in zip(row, numbers, widths, strict=True))
        yield printable((" " * _GAP).join(cells).rstrip())


def _text(value: Any) -> str:
    """Return a value as text."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_text(part)}" for name, part in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "-"
    return str(value)
