"""Impressions and clicks with every oddity, written to a real Kafka with append times of our choice: the same twice, if asked to twice."""

import random
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from prometheus_client import CollectorRegistry

from service.settings import load
from stream.join.joiner import Joiner
from stream.join.metrics import JoinerMetrics
from stream.join.share import Share
from stream.log.connect import connect
from stream.log.contract import Headers, Record
from stream.log.message import partition_of
from stream.log.reading import read_all
from stream.log.topics import Topics
from stream.records.heartbeat import is_heartbeat

WINDOW, LATENESS, SKEW = 10_000, 3_000, 5_000  # ms
STEP = 20  # ms between two events
JOIN = {"click_window": "10s", "lateness": "3s", "clock_skew": "5s", "idle_after": "1h"}


class Event(NamedTuple):
    """A record to be written: whether among the clicks, its id, value and append time, and what is odd about its place."""

    is_click: bool
    id: str
    value: bytes | None
    appended: int
    headers: Headers = ()
    misplaced: bool = False


def events(count: int, start: int, seed: int = 7) -> Iterator[Event]:
    """Yield ``count`` events in the order of their append times, which begin at ``start`` (epoch ms); then watermarks decide nearly all."""
    chance = random.Random(seed)
    shown: list[tuple[str, int]] = []
    for number in range(count):
        now = start + STEP * number
        if shown and chance.random() < 0.35:
            yield _click(chance, shown, now)
        else:
            yield _impression(chance, shown, number, now)


