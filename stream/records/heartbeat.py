"""Heartbeats: records that carry nothing, and are timed on the way that every event takes.

    joiner → impressions → joiner → examples → learner → weights → server

A heartbeat comes after all that was written to its partition before it: when a server takes note of it, the weights in service know
everything that had been decided by then. It measures the way, so it does not wait for clicks. It teaches nothing and counts nowhere.
The joiner sends them, for each partition has exactly one: one a second, to each of its partitions in turn, however many servers and arms
there are and whether or not anything else comes. It passes on only what it has sent itself, so nobody else's record can pass for a
heartbeat. Where a site's topics are copied by id, the way begins at the copies, which are ours to write to.
"""

import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Self

import msgspec
from msgspec import Meta, Struct

from stream.log.contract import Message, Record
from stream.records.events import UNREADABLE, encode
from stream.records.times import LATEST_TIME

HOPS = ("log", "join", "learn", "publish", "serve")
JOINED, PUBLISHED = 2, 4  # hops that it has behind it in ``examples``, and in ``weights``
TARGET = 1.0  # seconds that the whole way may take: 95 % of a month's heartbeats

_MARK = b'{"heartbeat":'
_FARTHEST = 3_600_000  # ms from its record's append time that a heartbeat's times may be
_MOST_AWAITED = 86_400  # heartbeats: a day's
_Milliseconds = Annotated[int, Meta(ge=-LATEST_TIME, le=LATEST_TIME)]


class Heartbeat(Struct, frozen=True):
    """When it was sent, epoch ms, then how many ms each hop took that it has behind it.

    A hop begins where the one before it ended, and ends by the clock of the process that ends it. So where two clocks differ, ``learn``,
    which leads from the joiner to the learner, or ``serve``, from there to the server, is off by the difference, and can be below 0.
    """

    heartbeat: Annotated[list[_Milliseconds], Meta(min_length=1, max_length=1 + len(HOPS))]

    @property
    def sent(self) -> int:
        """Return when it was sent, epoch ms."""
        return self.heartbeat[0]

    @property
    def reached(self) -> int:
        """Return when its last hop ended, epoch ms."""
        return sum(self.heartbeat)

    @property
    def hops(self) -> dict[str, float]:
        """Return the seconds of each hop behind it."""
        return {hop: took / 1000 for hop, took in zip(HOPS, self.heartbeat[1:], strict=False)}

    @property
    def seconds(self) -> float:
        """Return the seconds since it was sent, up to its last hop."""
        return (self.reached - self.sent) / 1000

    def after_hop(self, now: float) -> Self:
        """Return it with another hop behind it, which ends at ``now``, in epoch seconds.

        >>> Heartbeat([5_000]).after_hop(5.25).after_hop(5.5).heartbeat
        [5000, 250, 250]
        """
        return type(self)([*self.heartbeat, int(1000 * now) - self.reached])


_decoder = msgspec.json.Decoder(Heartbeat)


def is_heartbeat(record: Record) -> bool:
    """Return whether a record begins as a heartbeat does: then it is nothing else, whatever follows."""
    return record.value is not None and record.value.startswith(_MARK)


def decode_heartbeat(record: Record, hops: int) -> Heartbeat | None:
    """Return the heartbeat of a record that :func:`is_heartbeat`; None if it does not have so many hops behind it."""
    try:
        heartbeat = _decoder.decode(record.value or b"")
    except UNREADABLE:
        return None
    return heartbeat if len(heartbeat.heartbeat) == 1 + hops else None


def heartbeat_in(record: Record, hops: int) -> Heartbeat | None:
    """Return as :func:`decode_heartbeat`, but None also where its sending or its last hop is not within an hour of its append time."""
    heartbeat = decode_heartbeat(record, hops)
    if heartbeat is None:
        return None
    return heartbeat if max(abs(each - record.timestamp) for each in (heartbeat.sent, heartbeat.reached)) <= _FARTHEST else None


def parted(records: Iterable[Record], since: Mapping[int, int]) -> tuple[list[Record], list[Heartbeat]]:
    """Part the records of ``examples`` from the heartbeats among them; of these leave out the ones before ``since``, partition → offset."""
    others, heartbeats = [], []
    for record in records:
        if not is_heartbeat(record):
            others.append(record)
        elif record.offset >= since.get(record.partition, 0) and (heartbeat := heartbeat_in(record, JOINED)):
            heartbeats.append(heartbeat)
    return others, heartbeats


class Pacemaker:
    """Sends a heartbeat in each second of the clock, to each partition in turn, and knows its own again.

    Args:
        topic: The topic to send them to.
        partitions: Which of its partitions.
        clock: Returns epoch seconds.
    """

    def __init__(self, topic: str, partitions: Sequence[int], clock: Callable[[], float] = time.time) -> None:
        self._topic, self._partitions, self._clock = topic, partitions, clock
        self._second = int(clock())  # of the last heartbeat
        self._awaited: dict[int, bytes] = {}  # when those that have not come back were sent, epoch ms → their keys, which nobody can guess

    def due(self) -> list[Message]:
        """Return a heartbeat, if none was sent yet in this second."""
        now = self._clock()
        if int(now) == self._second:
            return []
        self._second = int(now)
        heartbeat = Heartbeat([int(1000 * now)])
        key = self._awaited[heartbeat.sent] = secrets.token_hex(8).encode()
        if len(self._awaited) > _MOST_AWAITED:
            del self._awaited[next(iter(self._awaited))]
        return [message(heartbeat, self._topic, self._partitions[self._second % len(self._partitions)], key)]

    def received(self, record: Record) -> Heartbeat | None:
        """Return a heartbeat that has come back, with its first hop behind it; None if it is not one of ours."""
        heartbeat = decode_heartbeat(record, 0)
        if heartbeat is None or record.key is None or self._awaited.get(heartbeat.sent) != record.key:
            return None
        del self._awaited[heartbeat.sent]
        return heartbeat.after_hop(self._clock())


def message(heartbeat: Heartbeat, topic: str, partition: int, key: bytes | None = None) -> Message:
    """Return the record of a heartbeat."""
    return Message(topic, key, encode(heartbeat), partition=partition)
