"""JSON Pointers (RFC 6901): where in a JSON document a value is."""

import re
from collections.abc import Sequence
from typing import Any

_POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)*")
_INDEX = re.compile(r"0|[1-9][0-9]*")

ABSENT = object()  # what a pointer that leads to nothing finds


class WrongTypeError(TypeError):
    """A pointer leads through a value that has no parts of that name."""

    def __init__(self, value: object) -> None:
        super().__init__()
        self.value = value


def parse(pointer: str) -> tuple[str, ...]:
    """Return the names and indices that a pointer leads through.

    >>> parse("/user/a~1b"), parse("")
    (('user', 'a/b'), ())

    Raises:
        ValueError: it is no pointer.
    """
    if not _POINTER.fullmatch(pointer):
        raise ValueError("a JSON Pointer such as /user/id, with ~1 for / and ~0 for ~ in a name, or an empty text for the whole")
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:])


def escape(token: str) -> str:
    """Return a name as it stands in a pointer.

    >>> escape("a/b~c")
    'a~1b~0c'
    """
    return token.replace("~", "~0").replace("/", "~1")


def find(document: Any, tokens: Sequence[str]) -> Any:
    """Return the value that a pointer leads to, or ``ABSENT``: a member or an element is missing, or null stands in its way.

    >>> find({"items": [{"sku": "a"}]}, parse("/items/0/sku"))
    'a'

    Raises:
        WrongTypeError: it leads through a value that is no object, or into an array by a name.
    """
    for token in tokens:
        if isinstance(document, dict):
            document = document.get(token, ABSENT)
        elif document is None or document is ABSENT:
            return ABSENT
        elif isinstance(document, list) and _INDEX.fullmatch(token):
            document = document[int(token)] if int(token) < len(document) else ABSENT
        else:
            raise WrongTypeError(document)
    return document