def _impression(chance: random.Random, shown: list[tuple[str, int]], number: int, now: int) -> Event:
    name, time = f"i-{number}", now - chance.randrange(50)
    odd = chance.random()
    features: dict[str, object] = {"user": f"u{chance.randrange(500)}", "price": chance.choice([1, 2.5, 1e15, 1e-7]), "ü": "日本"}
    record: dict[str, object] = {"impression_id": name, "time": time, "features": features}
    if odd < 0.05:
        return _no_impression(chance, shown, name, now)
    if odd < 0.07 and shown:
        record["impression_id"] = name = chance.choice(shown[-200:])[0]  # a duplicate
    elif odd < 0.09:
        record["time"] = time - chance.choice([2_000, 4_000, 14_000, 40_000])  # late
    elif odd < 0.10:
        record["time"] = chance.choice([now + 60_000, now // 1000, "noon", 1.5, -3])  # of a wrong clock, or none
    elif odd < 0.12:
        record["time"] = datetime.fromtimestamp(time / 1000, UTC).isoformat()
    elif odd < 0.30:
        record["served"] = {"version": 3, "probability": 0.25, "arm": chance.choice(["control", "treatment"]), "unit": "ab", "choice": 0.5}
    shown.append((name, time))
    return Event(False, name, msgspec.json.encode(record), now, (("x", b"y"),) if odd > 0.95 else (), misplaced=odd > 0.99)


def _no_impression(chance: random.Random, shown: list[tuple[str, int]], name: str, now: int) -> Event:
    rubbish = [b"", b"{", b"[1]", b"\xff", b'{"impression_id":""}', b"x" * 300_000, b"\0\0\0\0\1a"]
    tombstone = Event(False, chance.choice(shown[-500:])[0] if shown else name, None, now)
    watermark = Event(False, name, msgspec.json.encode({"watermark": now - 4_000}), now)
    heartbeat = Event(False, name, b'{"heartbeat":[%d]}' % now, now)  # of somebody else
    return chance.choice([tombstone, tombstone, watermark, heartbeat, Event(False, name, chance.choice(rubbish), now)])


def _click(chance: random.Random, shown: list[tuple[str, int]], now: int) -> Event:
    name, time = chance.choice(shown[-400:])
    odd = chance.random()
    record: dict[str, object] = {"impression_id": name, "time": now - chance.randrange(20)}
    if odd < 0.05:
        record["impression_id"] = name = f"o-{now}"  # an orphan
    elif odd < 0.10:
        record["time"] = time - chance.choice([1, 2_000, 4_000])  # early
    elif odd < 0.15:
        record["time"] = time + chance.choice([WINDOW, WINDOW + 1, 2 * WINDOW])  # late, or of the future
    elif odd < 0.17:
        record["time"] = now - 30_000
    elif odd < 0.20:
        record |= {"value": chance.choice([1.5, 0, -1, "much"]), "source": "app"}
    elif odd < 0.21:
        return Event(True, name, chance.choice([None, b"", b"null", b'{"impression_id":7}']), now)
    elif odd < 0.22:
        return Event(True, name, msgspec.json.encode({"watermark": now - 2_500}), now)
    elif odd < 0.23:
        return Event(True, name, msgspec.json.encode(record), now, misplaced=True)
    return Event(True, name, msgspec.json.encode(record), now)


def create(url: str, prefixes: list[str], partitions: int) -> None:
    """Create the topics of models, whose inputs take the append times that they are given."""
    admin = AdminClient({"bootstrap.servers": url.removeprefix("kafka://")})
    wanted = []
    for topics in map(Topics, prefixes):
        own_times = {"message.timestamp.type": "CreateTime"}
        wanted += [NewTopic(name, partitions, 1, config=own_times) for name in (topics.impressions, topics.clicks)]
        wanted += [NewTopic(topics.examples, partitions, 1), NewTopic(topics.dead_letters, 1, 1)]
    for made in admin.create_topics(wanted).values():
        made.result()


def write(url: str, prefixes: list[str], partitions: int, stream: Iterator[Event]) -> None:
    """Write the same events to the topics of several models, each partition with a watermark at its end."""
    producer = Producer(
        {
            "bootstrap.servers": url.removeprefix("kafka://"),
            "enable.idempotence": True,
            "queue.buffering.max.messages": 1_000_000,
            "compression.type": "lz4",
            "message.max.bytes": 10_000_000,  # before compression
        }
    )
    last = 0
    for event in stream:
        last = event.appended
        partition = (partition_of(event.id.encode(), partitions, "murmur2") + event.misplaced) % partitions
        for topics in map(Topics, prefixes):
            _produce(producer, topics, event, partition)
    for partition in range(partitions):
        for is_click in (False, True):
            mark = Event(is_click, "", msgspec.json.encode({"watermark": last}), last)
            for topics in map(Topics, prefixes):
                _produce(producer, topics, mark, partition)
    producer.flush()


def _produce(producer: Producer, topics: Topics, event: Event, partition: int) -> None:
    topic = topics.clicks if event.is_click else topics.impressions
    key, headers = event.id.encode(), list(event.headers)
    producer.produce(topic, event.value, key, partition, timestamp=event.appended, headers=headers)  # type: ignore[arg-type]
    producer.poll(0)


def write_settings(folder: Path, url: str, prefix: str) -> Path:
    """Write the settings of a model."""
    join = "\n".join(f'{name} = "{value}"' for name, value in JOIN.items())
    config = folder / f"{prefix}.toml"
    config.write_text(f'[log]\nurl = "{url}"\nprefix = "{prefix}"\n[join]\nlate_clicks = "learn"\n{join}\n', encoding="utf-8")
    return config


def join(config: Path, share: Share | None = None) -> None:
    """Join by ``sml join``'s own loop, to the end of what the log holds."""
    settings = load(config)
    with connect(settings.log.url) as log:
        joiner = Joiner(log, settings.topics, settings.join, JoinerMetrics(CollectorRegistry()), share=share)
        joiner.run(lambda: False, until_caught_up=True)


def outcome(url: str, prefix: str) -> Counter[tuple[object, ...]]:
    """Return the multiset of all that a join has written: its examples and its dead letters, without the model's name."""
    topics = Topics(prefix)
    with connect(url) as log:
        examples = [(record.partition, *_plain(record, prefix)) for record in read_all(log, topics.examples) if not is_heartbeat(record)]
        letters = [("dead", *_plain(record, prefix)) for record in read_all(log, topics.dead_letters)]
    return Counter(examples + letters)


def settled(url: str, prefix: str) -> Counter[tuple[object, ...]]:
    """Return the outcome once it no longer grows: Kafka shows what was committed a moment after the commit."""
    found, before = outcome(url, prefix), None
    while found != before:
        time.sleep(1)
        found, before = outcome(url, prefix), found
    return found


def _plain(record: Record, prefix: str) -> tuple[object, ...]:
    headers = tuple((name, value.replace(prefix.encode(), b"MODEL")) for name, value in record.headers)
    return record.key, record.value, headers
