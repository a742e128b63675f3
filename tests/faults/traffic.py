"""Traffic whose outcome is known beforehand, sent whatever happens to the log, and the books that account for every record.

Each record has one fate. A batch is sent again if the log was away: some of its records may then be there twice, as with any sender.
"""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from tempfile import TemporaryDirectory
from typing import NamedTuple

from prometheus_client import CollectorRegistry

from model.evaluation.scores import RunningScores
from model.online import OnlineModel
from model.settings import Field, ModelSettings, Spec, TableSettings
from stream.join.joiner import Joiner
from stream.join.metrics import JoinerMetrics
from stream.learn.trainer import Trainer
from stream.log.connect import connect
from stream.log.contract import Log, LogUnavailableError, Message, Record
from stream.log.message import partition_of
from stream.log.sqlite.log import SqliteLog
from stream.log.topics import Topics, create
from stream.records.events import BadRecordError, Click, Example, Impression, Watermark, decode_example, decode_impression, encode
from stream.records.heartbeat import is_heartbeat
from stream.records.version import Version
from stream.settings import JoinSettings
from stream.weights.versions import Lineage, newest_version, read_versions
from tests.stream.learning import records

SETTINGS = """
[model]
hidden = [8, 4]
embedding = 4
[table]
capacity = 4096
[join]
click_window = "2s"
lateness = "1s"
idle_after = "1h"
[learn]
publish_every = "50ms"
checkpoint_every = "1s"
snapshot_every = "3s"
[[field]]
name = "user"
[[field]]
name = "price"
kind = "numeric"
"""
JOIN = JoinSettings(click_window=2.0, lateness=1.0, idle_after=3600.0)
SPEC = Spec(
    model=ModelSettings(hidden=(8, 4), embedding=4),
    table=TableSettings(capacity=4096),
    fields=(Field(name="user"), Field(name="price", kind="numeric")),
)
FIRST, STEP = 1_700_000_000_000, 10  # epoch ms of the first impression, ms from one to the next
BATCH = 20
HOSTILE = "hostile"  # the prefix of the ids of records that must harm only themselves
YEAR_2100, HOUR = 4_102_444_800_000, 3_600_000


