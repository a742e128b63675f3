"""What msgspec lets pass in a body: a key that stands twice in one object, of which it takes the last, and nesting without a bound.

The check is exact and costs next to nothing where there is nothing to find. A body has at least as many colons as keys, and the decoded
request holds each key of an object once: where the two numbers are equal, no key stands twice. Only where they differ (a text that holds
a colon, a key that is not known, or one that does stand twice), the body is read again.
"""

import json
from collections import Counter
from typing import Any

from service.api.answers import BadRequestError

MAX_NESTING = 16  # objects and lists within each other


class _Depth(int):
    """How deep an object is, in place of the object."""


def check_keys(body: bytes, decoded: int) -> None:
    """Refuse a body in which an object holds a key twice, or which is nested too deeply.

    Args:
        body: JSON that was decoded, or that is known to be wrong.
        decoded: The keys that the decoded request is known to hold, at most as many as it has.

    Raises:
        BadRequestError: the message names the key.
    """
    if body.count(b":") == decoded:
        return
    try:
        # Numbers stay texts: nothing of them is needed, and long ones are slow.
        whole = json.loads(body, object_pairs_hook=_depth_of, parse_int=str, parse_float=str, parse_constant=str)
    except RecursionError as error:
        raise BadRequestError("body", f"expected at most {MAX_NESTING} objects and lists within each other") from error
    except (json.JSONDecodeError, UnicodeDecodeError):  # the caller knows what is wrong
        return
    if _depth(whole) > MAX_NESTING:
        raise BadRequestError("body", f"expected at most {MAX_NESTING} objects and lists within each other")


def _depth_of(pairs: list[tuple[str, Any]]) -> _Depth:
    if len(dict(pairs)) != len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise BadRequestError(twice[:100], "this key stands twice in one object, expected once")
    return _Depth(1 + max((_depth(value) for _, value in pairs), default=0))


def _depth(value: Any) -> int:
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return value if isinstance(value, _Depth) else 0
