"""What other clients write, with their partitioners and their keys, is joined or refused, and never lost in silence."""

import subprocess
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TypeAlias
from zlib import crc32

import pytest
from confluent_kafka import Producer
from prometheus_client import CollectorRegistry

from stream.join.joiner import Joiner
from stream.join.metrics import JoinerMetrics
from stream.log.connect import connect
from stream.log.contract import Log, Message
from stream.log.message import partition_of
from stream.log.topics import JoinerError, Topics, create
from stream.records.events import Click, Example, Impression, Watermark, decode_example, encode
from stream.settings import JoinSettings
from tests.helpers.system import need
from tests.stream.join.joining import id_in
from tests.stream.join.test_joiner import KilledError, Mortal, new_log, read

PARTITIONS = 4
FIRST, STEP = 1_700_000_000_000, 10  # epoch ms of the first impression, ms from each to the next
SETTINGS = JoinSettings(click_window=10, lateness=1, idle_after=3_600)
REKEY = SETTINGS.model_copy(update={"rekey": True})

Write: TypeAlias = Callable[[Iterable[Message]], None]


@pytest.fixture
def topics() -> Topics:
    return Topics(f"keys-{uuid.uuid4().hex[:8]}")


@pytest.fixture
def librdkafka(log: Log, log_url: str) -> Write:
    """Write as confluent-kafka does by default: to Kafka it does so itself; what has no key goes from partition to partition."""

    def to_sqlite(messages: Iterable[Message]) -> None:
        for number, each in enumerate(messages):
            log.append([each._replace(partition=(crc32(each.key) if each.key else number) % PARTITIONS)])

    def to_kafka(messages: Iterable[Message]) -> None:
        producer = Producer({"bootstrap.servers": log_url.removeprefix("kafka://")})
        for each in messages:
            producer.produce(each.topic, each.value, each.key)
        assert producer.flush(30) == 0

    return to_kafka if log_url.startswith("kafka") else to_sqlite


def impressions(topics: Topics, count: int = 400) -> list[Message]:
    events = [Impression(f"i-{number}", FIRST + number * STEP, {}) for number in range(count)]
    return [Message(topics.impressions, each.impression_id.encode(), encode(each)) for each in events]


def clicks(topics: Topics, count: int = 200) -> list[Message]:
    """Click every other impression."""
    events = [Click(f"i-{number}", FIRST + number * STEP + 500) for number in range(0, 2 * count, 2)]
    return [Message(topics.clicks, each.impression_id.encode(), encode(each)) for each in events]


def keyed(messages: list[Message], key: Callable[[int], bytes | None]) -> list[Message]:
    return [each._replace(key=key(number)) for number, each in enumerate(messages)]


def no_key(_: int) -> None: ...


def by_user(number: int) -> bytes:
    return b"u%d" % (number % 17)


def finish(log: Log, topics: Topics) -> None:
    value = encode(Watermark(FIRST + 3_600_000))
    log.append([Message(topic, None, value, partition=p) for topic in (topics.impressions, topics.clicks) for p in log.bounds(topic)])


def join(log: object, topics: Topics, settings: JoinSettings = SETTINGS) -> CollectorRegistry:
    registry = CollectorRegistry()
    Joiner(log, topics, settings, JoinerMetrics(registry)).run(lambda: False, until_caught_up=True)  # type: ignore[arg-type]
    return registry


def examples(log: Log, topics: Topics) -> list[Example]:
    return [decode_example(record.value) for record in read(log, topics.examples)]


def assert_every_click_counts(log: Log, topics: Topics, shown: int = 400, clicked: int = 200) -> None:
    """Each impression is one example, and each that was clicked a positive."""
    joined = examples(log, topics)
    assert {each.impression_id: each.label for each in joined} == {
        f"i-{number}": int(number % 2 == 0 and number < 2 * clicked) for number in range(shown)
    }
    assert len(joined) == shown
    assert read(log, topics.dead_letters) == []


def assert_refused(log: Log, topics: Topics, reason: str) -> None:
    """The joiner stops, at each try, and has committed nothing."""
    for _ in range(2):
        with pytest.raises(JoinerError, match=reason):
            join(log, topics)
    assert log.progress(f"{topics.prefix}.joiner", topics.clicks) == {}
    assert read(log, topics.examples) == read(log, topics.dead_letters) == []


