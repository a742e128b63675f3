"""What ``sml doctor`` finds: one line about one thing, and what to do where it is not fine."""

import math
from typing import NamedTuple, Self

from stream.log.topics import CONTROL


class Finding(NamedTuple):
    """What was examined, whether it is fine, what was found, and what to do about it, if anything."""

    what: str
    fine: bool
    found: str
    todo: str = ""

    @classmethod
    def check(cls, what: str, fine: bool, found: str, otherwise: str) -> Self:
        """Return a finding with what to do about it if it is not fine."""
        return cls(what, fine, found, "" if fine else otherwise)


def of_arm(what: str, arm: str) -> str:
    """Return what of an arm was examined; control's bears no name."""
    return what if arm == CONTROL else f"{what} of {arm}"


def size(count: float) -> str:
    """Return bytes, for people."""
    if math.isinf(count):
        return "without end"
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"  # noqa: PLR2004 - units
