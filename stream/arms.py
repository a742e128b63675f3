"""Arms: which of several models answers whom. The topic ``arms`` holds every decision about it; the newest is in force everywhere.

A unit, such as a user, is a point on a line of ``POINTS``: a hash of its key, salted with the experiment's name. Each arm has ranges of
that line. An arm that grows takes points from control, one that shrinks gives points back to it: no unit moves between other arms.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from itertools import groupby
from operator import itemgetter
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct
from xxhash import xxh3_64_intdigest

from stream.log.contract import Log, LogError, Message, Record
from stream.log.reading import read_all
from stream.log.topics import CONTROL, Topics
from stream.records.events import UNREADABLE, BadRecordError, Count
from stream.records.times import Time

logger = logging.getLogger(__name__)

NAME = r"[a-z0-9][a-z0-9_-]{0,39}"
POINTS = 1_000_000_000  # shares are exact to so many parts

Name: TypeAlias = Annotated[str, Meta(pattern=rf"^{NAME}\Z")]
Ranges: TypeAlias = list[tuple[Count, Name]]  # where each ends, and whose it is; it begins where the one before ends
Role: TypeAlias = Literal["control", "challenger", "shadow", "retired"]
Span: TypeAlias = tuple[int, int, str]  # from, up to, whose


class ArmError(LogError):
    """What was asked of the arms can't be done."""


class Traffic(Struct, frozen=True, omit_defaults=True):
    """A decision: which arm answers which units from here on, by whom and when it was made."""

    experiment: Name
    control: Name  # answers who has no unit, and for an arm that can't
    ranges: Annotated[Ranges, Meta(min_length=1, max_length=10_000)]
    retired: list[Name] = []  # never to be served again
    action: Annotated[str, Meta(max_length=200)] = ""
    by: Annotated[str, Meta(max_length=200)] = ""
    time: Time = 0

    @classmethod
    def of(cls, experiment: str, shares: Mapping[str, float]) -> "Traffic":
        """Return how an experiment begins: shares that sum to 1, one of them control's."""
        points = {arm: round(share * POINTS) for arm, share in shares.items() if arm != CONTROL}
        traffic = cls(experiment, CONTROL, [(POINTS, CONTROL)])
        for arm, count in points.items():
            traffic = traffic.with_points(arm, count)
        return traffic

    def points(self) -> dict[str, int]:
        """Return how many points each arm has that has any."""
        counts: dict[str, int] = {}
        for start, end, arm in self._spans():
            counts[arm] = counts.get(arm, 0) + end - start
        return counts

    def share(self, *arms: str) -> float:
        """Return the share of the units that these arms have together."""
        points = self.points()
        return sum(points.get(arm, 0) for arm in arms) / POINTS

    def role(self, arm: str) -> Role:
        """Return what an arm is."""
        if arm == self.control:
            return "control"
        return "retired" if arm in self.retired else "challenger" if self.points().get(arm) else "shadow"

    def point(self, unit: bytes) -> int:
        """Return the point of the unit with this key."""
        return xxh3_64_intdigest(f"{self.experiment}:".encode() + unit) * POINTS >> 64

    def with_points(self, arm: str, count: int) -> "Traffic":
        """Return this decision, but that ``arm`` has ``count`` points: what it takes are control's last ones, what it gives its first.

        Raises:
            ArmError: control has too few.
        """
        points = self.points()
        more = count - points.get(arm, 0)
        if more > points.get(self.control, 0):
            left = (points.get(self.control, 0) + points.get(arm, 0)) / POINTS
            raise ArmError(f"share: got {count / POINTS:g}, expected at most {left:g}, which {arm} and {self.control} have together")
        giver, taker = (self.control, arm) if more > 0 else (arm, self.control)
        spans = _moved(self._spans(), giver, taker, abs(more), last=more > 0)
        return msgspec.structs.replace(self, ranges=[(list(group)[-1][1], owner) for owner, group in groupby(spans, itemgetter(2))])

    def promoted(self, arm: str) -> "Traffic":
        """Return this decision, but that ``arm`` is in control and answers everybody."""
        return msgspec.structs.replace(self, control=arm, ranges=[(POINTS, arm)])

    def _spans(self) -> Iterator[Span]:
        start = 0
        for end, arm in self.ranges:
            yield start, end, arm
            start = end


def _moved(spans: Iterable[Span], giver: str, taker: str, count: int, *, last: bool) -> list[Span]:
    """Return the spans, the first or the last ``count`` points of ``giver`` now the taker's."""
    moved: list[Span] = []
    for start, end, arm in sorted(spans, reverse=last):
        taken = min(count, end - start) if arm == giver else 0
        count -= taken
        cut = end - taken if last else start + taken
        moved += [(start, cut, arm), (cut, end, taker)] if last else [(start, cut, taker), (cut, end, arm)]
    return sorted(span for span in moved if span[0] < span[1])


def decode_traffic(record: Record) -> Traffic:
    """Decode a record of ``arms``. It was decided before it was appended, whatever the clock of whoever decided says.

    Raises:
        BadRecordError: it is no decision.
    """
    try:
        traffic = msgspec.json.decode(record.value or b"", type=Traffic)
    except UNREADABLE as error:
        raise BadRecordError("record", record.value, str(error)) from error
    ends = [end for end, _ in traffic.ranges]
    if ends != sorted(set(ends)) or ends[0] == 0 or ends[-1] != POINTS:
        raise BadRecordError("ranges", traffic.ranges, f"ends that rise to {POINTS}")
    if serves := set(traffic.retired) & {traffic.control, *traffic.points()}:
        raise BadRecordError("retired", sorted(serves), "arms that answer nobody")
    return msgspec.structs.replace(traffic, time=min(traffic.time, record.timestamp))


def read_traffic(log: Log, topics: Topics) -> Iterator[Traffic]:
    """Yield all decisions, the oldest first; pass over records that are none."""
    for record in read_all(log, topics.arms):
        try:
            yield decode_traffic(record)
        except BadRecordError as error:
            logger.warning("passing over offset %s of %s: %s", record.offset, topics.arms, error)


def in_force(log: Log, topics: Topics, begins: Traffic) -> Traffic:
    """Return the newest decision; before anybody has decided, the one that the settings begin with."""
    return [begins, *read_traffic(log, topics)][-1]


def decide(log: Log, topics: Topics, begins: Traffic, change: Callable[[Traffic], Traffic]) -> Traffic:
    """Change the decision that is in force, or the one that the experiment ``begins`` with; return what is in force from now on.

    Two that decide at once don't undo each other: the second fences the first, or finds what it wrote.

    Raises:
        ArmError: the change can't be made; nothing was written.
        FencedError: somebody else has decided meanwhile; nothing was written.
        LogUnavailableError: it is not known whether it was written.
    """
    with closing(log.writer(f"{topics.prefix}.arms")) as writer:
        after = change(in_force(log, topics, begins))
        writer.commit([Message(topics.arms, None, msgspec.json.encode(after), partition=0)], {})
        return after
