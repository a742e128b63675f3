"""The text formats of LIBSVM, LIBFFM and Vowpal Wabbit: one example a line, its features by number or by name.

A feature whose value is 1, or that has none, is a member of a list: ``features``, its field's number (LIBFFM) or its namespace. Any
other value is a number: a column of its own, named by the list's and the feature's.
"""

import io
import re
from collections.abc import Callable, Iterator
from typing import TypeAlias

from stream.files.block import Block, OnlyRows, Row, Unreadable
from stream.files.lines import whole_lines
from stream.files.opened import Stream

LIST = "features"
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")

Parse: TypeAlias = Callable[[str], tuple[str, Iterator[tuple[str, str, str]]]]  # a line's label, and of each feature list, name and value


def sparse_blocks(stream: Stream, parse: Parse, label: str) -> Iterator[Block]:
    """Yield the examples of a text, block by block; ``label`` names the column of their labels."""
    for raw in whole_lines(stream):
        lines = io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8")
        yield OnlyRows(_row(line, parse, label) for line in lines if not line.isspace())


def _row(line: str, parse: Parse, label_column: str) -> Row | Unreadable:
    try:
        label, features = parse(line)
        row: Row = {label_column: label}
        for group, name, value in features:
            if float(value) == 1:
                row.setdefault(group, []).append(name)
            else:
                row[name if group == LIST else f"{group}_{name}"] = float(value)
    except ValueError as error:
        return Unreadable(f"got {error}")
    return row


def libsvm(line: str) -> tuple[str, Iterator[tuple[str, str, str]]]:
    """Parse ``1 3:1 17:0.5 # comment``."""
    label, *pairs = line.partition("#")[0].split()
    return label, ((LIST, *_split(pair, 2, "index:value")) for pair in pairs)  # type: ignore[misc]


def libffm(line: str) -> tuple[str, Iterator[tuple[str, str, str]]]:
    """Parse ``1 0:3:1 1:17:0.5``."""
    label, *triples = line.split()
    return label, (tuple(_split(triple, 3, "field:index:value")) for triple in triples)  # type: ignore[misc]


def vowpal_wabbit(line: str) -> tuple[str, Iterator[tuple[str, str, str]]]:
    """Parse ``1 'tag |user age:25 city=Paris |item id=7``; importance weights and tags are passed over."""
    head, *spaces = line.split("|")
    label = head.split()[0] if head.split() else ""
    return label, (feature for space in spaces for feature in _namespace(space))


def _namespace(text: str) -> Iterator[tuple[str, str, str]]:
    name, *features = ([LIST] if text[:1].isspace() else []) + text.split()
    if ":" in name:
        raise ValueError(f"the namespace {name!r}, expected one without a weight")
    for feature in features:
        inner, colon, value = feature.rpartition(":")
        yield (name, inner, value) if colon and _NUMBER.fullmatch(value) else (name, feature, "1")


def _split(text: str, parts: int, expected: str) -> list[str]:
    found = text.split(":")
    if len(found) != parts or not _NUMBER.fullmatch(found[-1]):
        raise ValueError(f"{text!r}, expected {expected}")
    return found
