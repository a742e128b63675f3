"""A log that may cut polls anywhere, be away, or kill the learner."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from stream.log.contract import Bounds, Log, Message, Progress, Reader, Record, Writer


class Killed(Exception):  # noqa: N818 - it is no error
    """The learner was killed."""


class FragileLog:
    """A log that may cut polls anywhere, be away, or kill the learner.

    Args:
        log: The real log.
        cut: Returns how many records the next poll may return.
        before_commit: Called before each commit.
        after_commit: Called after each commit, before it returns to the learner.
    """

    def __init__(
        self,
        log: Log,
        cut: Callable[[], int] = lambda: 10_000,
        before_commit: Callable[[], None] = lambda: None,
        after_commit: Callable[[], None] = lambda: None,
    ) -> None:
        self.log, self.cut, self.before_commit, self.after_commit = log, cut, before_commit, after_commit

    def bounds(self, topic: str) -> dict[int, Bounds]:
        return self.log.bounds(topic)

    def append(self, messages: Sequence[Message]) -> list[int]:
        return self.log.append(messages)

    def release(self, topic: str, before: Mapping[int, int]) -> None:
        self.log.release(topic, before)

    def progress(self, owner: str, topic: str) -> dict[int, Progress]:
        return self.log.progress(owner, topic)

    def reader(self, topic: str, start: Mapping[int, int]) -> "FragileReader":
        return FragileReader(self.log.reader(topic, start), self.cut)

    def writer(self, owner: str) -> "FragileWriter":
        return FragileWriter(self.log.writer(owner), self)


class FragileReader:
    """Cuts polls."""

    def __init__(self, reader: Reader, cut: Callable[[], int]) -> None:
        self.reader, self.cut = reader, cut
        self.positions, self.close = reader.positions, reader.close

    def poll(self, max_records: int, timeout: float) -> list[Record]:
        return self.reader.poll(min(max_records, self.cut()), timeout)


class FragileWriter:
    """Calls back before and after a commit."""

    def __init__(self, writer: Writer, log: FragileLog) -> None:
        self.writer, self.log, self.close = writer, log, writer.close

    def commit(self, messages: Sequence[Message], progress: Mapping[tuple[str, int], Progress]) -> list[int]:
        self.log.before_commit()
        offsets = self.writer.commit(messages, progress)
        self.log.after_commit()
        return offsets


def deadly(log: Log, chance: random.Random) -> Log:
    """Make ``log`` cut polls as chance has it, and kill the learner in one of ten: at a poll, before a commit, or after it."""

    def maybe_killed() -> None:
        if chance.random() < 0.1:
            raise Killed

    def cut_or_killed() -> int:
        maybe_killed()
        return chance.choice([1, 5, 40])

    return fragile(log, cut_or_killed, maybe_killed, maybe_killed)


def fragile(log: Log, *args: Callable[[], Any], **calls: Callable[[], Any]) -> Log:
    """Make ``log`` fragile for a learner, which needs no other methods of it."""
    return cast("Log", FragileLog(log, *args, **calls))
