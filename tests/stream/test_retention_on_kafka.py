"""Kafka deletes what is older than the topics say, waits for nobody, and who comes too late is told what is gone, as on the embedded log."""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from kafka import KafkaProducer
from prometheus_client import CollectorRegistry

from stream.dead_letters import dead_letters
from stream.inputs.event_time import TimeRule
from stream.join.joiner import Joiner
from stream.join.metrics import JoinerMetrics
from stream.learn.errors import GapError
from stream.learn.learner import Learner
from stream.learn.metrics import LearnerMetrics
from stream.log.connect import connect
from stream.log.contract import Log, Message
from stream.log.reading import read_all
from stream.log.topics import DELTAS, SNAPSHOTS, JoinerError, Kept, Topics, create, retain
from stream.records.events import Click, Impression, Watermark, decode_example, encode
from stream.settings import JoinSettings, LearnSettings
from stream.weights.versions import newest_version
from tests.stream.learning import SPEC, example
from tests.stream.log.kafka.test_records import NoText

SHORT = Kept(2.0, 2.0, 1_000_000, weights=4.0)  # a learner renews what it needs every second, even on a busy machine
JOIN = JoinSettings(click_window=0.010, lateness=0.003, idle_after=0.05)
PATIENCE = 60.0  # seconds


@pytest.fixture
def log(kafka: str) -> Iterator[Log]:
    """Open the running Kafka."""
    with connect(kafka) as opened:
        yield opened


@pytest.fixture
def topics(log: Log) -> Topics:
    """Create topics that keep their records for long: :func:`retain` shortens that, once they are read."""
    made = Topics(f"short-{uuid.uuid4().hex[:8]}")
    create(log, made, 1)
    return made


