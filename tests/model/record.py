"""A row's record, longhand: the list of all that was seen, which forgets nothing."""

from dataclasses import dataclass, field
from math import log


@dataclass
class LongRecord:
    """What was seen of one value."""

    seen: list[tuple[int, float, float]] = field(default_factory=list)  # bucket, weight, weight of the click

    def add(self, bucket: int, weight: float, clicked: float) -> None:
        """Add an example."""
        self.seen.append((bucket, weight, clicked))

    def decided(self, bucket: int) -> tuple[float, float]:
        """Return the weights (n, c) of what is decided by ``bucket``, or by the newest bucket in which the value was seen."""
        now = max([bucket, *(at for at, _, _ in self.seen)])
        known = [(n, c) for at, n, c in self.seen if at <= now - 2]
        return sum(n for n, _ in known), sum(c for _, c in known)


def rate_of(stream: tuple[float, float]) -> float:
    """Return the click rate of a whole stream."""
    n, c = stream
    return min((c + 0.5) / (n + 5.5), 0.998)


def log_odds_above(record: tuple[float, float], rate: float) -> float:
    """Return the log-odds of a click, shrunk by two examples at ``rate``, or by more that tell .165, above those of ``rate``."""
    n, c = record
    prior = max(2, 0.165 / (rate * (1 - rate)))
    return log((c + prior * rate) / (max(n - c, 0) + prior * (1 - rate))) - log(rate / (1 - rate))
