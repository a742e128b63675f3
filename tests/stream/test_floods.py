"""Floods: what one client sends in masses displaces the oldest of its kind, is counted, and leaves the others' alone."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from model.encoding.keys import key_of
from stream.join.joiner import Joiner
from stream.join.metrics import JoinerMetrics
from stream.learn.saving.checkpoint import Checkpoints
from stream.log.contract import Log, Message, Retention
from stream.log.message import size_of
from stream.log.metrics import measure
from stream.log.reading import read_all
from stream.log.sqlite.log import SqliteLog
from stream.records.events import Impression, Watermark, decode_example, encode
from stream.settings import JoinSettings
from tests.stream.learning import SPEC, TOPICS, example, learn_all, opened

LIMIT = 1_000_000  # bytes of dead letters
RUBBISH = 700  # bytes
SECONDS, RATE = 5, 5_000


def held_bytes(log: Log) -> int:
    """Add up the bytes of the dead letters that are still there."""
    first = log.bounds(TOPICS.dead_letters)[0].first
    return sum(size_of(record) for record in read_all(log, TOPICS.dead_letters, {0: first}))


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    """Open a log with the model's topics, which looks often at what is too much."""
    with opened(tmp_path) as opened_log:
        opened_log.retain(TOPICS.dead_letters, Retention(20.0, LIMIT))
        yield opened_log


def test_rubbish_at_five_thousand_a_second_keeps_no_impression_from_being_joined_and_takes_no_more_than_its_bytes(log: Log) -> None:
    chance, registry = random.Random(1), CollectorRegistry()
    measure(log, TOPICS, registry)
    joiner = Joiner(log, TOPICS, JoinSettings(click_window=0.01, lateness=0.003, idle_after=3600), JoinerMetrics(registry))
    for number in range(SECONDS):
        log.append([Message(TOPICS.impressions, b"x", chance.randbytes(RUBBISH)) for _ in range(RATE)])
        log.append([Message(TOPICS.impressions, b"%d" % number, encode(Impression(f"{number}", number, {})))])
    log.append([Message(topic, None, encode(Watermark(9_999)), partition=0) for topic in (TOPICS.impressions, TOPICS.clicks)])

    joiner.run(lambda: False, until_caught_up=True)

    assert [decode_example(record.value).impression_id for record in read_all(log, TOPICS.examples)] == [str(n) for n in range(SECONDS)]
    deadline = time.monotonic() + 60
    while (held := held_bytes(log)) > LIMIT and time.monotonic() < deadline:
        log.append([Message(TOPICS.clicks, b"", b"")])
        time.sleep(0.3)
    assert 0.7 * LIMIT < held <= LIMIT
    of_topic = {"topic": TOPICS.dead_letters}
    held_records, deleted = (registry.get_sample_value(f"sml_log_{name}_records", of_topic) or 0 for name in ("held", "deleted"))
    assert held_records + deleted == SECONDS * RATE
    assert registry.get_sample_value("sml_joiner_dead_letters_total", {"reason": "record"}) == SECONDS * RATE


def test_a_flood_of_new_users_forgets_the_least_recently_seen_counts_them_and_keeps_those_that_come_again(log: Log, tmp_path: Path) -> None:
    registry, (user, *_) = CollectorRegistry(), SPEC.fields
    for start in range(0, 20_000, 1_000):
        numbers = range(start, start + 1_000)
        # One in ten is an honest user who comes again; the others have never been seen.
        log.append([example(n, features={"user": f"new {n}" if n % 10 else "honest", "item": "i", "price": 1.0}) for n in numbers])

    learn_all(log, tmp_path, registry=registry)

    rows, capacity, forgotten = (
        registry.get_sample_value(f"sml_learner_table_{name}") or 0 for name in ("rows", "capacity_rows", "expired_rows")
    )
    assert rows <= capacity == SPEC.table.capacity
    assert forgotten == 18_000 + 3 - rows  # every new user, the honest one, the item and the price, but for those still there
    model = next(Checkpoints(tmp_path / "checkpoints", 1).newest_first()).restore().model
    assert key_of(user, "honest") in model.weights.keys
    assert key_of(user, "new 1") not in model.weights.keys
