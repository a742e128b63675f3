"""A log whose examples arrive as a benchmark lets them, while everything else is kept by another."""

from typing import Any

from stream.log.contract import Bounds, Log
from stream.log.topics import Topics


class Arriving:
    """A log that is the reader of its examples, too: what they are, and when they come, is a subclass's ``poll``.

    Args:
        log: The log of everything else.
        topics: The model's topics.
    """

    def __init__(self, log: Log, topics: Topics) -> None:
        self._log, self._topics, self._read = log, topics, 0

    def __getattr__(self, name: str) -> Any:
        """Return what is asked of the log."""
        return getattr(self._log, name)

    def end(self) -> int:
        """Return how many examples have arrived."""
        return self._read

    def bounds(self, topic: str) -> dict[int, Bounds]:
        """Return what has arrived of the examples, or what the log holds of another topic."""
        return {0: Bounds(0, self.end())} if topic == self._topics.examples else self._log.bounds(topic)

    def reader(self, topic: str, start: dict[int, int]) -> Any:
        """Return the reader of the examples, which this is, or of another topic."""
        return self if topic == self._topics.examples else self._log.reader(topic, start)

    def positions(self) -> dict[int, int]:
        """Return the next example."""
        return {0: self._read}

    def close(self) -> None:
        """Do nothing."""