class Traffic(threading.Thread):
    """Sends impressions and clicks until told to stop, then the watermarks that decide the last of them.

    Four of five go to partition 0. Some come twice, some are forgotten, some can't be decoded, some can't be learned. Among them are
    records from the future, an hour late, in seconds, or in a wrong partition, and examples of a large weight.

    Args:
        url: The log's URL.
        topics: The model's topics.
        partitions: How many partitions impressions and clicks have.
        rate: Impressions a second.
    """

    def __init__(self, url: str, topics: Topics, partitions: int, rate: float = 400.0) -> None:
        super().__init__(name="traffic", daemon=True)
        self.sent = Counter[str]()
        self.expected: dict[str, int] = {}  # impression id → its label
        self._url, self._topics, self._partitions, self._pause = url, topics, partitions, BATCH / rate
        self._stop_asked, self._given_up, self._chance = threading.Event(), threading.Event(), random.Random(0)

    def run(self) -> None:
        """Send until told to stop, then the watermarks."""
        with connect(self._url) as log:
            number = 0
            while not self._stop_asked.wait(self._pause):
                self._send(log, [message for n in range(number, number + BATCH) for message in self._messages(n)])
                number += BATCH
                self._send(log, list(self._hostile(number)))
                self._send(log, list(self._heavy(log, number)))
            end = Watermark(FIRST + number * STEP + 60_000)
            topics = (self._topics.impressions, self._topics.clicks)
            self._send(log, [Message(topic, None, encode(end), partition=p) for topic in topics for p in range(self._partitions)])

    def finish(self) -> None:
        """Tell the thread to stop, and wait until all is sent."""
        self._stop_asked.set()
        self.join()

    def give_up(self) -> None:
        """Tell the thread to end, though the log may never take the rest."""
        self._given_up.set()
        self.finish()

    @property
    def learnable(self) -> int:
        """Return how many examples must be learned in the end."""
        return len(self.expected) - self.sent["unlearnable"]

    def _send(self, log: Log, messages: Sequence[Message]) -> None:
        while not self._given_up.is_set():
            try:
                log.append(messages)
            except LogUnavailableError:
                self.sent["batches sent again"] += 1
                time.sleep(0.2)
            else:
                return

    def _messages(self, number: int) -> Iterator[Message]:
        """Make up an impression, and the records that belong to it."""
        chance, at = self._chance, FIRST + number * STEP
        name, clicked, fate = self._made_up_id(number), chance.random() < 0.3, chance.random()
        price = "cheap" if fate < 0.01 else round(chance.random(), 3)  # a cheap one can be joined, but not learned
        shown = Impression(name, at, {"user": f"u{chance.randrange(500)}", "price": price})
        message = Message(self._topics.impressions, name.encode(), encode(shown))
        yield message
        if fate < 0.01:
            self.sent["unlearnable"] += 1
        elif fate < 0.03:
            yield message
        elif fate < 0.04:
            self.sent["forgotten"] += 1
            yield message._replace(value=None)
            return
        elif fate < 0.05:
            yield message._replace(value=b"junk")
        self.expected[name] = int(clicked)
        if clicked:
            yield Message(self._topics.clicks, name.encode(), encode(Click(name, at + 500)))

    def _hostile(self, number: int) -> Iterator[Message]:
        """Make up records that must harm only themselves."""
        name = self._made_up_id(number, f"{HOSTILE}-", range(1))

        def shown(at: int, partition: int = 0) -> Message:
            return Message(self._topics.impressions, name.encode(), encode(Impression(name, at, {"user": "u0"})), partition=partition)

        yield shown(YEAR_2100)
        yield shown(FIRST - HOUR)  # an hour earlier than those that partition 0 has had
        yield shown(int(time.time()))
        if self._partitions > 1:
            yield shown(FIRST + number * STEP, partition=1)
        for topic in (self._topics.impressions, self._topics.clicks):
            yield Message(topic, None, encode(Watermark(YEAR_2100)), partition=0)
        yield Message(self._topics.clicks, name.encode(), encode(Click(name, YEAR_2100)), partition=0)

    def _heavy(self, log: Log, number: int) -> Iterator[Message]:
        """Make up an example of a large weight, once the joiner has begun: it refuses a topic that has examples before its own."""
        with suppress(LogUnavailableError):
            if log.bounds(self._topics.examples)[0].end:
                name = f"{HOSTILE}-{number}"
                heavy = Example(name, FIRST, {"user": "u0", "price": 1}, 1, weight=1e6)
                yield Message(self._topics.examples, name.encode(), encode(heavy), partition=0)

    def _made_up_id(self, number: int, prefix: str = "", wanted: range | None = None) -> str:
        """Make up an id; four of five belong to partition 0."""
        wanted = wanted or (range(1) if self._chance.random() < 0.8 else range(self._partitions))
        trials = (f"{prefix}{number}-{trial}" for trial in range(10_000))
        return next(name for name in trials if partition_of(name.encode(), self._partitions, "murmur2") in wanted)


class Books(NamedTuple):
    """The fates of the records of ``impressions``, by the log alone."""

    records: int
    learned: int
    dead_letters: int
    duplicates: int
    forgotten: int
    tombstones: int
    digest: str  # of the weights, from learning the published runs again

    def balance(self) -> int:
        """Return the records sent less those with a known fate: 0 if none is lost."""
        return self.records - self.learned - self.dead_letters - self.duplicates - self.forgotten - self.tombstones