def test_clicks_that_librdkafka_placed_end_the_join_that_would_lose_them(log: Log, topics: Topics, librdkafka: Write) -> None:
    create(log, topics, PARTITIONS)
    log.append(impressions(topics))
    librdkafka(clicks(topics))

    assert_refused(log, topics, r"of the first 100 records \d\d do not lie .* as librdkafka's clients \(kcat, confluent-kafka")


def test_clicks_that_librdkafka_placed_are_all_counted_once_rekeyed_wherever_it_is_killed(
    log: Log, topics: Topics, librdkafka: Write
) -> None:
    create(log, topics, PARTITIONS, rekey=True)
    log.append(impressions(topics))
    librdkafka(clicks(topics))
    finish(log, topics)

    for commits, after in ((0, False), (0, True), (1, True), (3, False), (2, True)):
        with suppress(KilledError):
            join(Mortal(log, records=70, dies_at=commits, after=after), topics, REKEY)
    join(log, topics, REKEY)

    assert_every_click_counts(log, topics)


def test_what_librdkafka_alone_placed_is_joined_as_it_is_though_no_setting_says_so(log: Log, topics: Topics, librdkafka: Write) -> None:
    create(log, topics, PARTITIONS)
    librdkafka(impressions(topics) + clicks(topics))
    finish(log, topics)

    join(log, topics)

    assert_every_click_counts(log, topics)


def test_what_we_write_as_librdkafka_does_meets_what_it_wrote(log: Log, log_url: str, topics: Topics, librdkafka: Write) -> None:
    create(log, topics, PARTITIONS)
    with connect(log_url, "crc32") as ours:
        ours.append(impressions(topics))
    librdkafka(clicks(topics))
    finish(log, topics)

    join(log, topics)

    assert_every_click_counts(log, topics)


@pytest.mark.parametrize(
    ("key", "reason"), [(no_key, "40 of 40 keys are null"), (by_user, r"keys are not impression ids, e\.g\. key 'u0'")]
)
def test_keys_that_are_no_ids_end_the_join_unless_it_is_rekeyed(
    log: Log, topics: Topics, librdkafka: Write, key: Callable[[int], bytes | None], reason: str
) -> None:
    create(log, topics, PARTITIONS, rekey=True)
    log.append(impressions(topics, 80))
    librdkafka(keyed(clicks(topics, 40), key))
    finish(log, topics)

    assert_refused(log, topics, reason)
    join(log, topics, REKEY)

    assert_every_click_counts(log, topics, 80, 40)


def test_rekeyed_inputs_may_have_unequal_partitions(log: Log, topics: Topics) -> None:
    log.create(topics.impressions, 3)
    log.create(topics.clicks, 1)
    create(log, topics, PARTITIONS, rekey=True)
    log.append(impressions(topics) + clicks(topics))
    finish(log, topics)

    join(log, topics, REKEY)

    assert_every_click_counts(log, topics)


def test_clicks_by_kcat_end_the_join_unless_it_is_rekeyed(kafka: str, topics: Topics) -> None:
    kcat = need("kcat")
    with connect(kafka) as log:
        create(log, topics, PARTITIONS, rekey=True)
        log.append(impressions(topics))
        lines = b"\n".join((each.key or b"") + b"\t" + (each.value or b"") for each in clicks(topics))
        command = [kcat, "-P", "-b", kafka.removeprefix("kafka://"), "-t", topics.clicks, "-K", "\t"]
        subprocess.run(command, input=lines, check=True, capture_output=True)
        finish(log, topics)

        assert_refused(log, topics, "kcat")
        join(log, topics, REKEY)

        assert_every_click_counts(log, topics)


@pytest.mark.parametrize("settings", [SETTINGS, REKEY])
def test_a_header_without_a_value_harms_nothing(kafka: str, topics: Topics, settings: JoinSettings) -> None:
    with connect(kafka) as log:
        create(log, topics, 1, rekey=True)
        producer = Producer({"bootstrap.servers": kafka.removeprefix("kafka://")})
        for each in (*impressions(topics, 2), Message(topics.impressions, b"?", b"?")):
            producer.produce(each.topic, each.value, each.key, headers=[("empty", None)])
        assert producer.flush(30) == 0
        finish(log, topics)

        join(log, topics, settings)

        assert len(examples(log, topics)) == 2
        (letter,) = read(log, topics.dead_letters)
        assert (letter.value, letter.headers[0]) == (b"?", ("empty", b""))


