"""Rubbish in every topic, written by somebody who reaches the log itself.

What holds: a broken impression, click or example is a dead letter and changes nothing for the others; a request to forget is carried
out, for its own value; a broken version, or rubbish among the weights and the dead letters, is passed over, and a server keeps its
weights until the next snapshot. Whoever writes well-formed versions decides what is served: that topic is the learner's alone.
"""

import json
import random
import time
from typing import Any

from stream.log.connect import connect
from stream.log.contract import Log, Message, Record
from stream.log.reading import read_all
from stream.log.topics import DELTAS, SNAPSHOTS
from stream.records.events import BadRecordError, Click, Example, Forget, Impression, Watermark, encode
from stream.records.version import decode_version
from tests.hostile.keyed_site import KeyedSite

ODD: tuple[Any, ...] = (
    None,
    -1,
    1e308,
    "",
    "x" * 5000,
    [],
    {},
    [[[[]]]],
    True,
    10**30,
    4_102_444_800_000,
    "\0<script>",
    "\ud800",
    {"a": {"b": [1]}},
)


def odd_events(site: KeyedSite, chance: random.Random) -> None:
    """Write broken records into every topic that sites and the joiner write to; among them requests to forget, some in order."""
    now, name = int(time.time() * 1000), f"odd-{chance.getrandbits(40)}"
    good = [
        (site.topics.impressions, encode(Impression(name, now, {"user": "u1", "price": 1}))),
        (site.topics.clicks, encode(Click(name, now))),
        (site.topics.clicks, encode(Watermark(now - 3_600_000))),
        (site.topics.examples, encode(Example(name, now, {"user": "u1", "price": 1}, 1))),
        (site.topics.examples, encode(Forget(f"{chance.getrandbits(64):016x}", now))),
    ]
    with connect(site.url) as log:
        log.append([Message(topic, name.encode(), broken(value, chance)) for topic, value in good for _ in range(20)])
        log.append([Message(site.topics.examples, None, encode(Forget(f"{chance.getrandbits(64):016x}", now)))])


def odd_dead_letters(site: KeyedSite, chance: random.Random) -> None:
    """Write dead letters that are none, and some whose headers lead nowhere."""
    headers = tuple((f"__connect.errors.{name}", chance.randbytes(8)) for name in ("topic", "partition", "offset", "stage"))
    with connect(site.url) as log:
        log.append([Message(site.topics.dead_letters, None, chance.randbytes(50), headers[: n % 5]) for n in range(20)])


def odd_versions(site: KeyedSite, chance: random.Random) -> None:
    """Write what no program takes for a version: the newest one, cut, flipped, or with another type in one of its fields."""
    with connect(site.url) as log:
        newest = tail(log, site.topics.versions, 0, 1)[0].value or b""
        candidates = [broken(newest, chance) for _ in range(60)] + [
            chance.randbytes(50),
            b"",
            b"[" * 100_000,
            b'{"version": 1' + b"0" * 500_000,
        ]
        log.append([Message(site.topics.versions, None, value, partition=0) for value in filter(no_version, candidates)])


def odd_weights(site: KeyedSite, chance: random.Random) -> None:
    """Write rubbish among deltas and snapshots: random bytes, and the newest chunks again, cut or flipped, under their own names."""
    with connect(site.url) as log:
        chunks = [record for partition in (DELTAS, SNAPSHOTS) for record in tail(log, site.topics.weights, partition, 3)]
        damaged = [Message(r.topic, r.key, flipped(r.value or b"{}", chance), r.headers, r.partition) for r in chunks]
        parts = [(("part", text),) for text in (b"0/1", b"-1/0", b"7/3", b"0/99999999999", b"", b"\xff")]
        rubbish = [Message(site.topics.weights, b"k", chance.randbytes(50), part, n % 2) for n, part in enumerate(parts)]
        log.append(damaged + rubbish)


def tail(log: Log, topic: str, partition: int, count: int) -> list[Record]:
    """Return the last records of a partition that are still there."""
    bounds = log.bounds(topic)[partition]
    start = max(bounds.first, bounds.end - 2 * count - 2)  # Kafka's markers take offsets, too
    return list(read_all(log, topic, {partition: start}, {partition: bounds.end}))[-count:]


def no_version(value: bytes) -> bool:
    """Return whether no program takes the bytes for a version."""
    try:
        decode_version(value)
    except BadRecordError:
        return True
    return False


def broken(value: bytes, chance: random.Random) -> bytes:
    """Return a record that is cut, flipped, or says something else than it should in one of its fields."""
    return chance.choice((cut, flipped, odd))(value, chance)


def cut(value: bytes, chance: random.Random) -> bytes:
    """Return the beginning of the bytes."""
    return value[: chance.randrange(len(value))]


def flipped(value: bytes, chance: random.Random) -> bytes:
    """Return the bytes with one bit changed."""
    at = chance.randrange(len(value))
    return value[:at] + bytes([value[at] ^ (1 << chance.randrange(8))]) + value[at + 1 :]


def odd(value: bytes, chance: random.Random) -> bytes:
    """Return a JSON object that says something else in one of its fields."""
    record = json.loads(value)
    return json.dumps(record | {chance.choice(list(record)): chance.choice(ODD)}).encode()
