"""Count the features that were ignored because no field has their name, by name: a misspelt one is found by its count."""

from collections.abc import Collection
from itertools import islice

MOST_NAMES = 20
LONGEST_NAME = 64  # characters
OTHER = "other"


class IgnoredFeatures:
    """Counts by name for few names, and for all others together.

    Senders choose the names, so only short and printable ones are kept. Where there are too many, a new one takes the place of the rarest:
    names that are made up, and come once each, push each other out and none that has come twice.
    """

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._others = 0

    def add(self, names: Collection[str], examples: int = 1) -> None:
        """Count the names that each of some examples has; no more of them than are kept are looked at."""
        self._others += examples * max(0, len(names) - MOST_NAMES)
        for name in islice(names, MOST_NAMES):
            if name in self._counts:
                self._counts[name] += examples
            elif name == OTHER or len(name) > LONGEST_NAME or not name.isprintable():
                self._others += examples
            else:
                if len(self._counts) == MOST_NAMES:
                    self._others += self._counts.pop(min(self._counts, key=self._counts.__getitem__))
                self._counts[name] = examples

    def counts(self) -> dict[str, int]:
        """Return how often each name has been ignored; a name that has lost its place begins anew when it comes back."""
        return {**self._counts, **({OTHER: self._others} if self._others else {})}