def test_one_misrouted_record_is_set_aside_and_the_examples_are_those_without_it(log: Log, topics: Topics, librdkafka: Write) -> None:
    honest, attacked = topics, Topics(f"{topics.prefix}-attacked")
    for each in (honest, attacked):
        create(log, each, PARTITIONS)
        librdkafka(impressions(each) + clicks(each))
    forged = Impression(id_in(1, PARTITIONS, "i", "crc32"), FIRST, {"forged": True})
    log.append([Message(attacked.impressions, b"i-2", encode(forged), (("trace", b"\xff"),), 3)])
    for each in (honest, attacked):
        finish(log, each)

    join(log, honest)
    registry = join(log, attacked)

    assert sorted(map(encode, examples(log, attacked))) == sorted(map(encode, examples(log, honest)))
    assert_every_click_counts(log, honest)
    (letter,) = read(log, attacked.dead_letters)
    assert (letter.key, letter.value, letter.headers[0]) == (b"i-2", encode(forged), ("trace", b"\xff"))
    assert dict(letter.headers)["__connect.errors.exception.class.name"] == b"MisroutedError"
    assert registry.get_sample_value("sml_joiner_dead_letters_total", {"reason": "misrouted"}) == 1


def test_a_join_that_was_ended_and_is_started_again_and_again_sets_nothing_more_aside(log: Log, topics: Topics) -> None:
    create(log, topics, PARTITIONS)
    log.append(impressions(topics))
    wrong = [each for each in clicks(topics) if each.key and crc32(each.key) % PARTITIONS != partition_of(each.key, PARTITIONS, "murmur2")]
    trickle = (each._replace(partition=crc32(each.key or b"") % PARTITIONS) for each in wrong)

    for _ in range(4):
        log.append([next(trickle)])
        join(log, topics)
    for count in (5, 6, 7):
        log.append([next(trickle)])
        with pytest.raises(JoinerError, match=f"of the first {count} records {count}"):
            join(log, topics)

    assert len(read(log, topics.dead_letters)) == 4


def test_after_a_restart_records_are_judged_by_the_partitioner_of_the_first_reading() -> None:
    topics = Topics("t")
    names = [id_in(0, 3, f"forged-{number}", "crc32") for number in range(4)]
    forged = [Message(topics.impressions, b"?", encode(Impression(name, FIRST, {})), partition=1) for name in names]
    honest = [each._replace(partition=crc32(each.key or b"") % 3) for each in impressions(topics, 60) + clicks(topics, 20)]
    with new_log(3) as log:
        log.append([*honest[:30], *forged, *honest[30:]])

        join(log, topics)  # all impressions wait
        finish(log, topics)
        join(log, topics)

        assert len(examples(log, topics)) == 60
        assert [each.value for each in read(log, topics.dead_letters)] == [each.value for each in forged]


def test_what_was_left_behind_does_not_end_the_join_again(log: Log, topics: Topics, librdkafka: Write) -> None:
    create(log, topics, PARTITIONS)
    log.append(impressions(topics))
    librdkafka(clicks(topics))
    assert_refused(log, topics, "librdkafka")

    Joiner(log, topics, SETTINGS, JoinerMetrics(CollectorRegistry())).leave_behind()
    join(log, topics)

    assert examples(log, topics) == []


def test_what_one_writer_misroutes_after_the_first_hundred_records_keeps_no_restart_from_joining_the_others(
    log: Log, topics: Topics
) -> None:
    create(log, topics, PARTITIONS)
    log.append(impressions(topics) + clicks(topics))
    join(log, topics)
    forged = [Message(topics.clicks, b"?", encode(Click(id_in(1, PARTITIONS, f"i-{n}"), FIRST)), partition=2) for n in range(50)]
    log.append(forged)
    finish(log, topics)

    for _ in range(2):
        join(log, topics)

    assert [each.label for each in examples(log, topics)].count(1) == 200
    assert len(read(log, topics.dead_letters)) == len(forged)
