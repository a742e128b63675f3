"""Objects within an object, taken apart: each value has a name of its own, ``OUTER.MEMBER``."""

from collections.abc import Iterator
from typing import Any

from stream.records.events import LARGEST_EVENT

MOST_NESTED = 16  # objects within each other
LONGEST_NAME = 1_000  # characters: names repeat the outer ones
EXPECTED = f"names of at most {LONGEST_NAME:,} characters, {MOST_NESTED} objects within each other, no name twice"


class NestedError(ValueError):
    """A name that is too long, too deep, or there twice; or names that are too long together."""


def members(name: str, value: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield a value under its name, or those of an object under ``NAME.MEMBER``.

    >>> list(members("user", {"id": "u17", "home": {"country": "ch"}}))
    [('user.id', 'u17'), ('user.home.country', 'ch')]

    Raises:
        NestedError: a name is too long, or too deep.
    """
    if len(name) > LONGEST_NAME or depth > MOST_NESTED:
        raise NestedError(f"a name of {len(name):,} characters in {depth} objects")
    if isinstance(value, dict):
        for member, inner in value.items():
            yield from members(f"{name}.{member}", inner, depth + 1)
    else:
        yield name, value


def flattened(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row without objects in it.

    >>> flattened({"click": 1, "user": {"id": "u17"}})
    {'click': 1, 'user.id': 'u17'}

    Raises:
        NestedError: a name is too long, too deep, or there twice; or all are longer than an event may be.
    """
    if not any(isinstance(value, dict) for value in row.values()):
        return row
    found: dict[str, Any] = {}
    size = 0
    for outer, value in row.items():
        for name, inner in members(outer, value):
            size += len(name)
            if size > LARGEST_EVENT:
                raise NestedError(f"names of {size:,} characters")
            if name in found:
                raise NestedError(f"{name!r} twice")
            found[name] = inner
    return found