def settle(log: Log, topics: Topics, expected: dict[str, int]) -> Books:
    """Account for each record; fail if one is lost, counts twice, or is wrong.

    The hostile records must become dead letters. All else must be as if they had not been sent: the labels, the order of the examples,
    and the weights, bit for bit.
    """
    shown, clicked, stream = (everything(log, topic) for topic in (topics.impressions, topics.clicks, topics.examples))
    seen = Counter(map(_kind, shown))
    times_shown = Counter(record.key for record in shown if _kind(record) == "impression")
    honest = [record for record in stream if _kind(record) != "hostile"]
    joined = [decode_example(record.value) for record in honest]
    assert len({example.impression_id for example in joined}) == len(joined), "an impression became two examples"
    assert {example.impression_id: example.label for example in joined} == expected
    assert joined_alone(log, topics) == [(record.partition, record.value) for record in honest]
    hostile_clicks, heavy = sum(_kind(record) == "hostile" for record in clicked), len(stream) - len(honest)
    dead_letters = Counter(dict(letter.headers)["__connect.errors.stage"] for letter in records(log, topics.dead_letters))
    assert dead_letters[b"join"] == seen["junk"] + seen["hostile"] + hostile_clicks
    versions = [version for version, _ in read_versions(log, topics, 0)]
    assert versions[-1].examples + dead_letters[b"learn"] == len(stream)
    for topic in (topics.examples, topics.weights):
        heartbeats = [each.value for partition in log.bounds(topic) for each in records(log, topic, partition) if is_heartbeat(each)]
        assert len({_sent(each) for each in heartbeats}) == len(heartbeats) > 0, "a heartbeat went on twice, or none did"
    trainer = Trainer(OnlineModel(SPEC), RunningScores())
    for record in learned_in_order(log, topics, stream):
        if _kind(record) != "hostile":
            trainer.learn([record])
    assert trainer.model.digest() == versions[-1].digest
    return Books(
        records=sum(seen.values()) - seen["watermark"],
        learned=versions[-1].examples,
        dead_letters=sum(dead_letters.values()) - hostile_clicks - heavy,
        duplicates=sum(times_shown.values()) - len(times_shown),
        forgotten=len(times_shown) - len(joined),
        tombstones=seen["tombstone"],
        digest=versions[-1].digest,
    )


def joined_alone(log: Log, topics: Topics) -> list[tuple[int, bytes | None]]:
    """Join the honest records alone, in a log of their own; return the partition and the value of each example."""
    with TemporaryDirectory() as folder, SqliteLog(f"sqlite:///{folder}/log.db") as other:
        create(other, topics, len(log.bounds(topics.impressions)))
        for topic in (topics.impressions, topics.clicks):
            kept = [record for record in everything(log, topic) if _kind(record) != "hostile"]
            other.append([Message(topic, record.key, record.value, partition=record.partition) for record in kept])
        Joiner(other, topics, JOIN, JoinerMetrics(CollectorRegistry())).run(lambda: False, until_caught_up=True)
        return [(record.partition, record.value) for record in everything(other, topics.examples)]


def learned(url: str, topics: Topics) -> int:
    """Return how many examples the newest version has learned."""
    with connect(url) as log:
        newest = newest_version(log, topics)
        return newest.version.examples if newest else 0


def everything(log: Log, topic: str) -> list[Record]:
    """Return the records of a topic, one partition after the other, but heartbeats."""
    return [record for partition in log.bounds(topic) for record in records(log, topic, partition) if not is_heartbeat(record)]


def learned_in_order(log: Log, topics: Topics, stream: list[Record]) -> list[Record]:
    """Return the examples in the order that the versions say they were learned in; each partition's is that of its offsets."""
    versions: list[Version] = [version for version, _ in read_versions(log, topics, 0)]
    lineage = Lineage.after([(version.version, version.rollback.to) for version in versions if version.rollback])
    left = {partition: [r for r in stream if r.partition == partition][::-1] for partition in log.bounds(topics.examples)}
    learned = []
    for run in (run for version in versions if lineage.holds(version.version) for run in version.runs):
        while left[run.partition] and left[run.partition][-1].offset <= run.last:
            learned.append(left[run.partition].pop())
            assert learned[-1].offset >= run.first, "an example was passed over"
    assert not any(left.values()), "examples were not learned"
    return learned


def _sent(heartbeat: bytes | None) -> int:
    return int(json.loads(heartbeat or b"")["heartbeat"][0])


def _kind(record: Record) -> str:
    value = record.value
    if value is None:
        return "tombstone"
    if b'"' + HOSTILE.encode() in value or str(YEAR_2100).encode() in value:
        return "hostile"
    try:
        return "watermark" if isinstance(decode_impression(value), Watermark) else "impression"
    except BadRecordError:
        return "junk"