def wait_for(promise: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not promise():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def deleted(log: Log, topic: str, before: int) -> Callable[[], bool]:
    return lambda: log.bounds(topic)[0].first >= before


def learner(log: Log, topics: Topics, folder: Path, *, accept_gap: bool = False) -> Learner:
    settings = LearnSettings(directory=str(folder / "checkpoints"), publish_every=0.0, checkpoint_every=0.2)
    metrics = LearnerMetrics(CollectorRegistry())
    times = TimeRule(60_000)
    return Learner(log, topics, SPEC, settings, metrics, times=times, accept_gap=accept_gap, weights_retention=SHORT.weights)


def examples(topics: Topics, count: int, first: int = 0) -> list[Message]:
    return [example(number)._replace(topic=topics.examples) for number in range(first, first + count)]


def test_a_learner_that_was_away_says_which_examples_are_gone_and_goes_on_if_it_is_told_to(
    log: Log, topics: Topics, tmp_path: Path
) -> None:
    log.append(examples(topics, 20))
    learner(log, topics, tmp_path).run(lambda: False, until_caught_up=True)
    retain(log, topics, kept=SHORT)
    log.append(examples(topics, 10, first=20))
    wait_for(deleted(log, topics.examples, 30), "Kafka to delete the examples")
    wait_for(deleted(log, topics.versions, log.bounds(topics.versions)[0].end), "Kafka to delete the versions")

    with pytest.raises(GapError, match=r"examples 20 to 29 of partition 0 were deleted before they were learned; --accept-gap"):
        learner(log, topics, tmp_path).run(lambda: False, until_caught_up=True)

    retain(log, topics, kept=Kept())
    log.append(examples(topics, 5, first=30))
    again = learner(log, topics, tmp_path, accept_gap=True)
    again.run(lambda: False, until_caught_up=True)
    assert again.last
    assert again.last.version.examples == 25


def test_an_idle_learner_keeps_its_newest_version_and_snapshot_on_kafka(log: Log, topics: Topics, tmp_path: Path) -> None:
    log.append(examples(topics, 20))
    missing: list[object] = []
    deadline = time.monotonic() + PATIENCE
    until: float | None = None  # five retentions after the first version with all examples

    def look() -> bool:
        nonlocal until
        newest, now = newest_version(log, topics), time.monotonic()
        if newest and newest.version.snapshot and newest.version.examples == 20:
            if until is None:
                retain(log, topics, kept=SHORT)
                until = now + 5 * SHORT.weights
            bounds, ref = log.bounds(topics.weights), newest.version.snapshot
            if bounds[SNAPSHOTS].first > ref.first or bounds[DELTAS].first > ref.deltas:
                missing.append(newest)
        elif until or now > deadline:
            missing.append(newest)
        time.sleep(0.1)
        return now > (until or deadline)

    learner(log, topics, tmp_path).run(look)

    assert missing == []
    assert log.bounds(topics.versions)[0].first > 0
    assert log.bounds(topics.weights)[SNAPSHOTS].first > 0


def test_a_joiner_that_was_away_says_which_records_are_gone_and_goes_on_if_it_is_told_to(log: Log, topics: Topics) -> None:
    def join(*, accept_gap: bool = False) -> None:
        joiner = Joiner(log, topics, JOIN, JoinerMetrics(CollectorRegistry()), accept_gap=accept_gap)
        joiner.run(lambda: False, until_caught_up=True)

    def shown(name: str, moment: int) -> Message:
        return Message(topics.impressions, name.encode(), encode(Impression(name, moment, {})))

    log.append([shown("a", 1), Message(topics.clicks, b"a", encode(Click("a", 2)))])
    join()
    retain(log, topics, kept=SHORT)
    log.append([shown("b", 100)])
    wait_for(deleted(log, topics.impressions, log.bounds(topics.impressions)[0].end), "Kafka to delete the impressions")

    with pytest.raises(
        JoinerError, match=r"impressions partition 0: records \d+ to \d+ were deleted before they were joined; `sml join --acc"
    ):
        join()

    retain(log, topics, kept=Kept())
    log.append([shown("c", 1_000)])
    log.append([Message(topic, None, encode(Watermark(9_999)), partition=0) for topic in (topics.impressions, topics.clicks)])
    join(accept_gap=True)
    joined = [decode_example(record.value).impression_id for record in read_all(log, topics.examples)]
    assert joined[-1] == "c"
    assert "b" not in joined


def test_a_header_whose_name_is_no_text_ends_nobody_and_its_record_is_set_aside(log: Log, kafka: str) -> None:
    topics = Topics(f"no-text-{uuid.uuid4().hex[:8]}")
    create(log, topics, 1)
    events = [encode(Impression(name, 1, {})) for name in ("a", "b", "c")]
    with closing(KafkaProducer(bootstrap_servers=kafka.removeprefix("kafka://"), linger_ms=0)) as producer:
        for value, headers in zip(events, ([], [(NoText("x"), b"")], []), strict=True):
            producer.send(topics.impressions, value, b"a", headers=headers).get(60)
    log.append([Message(topic, None, encode(Watermark(99_999)), partition=0) for topic in (topics.impressions, topics.clicks)])

    Joiner(log, topics, JOIN, JoinerMetrics(CollectorRegistry())).run(lambda: False, until_caught_up=True)

    assert [decode_example(record.value).impression_id for record in read_all(log, topics.examples)] == ["a", "c"]
    (letter,) = dead_letters(log, topics)
    assert (letter.topic, letter.offset) == (topics.impressions, 1)
    assert b"can't be read from offset 1 on" in (letter.record.value or b"")


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_a_bomb_is_set_aside_and_the_events_around_it_are_joined(log: Log, kafka: str, codec: str) -> None:
    topics = Topics(f"bomb-{uuid.uuid4().hex[:8]}")
    create(log, topics, 1)
    events = [encode(Impression(name, 1, {})) for name in ("a", "b")]
    with closing(
        KafkaProducer(
            bootstrap_servers=kafka.removeprefix("kafka://"),
            compression_type=codec,
            max_request_size=200_000_000,
            linger_ms=0,
        )
    ) as producer:
        for value in (events[0], bytes(18_000_000), events[1]):
            producer.send(topics.impressions, value, b"a").get(60)
    log.append([Message(topic, None, encode(Watermark(99_999)), partition=0) for topic in (topics.impressions, topics.clicks)])

    Joiner(log, topics, JOIN, JoinerMetrics(CollectorRegistry())).run(lambda: False, until_caught_up=True)

    assert [decode_example(record.value).impression_id for record in read_all(log, topics.examples)] == ["a", "b"]
    (letter,) = dead_letters(log, topics)
    assert (letter.topic, letter.offset) == (topics.impressions, 1)
    assert b"takes more than 16,000,000 bytes unpacked" in (letter.record.value or b"")
