"""What the log tells a server of the processes around it: what goes through the topics, how far the joiner is, what was set aside.

It is asked every other second, in a thread: a server that can't reach the log, or may not read a topic, serves as before and knows less.
"""

import math
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeVar

from msgspec import Struct

from stream.dead_letters import dead_letters
from stream.log.contract import Log, LogError, LogUnavailableError
from stream.log.message import size_of
from stream.log.reading import sleep_unless
from stream.log.topics import Topics

EVERY = 2.0  # seconds
AGAIN = 60.0  # seconds after which what was refused is asked for again
OLD = 3 * EVERY  # seconds after which what was found is not true any more
TAIL = 200  # dead letters at the end of the log that are read at the start, or at once when many come
MOST_BYTES = 8_000_000  # of dead letters that are read at once
MOST = 50  # reasons that are told apart
LONGEST = 200  # characters of a reason
_OTHERS = ("", "", "other reasons")

_T = TypeVar("_T")


class Flow(NamedTuple):
    """Records a second through the topics, those that the joiner has yet to read, and how long the log takes; NaN where it is not known."""

    impressions: float = math.nan
    clicks: float = math.nan
    examples: float = math.nan
    to_join: float = math.nan
    log_seconds: float = math.nan  # until the log says where a topic ends


class SetAside(Struct, frozen=True):
    """Dead letters of one reason, which holds no value of theirs."""

    stage: str
    kind: str
    reason: str
    count: int
    last: int  # epoch ms


class LogSize(Struct, frozen=True):
    """How large a log in a file is, and for how long it keeps examples."""

    bytes: int
    seconds: float | None  # None: for ever


class LogWatch:
    """Looks at a model's topics.

    Args:
        log: The log.
        topics: The topics; those of the inputs are what the joiner reads.
        clock: Seconds, of any beginning.

    Attributes:
        readable: The dead letters were read.
        size: How large the log's file is; None: it has none, or the brokers have it.
    """

    def __init__(self, log: Log, topics: Topics, clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._topics, self._clock = log, topics, clock
        self._ends: dict[str, tuple[float, int]] = {}  # topic → when it was asked, and the sum of its ends
        self._flow, self._flow_at = Flow(), -math.inf
        self._not_before: dict[str, float] = {}  # what the log refused to say → when it may be asked again
        self._next_letter = -1
        self._set_aside: dict[tuple[str, str, str], SetAside] = {}
        self.readable = False
        self.size: LogSize | None = None

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Look until told to stop."""
        while not should_stop():
            self.look()
            sleep_unless(should_stop, EVERY)

    @property
    def flow(self) -> Flow:
        """What goes through the topics now."""
        return self._flow if self._clock() - self._flow_at < OLD else Flow()

    def set_aside(self) -> list[SetAside]:
        """Return what was set aside, the newest reason first: the newest dead letters, and those that came since the server started."""
        return sorted(self._set_aside.copy().values(), key=lambda each: -each.last)

    def look(self) -> None:
        """Look once."""
        topics, start = self._topics, self._clock()
        ends = {topic: self._ask(topic, partial(self._end, topic)) for topic in (topics.impressions, topics.clicks, topics.examples)}
        now = self._clock()
        impressions, clicks, examples = (self._rate(topic, end, now) for topic, end in ends.items())
        to_join = sum(self._to_join(topic, ends[topic]) for topic in (topics.impressions, topics.clicks))
        log_seconds = math.nan if None in ends.values() else (now - start) / len(ends)
        self._flow, self._flow_at = Flow(impressions, clicks, examples, to_join, log_seconds), now
        self.readable = self._ask("dead letters", self._read_letters) is not None
        self.size = self._ask("size", self._size)

    def _ask(self, what: str, read: Callable[[], _T]) -> _T | None:
        """Return what the log answers; None if it does not, or has refused to a short while ago."""
        if self._clock() < self._not_before.get(what, -math.inf):
            return None
        try:
            return read()
        except LogUnavailableError:
            return None
        except LogError:
            self._not_before[what] = self._clock() + AGAIN
            return None

    def _end(self, topic: str) -> int:
        return sum(found.end for found in self._log.bounds(topic).values())

    def _rate(self, topic: str, end: int | None, now: float) -> float:
        """Return the records a second since the last look; NaN at the first."""
        before = self._ends.pop(topic, None)
        if end is None:
            return math.nan
        self._ends[topic] = now, end
        return max(0, end - before[1]) / (now - before[0]) if before and now > before[0] else math.nan

    def _to_join(self, topic: str, end: int | None) -> float:
        if end is None:
            return math.nan
        read = self._ask(f"progress in {topic}", lambda: self._log.progress(f"{self._topics.prefix}.joiner", topic))
        return max(0, end - sum(each.offset for each in read.values())) if read else math.nan

    def _size(self) -> LogSize | None:
        files = self._log.file_sizes()
        return LogSize(sum(files.values()), self._log.retention(self._topics.examples).seconds) if files else None

    def _read_letters(self) -> int:
        """Count the dead letters that are new; return the offset of the next."""
        bounds = self._log.bounds(self._topics.dead_letters)[0]
        start = max(bounds.newest(TAIL), self._next_letter)
        if start < bounds.end:
            left = MOST_BYTES
            for letter in dead_letters(self._log, self._topics, start):
                self._count((letter.stage[:LONGEST], letter.kind[:LONGEST], letter.reason[:LONGEST]), 1, letter.record.timestamp)
                left -= size_of(letter.record)
                if left < 0:
                    break
        self._next_letter = bounds.end
        return bounds.end

    def _count(self, key: tuple[str, str, str], count: int, last: int) -> None:
        """Count letters of a reason; where there are too many reasons, the one not seen for longest becomes one of the others."""
        known = self._set_aside.get(key, SetAside(*key, 0, last))
        self._set_aside[key] = SetAside(*key, known.count + count, max(known.last, last))
        told_apart = [each for each in self._set_aside if each != _OTHERS]
        if len(told_apart) > MOST:  # the last one of them is new
            oldest = self._set_aside.pop(min(told_apart[:-1], key=lambda each: self._set_aside[each].last))
            self._count(_OTHERS, oldest.count, oldest.last)
