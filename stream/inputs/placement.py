"""Check that the joiner's inputs are in the partitions of their impressions: no record is joined in a wrong partition.

Java's clients choose a key's partition by murmur2, librdkafka's by CRC-32; records without a key go round robin. The joiner infers the
partitioner from the first records of both topics. A topic that does not fit it ends the join; a single misrouted record is set aside.
"""

import reprlib
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import get_args

from stream.inputs.decode import Event, event_of, id_of
from stream.log.contract import Partitioner, Record
from stream.log.message import partition_of
from stream.log.topics import JoinerError, Topics
from stream.records.events import BadRecordError

FIRST = 100  # records of each topic from which its partitioner is inferred
FEW = 5  # fewer than so many of them in a wrong partition may be accidents
SHARE = 0.25  # a larger share of them in a wrong partition is no accident

PARTITIONERS: tuple[Partitioner, ...] = get_args(Partitioner)
CLIENTS = {"murmur2": "Java's clients and ours do", "crc32": "librdkafka's clients (kcat, confluent-kafka and others) do by default"}


class MisroutedError(BadRecordError):
    """A record is in another partition than its impression's."""

    reason = "misrouted"


class Tally:
    """The partitions of a topic's first records, counted by the partitioners that they fit."""

    def __init__(self) -> None:
        self.records = self.without_key = self.with_other_key = 0
        self.fits: Counter[Partitioner] = Counter()
        self.example = ""  # of a key that is not the id
        self._read: dict[int, int] = {}  # partition → next offset: records looked at before the start come again

    def add(self, record: Record, impression_id: str, partitions: int) -> None:
        """Count a record."""
        if self.records == FIRST or record.offset < self._read.get(record.partition, 0):
            return
        self._read[record.partition] = record.offset + 1
        self.records += 1
        self.without_key += not record.key
        if record.key and record.key != impression_id.encode():
            self.with_other_key += 1
            self.example = (
                self.example
                or f"key {reprlib.repr(record.key.decode(errors='backslashreplace'))} of impression {reprlib.repr(impression_id)}"
            )
        self.fits.update(each for each in PARTITIONERS if partition_of(impression_id.encode(), partitions, each) == record.partition)

    def differs(self, partitioner: Partitioner) -> bool:
        """Return whether the topic was written by another partitioner."""
        astray = self.records - self.fits[partitioner]
        return astray >= FEW and astray > SHARE * self.records

    def reason(self, partitioner: Partitioner) -> str:
        """Return the likely reason why it differs."""
        if self.without_key > SHARE * self.records:
            return f"{self.without_key} of {self.records} keys are null"
        if self.with_other_key > SHARE * self.records:
            return f"keys are not impression ids, e.g. {self.example}"
        other = next(each for each in PARTITIONERS if each != partitioner)
        if self.differs(other):
            return f"neither {partitioner} nor {other} places them so"
        return f"{other} places them so, as {CLIENTS[other]}; those of the other topic {partitioner} does, as {CLIENTS[partitioner]}"


class Placement:
    """Infers which partitioner wrote the inputs, and finds the records that are in another partition.

    Args:
        topics: The names of the inputs.
        partitions: How many each of them has; with one, every record is in the right one.
        otherwise: The partitioner if the records don't tell.
        settled: Whether a former joiner has seen enough of both to tell: then later records don't, for they may be one writer's.
    """

    def __init__(self, topics: Topics, partitions: int, otherwise: Partitioner, *, settled: bool = False) -> None:
        self.partitioner = otherwise
        self._topics, self._partitions, self._otherwise = topics, partitions, otherwise
        self._tallies = {topics.impressions: Tally(), topics.clicks: Tally()}
        self._settled = settled

    @property
    def settled(self) -> bool:
        """Whether enough records of both topics were looked at."""
        return self._settled or all(tally.records == FIRST for tally in self._tallies.values())

    def tally(self, records: Sequence[Record]) -> None:
        """Count the first records of each topic, before they are checked.

        Raises:
            JoinerError: a topic was written by another partitioner than the other topic, or by none that we know.
        """
        if self._partitions == 1 or self.settled:
            return
        for record in records:
            with suppress(BadRecordError):
                impression_id = id_of(event_of(record, self._topics))
                if impression_id is not None:
                    self._tallies[record.topic].add(record, impression_id, self._partitions)
        fits = sum((tally.fits for tally in self._tallies.values()), Counter[Partitioner]())
        self.partitioner = max(PARTITIONERS, key=lambda each: (fits[each], each == self._otherwise))
        for topic, tally in self._tallies.items():
            if tally.differs(self.partitioner):
                raise JoinerError(self._complaint(topic, tally))

    def check(self, record: Record, event: Event) -> None:
        """Make sure that a record is in its impression's partition.

        Raises:
            MisroutedError: it is not.
        """
        impression_id = id_of(event)
        if self._partitions == 1 or impression_id is None:
            return
        if partition_of(impression_id.encode(), self._partitions, self.partitioner) != record.partition:
            raise MisroutedError("partition", record.partition, f"the one where {self.partitioner} places the impression's id")

    def _complaint(self, topic: str, tally: Tally) -> str:
        astray = tally.records - tally.fits[self.partitioner]
        return (
            f"{topic}: of the first {tally.records} records {astray} do not lie in the partition where {self.partitioner} puts their "
            f"impression ids, so they can't be joined there: {tally.reason(self.partitioner)}. Expected one partitioner for both topics, "
            "and impression ids as keys. Set it in the client (librdkafka: partitioner = murmur2_random), or for what we write in "
            "[log] partitioner; or have the topics joined whatever their keys are: [join] rekey = true, then `sml topics create`"
        )
