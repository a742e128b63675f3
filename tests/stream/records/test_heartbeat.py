"""A heartbeat goes the whole way once a second, is timed hop by hop, and changes nothing; an odd one harms itself alone."""

import json
import random
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from prometheus_client import CollectorRegistry

from stream.join.joiner import Joiner
from stream.join.metrics import JoinerMetrics
from stream.learn.pending import MOST_HEARTBEATS
from stream.log import topics as topics_module
from stream.log.contract import Log, Message, Record
from stream.log.topics import DELTAS, Topics
from stream.records.events import Click, Impression, Watermark, encode
from stream.records.heartbeat import HOPS, JOINED, Heartbeat, Pacemaker, heartbeat_in, is_heartbeat, message
from stream.settings import JoinSettings
from stream.weights.follow import Follower
from stream.weights.metrics import FollowerMetrics
from tests.stream.learning import TOPICS, all_versions, example, forget, learn_all, learner, opened, records
from tests.stream.weights.test_follow import Service

JOIN = JoinSettings(click_window=0.05, lateness=0.01, idle_after=1.5)
WAY = "sml_follower_heartbeat_seconds"


def now_ms() -> int:
    return int(time.time() * 1000)


def beat(topic: str, hops: Sequence[int] = (), sent: int | None = None, partition: int = 0) -> Message:
    """Make up the record of a heartbeat."""
    return message(Heartbeat([now_ms() - sum(hops) if sent is None else sent, *hops]), topic, partition)


def record(value: bytes, appended: int | None = None) -> Record:
    return Record("t", 0, 0, now_ms() if appended is None else appended, None, value)


@contextmanager
def beside(*loops: Callable[[Callable[[], bool]], None]) -> Iterator[None]:
    """Run each in a thread beside the block."""
    stop = threading.Event()
    threads = [threading.Thread(target=loop, args=(stop.is_set,), daemon=True) for loop in loops]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def until(condition: Callable[[], object], patience: float = 30.0) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def join_all(log: Log, registry: CollectorRegistry) -> None:
    Joiner(log, TOPICS, JOIN, JoinerMetrics(registry)).run(lambda: False, until_caught_up=True)


def follow(log: Log, count: int, registry: CollectorRegistry | None = None) -> deque[Heartbeat]:
    """Follow from the start until so many heartbeats have arrived, at least."""
    arrived, service = deque[Heartbeat](), Service()
    follower = Follower(log, TOPICS, service, FollowerMetrics(registry or CollectorRegistry()), arrived)
    follower.run(lambda: service.caught_up and len(arrived) >= count)
    return arrived


def test_heartbeats_go_the_whole_way_though_nothing_else_does(log: Log, tmp_path: Path) -> None:
    topics = Topics(f"beat-{uuid.uuid4().hex}")
    topics_module.create(log, topics, 3)
    arrived, service, registry = deque[Heartbeat](), Service(), CollectorRegistry()
    joiner = Joiner(log, topics, JOIN, JoinerMetrics(registry))
    learns = learner(log, tmp_path, topics=topics, publish_every=0.05, registry=registry)
    follower = Follower(log, topics, service, FollowerMetrics(registry), arrived)

    with beside(learns.run, follower.run, joiner.run):
        until(lambda: len(arrived) >= 4)
        measured = registry.get_sample_value(f"{WAY}_count", {"arm": "control"})
        hops = {hop: registry.get_sample_value(f"{WAY[:-8]}_hop_seconds_count", {"arm": "control", "hop": hop}) for hop in HOPS}

    for heartbeat in arrived:
        assert tuple(heartbeat.hops) == HOPS
        assert min(heartbeat.hops.values()) >= 0  # on one machine there is one clock
        assert 0 < heartbeat.seconds < 5
    seconds = [heartbeat.sent // 1000 for heartbeat in arrived]
    assert seconds == sorted(set(seconds))
    assert set(hops.values()) == {measured}
    partitions = [p for p in range(3) if any(map(is_heartbeat, records(log, topics.examples, p)))]
    assert len(partitions) == 3  # in turn
    sent = [[each.offset for each in records(log, topics.impressions, p)] for p in range(3)]
    assert sent == [list(range(len(offsets))) for offsets in sent]  # as a client writes: no marker of a transaction between them
    assert [each.version for each in service.taken] == [0]
    for counter in (
        "sml_joiner_records_total",
        "sml_joiner_oddities_total",
        "sml_learner_examples_total",
        "sml_learner_step_seconds_count",
    ):
        assert not sum(s.value for family in registry.collect() for s in family.samples if s.name == counter)


def events(count: int) -> list[Message]:
    """Make up impressions, every third clicked, and the watermarks that decide the last."""
    made, start = [], now_ms() - 100_000
    for number in range(count):
        name, features = f"i{number}", json.loads(example(number).value or b"")["features"]
        made.append(Message(TOPICS.impressions, name.encode(), encode(Impression(name, start + number, features))))
        if number % 3 == 0:
            made.append(Message(TOPICS.clicks, name.encode(), encode(Click(name, start + number))))
    end = encode(Watermark(start + count + 1_000))
    return [*made, Message(TOPICS.impressions, None, end, partition=0), Message(TOPICS.clicks, None, end, partition=0)]


def with_heartbeats(messages: Sequence[Message], chance: random.Random, hops: Sequence[int] = ()) -> list[Message]:
    """Put heartbeats in between, more than there are messages."""
    return [each for sent in messages for each in (*(beat(sent.topic, hops) for _ in range(chance.randrange(4))), sent)]


def state(folder: Path, messages: Sequence[Message], chance: random.Random | None) -> tuple[object, ...]:
    """Join and learn, with heartbeats in between if there is a chance; return all that must not depend on them."""
    folder.mkdir()
    registry = CollectorRegistry()
    with opened(folder) as log:
        log.append(with_heartbeats(messages, chance) if chance else messages)
        join_all(log, registry)
        joined = [each for each in records(log, TOPICS.examples) if not is_heartbeat(each)]
        assert len(joined) == 150
    with opened(folder.with_suffix(".learned")) as log:
        stream = [Message(TOPICS.examples, each.key, each.value, partition=0) for each in joined]
        log.append(with_heartbeats(stream, chance, (1, 2)) if chance else stream)
        version = learn_all(log, folder, registry=registry)
        dead = records(log, TOPICS.dead_letters)
    counted = {
        (sample.name, *sample.labels.values()): sample.value
        for family in registry.collect()
        for sample in family.samples
        if family.type == "counter" or sample.name.startswith(("sml_learner_log_loss", "sml_learner_calibration"))
        if not sample.name.endswith("_created") and "heartbeat" not in str(sample.labels)
        if not sample.name.startswith(("sml_learner_versions", "sml_learner_published_bytes"))  # which time decides
    }
    return [each.value for each in joined], version.digest, version.examples, version.trained_through, dead, counted


def test_weights_scores_and_counts_are_bit_for_bit_those_of_a_stream_without_heartbeats(tmp_path: Path) -> None:
    messages = events(150)

    without = state(tmp_path / "without", messages, None)

    assert state(tmp_path / "with", messages, random.Random(0)) == without


def test_examples_between_heartbeats_are_learned_again_as_they_were(tmp_path: Path) -> None:
    chance = random.Random(1)
    with opened(tmp_path) as log:
        for first in range(0, 90, 30):
            log.append(with_heartbeats([example(number) for number in range(first, first + 30)], chance, (1, 2)))
            last = learn_all(log, tmp_path)
        for checkpoint in (tmp_path / "checkpoints").iterdir():
            checkpoint.unlink()

        assert learn_all(log, tmp_path).digest == last.digest  # else recovery would refuse


def test_heartbeats_that_retention_has_deleted_are_no_gap_in_the_examples(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        log.append([example(1)])
        learn_all(log, tmp_path)
        log.append([beat(TOPICS.examples, (1, 2)) for _ in range(5)])
        before = learn_all(log, tmp_path)  # passes them on, and publishes nothing
        forget(tmp_path, TOPICS.examples, 0, 6)
        log.append([example(2)])

        assert before.offsets == {0: 1}
        assert learn_all(log, tmp_path).examples == 2  # else it would refuse to go on


def test_a_heartbeat_keeps_no_partition_from_being_idle(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        at = now_ms()
        log.append([Message(TOPICS.impressions, b"i", encode(Impression("i", at, {})))])

        with beside(Joiner(log, TOPICS, JOIN, JoinerMetrics(CollectorRegistry())).run):
            until(lambda: any(not is_heartbeat(each) for each in records(log, TOPICS.examples)), patience=JOIN.idle_after + 3)


def test_each_heartbeat_is_passed_on_and_noted_once_whoever_is_restarted(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    with opened(tmp_path) as log:
        learn_all(log, tmp_path)
        log.append([example(1), beat(TOPICS.examples, (1, 2)), example(2), beat(TOPICS.examples, (1, 2))])
        for _ in range(3):
            learn_all(log, tmp_path)
        log.append([beat(TOPICS.examples, (1, 2))])  # alone
        versions = all_versions(log)
        for _ in range(3):
            learn_all(log, tmp_path)

        assert sum(map(is_heartbeat, records(log, TOPICS.weights, DELTAS))) == 3
        assert all_versions(log) == versions
        assert not follow(log, 0, registry)  # a server that starts finds the way that others took
        assert registry.get_sample_value(f"{WAY}_count", {"arm": "control"}) is None


def test_a_server_notes_the_heartbeats_that_come_while_it_serves_and_exports_nothing_once_it_ends(tmp_path: Path) -> None:
    registry, arrived, service = CollectorRegistry(), deque[Heartbeat](), Service()
    with opened(tmp_path) as log:
        learn_all(log, tmp_path)
        follower = Follower(log, TOPICS, service, FollowerMetrics(registry), arrived)
        with beside(follower.run):
            until(lambda: service.caught_up)
            log.append([beat(TOPICS.weights, (1, 2, 3, 4), partition=DELTAS), *odd_ones(TOPICS.weights)])
            log.append([beat(TOPICS.weights, (1, 20_000, -30_000, 4), partition=DELTAS)])
            until(lambda: len(arrived) == 2)
            noted = registry.get_sample_value(f"{WAY}_count", {"arm": "control"})
            skew = registry.get_sample_value("sml_follower_clock_skew_seconds", {"arm": "control"})
            starts = registry.get_sample_value("sml_follower_starts_total")

    assert [list(each.hops.values())[:4] for each in arrived] == [[0.001, 0.002, 0.003, 0.004], [0.001, 20.0, -30.0, 0.004]]
    assert noted == 1  # the second was sent 10 s from now: its clock is all that it tells of
    assert starts == 1  # odd ones are passed over: no server starts again for them
    assert skew == 30
    assert registry.get_sample_value(f"{WAY}_count", {"arm": "control"}) is None


def odd_ones(topic: str) -> list[Message]:
    """Return records that begin as heartbeats do and are none."""
    values = [b"", b"}", b"[]}", b'["1"]}', b"[1e999]}", b"[NaN]}", b"[" * 5_000, b"[4102444800000,1,2,3,4]}", b"[0,1,2,3,4]}", b"[0,1,2]}"]
    return [Message(topic, None, b'{"heartbeat":' + value, partition=0) for value in values] + [
        beat(topic, [9] * count) for count in (0, 1, 3, 5)
    ]


def test_what_a_client_writes_as_a_heartbeat_goes_nowhere_and_is_counted(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    with opened(tmp_path) as log:
        forged = [beat(TOPICS.impressions, sent=now_ms() + ahead) for ahead in range(-3_000, 3_000)]
        log.append([*forged, *odd_ones(TOPICS.impressions), *odd_ones(TOPICS.clicks)])

        with beside(Joiner(log, TOPICS, JOIN, JoinerMetrics(registry)).run):
            until(lambda: len(records(log, TOPICS.examples)) == 2)  # the joiner's own go on meanwhile

        assert all(heartbeat_in(each, JOINED) for each in records(log, TOPICS.examples))
        assert records(log, TOPICS.dead_letters) == []
        odd = registry.get_sample_value("sml_joiner_oddities_total", {"kind": "foreign_heartbeat"})
        assert odd == len(forged) + len(odd_ones("")) * 2


def test_a_flood_of_heartbeats_among_the_examples_is_thinned_out_and_odd_ones_are_passed_over(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        log.append([*[beat(TOPICS.examples, (1, 2)) for _ in range(500)], *odd_ones(TOPICS.examples), example(1)])

        version = learn_all(log, tmp_path)

        passed_on = [each for each in records(log, TOPICS.weights, DELTAS) if is_heartbeat(each)]
        assert len(passed_on) == MOST_HEARTBEATS
        assert version.examples == 1
        assert version.excluded == []
        assert records(log, TOPICS.dead_letters) == []


def test_a_pacemaker_sends_one_a_second_to_each_partition_in_turn_wherever_its_clock_jumps() -> None:
    now = [100.9]
    pacemaker = Pacemaker("t", range(3), lambda: now[0])
    sent = []
    for now[0] in (100.95, 101.0, 101.5, 102.01, 50.0, 50.9, 103.0):
        sent += pacemaker.due()

    assert [(each.value, each.partition) for each in sent] == [
        (b'{"heartbeat":[101000]}', 2),
        (b'{"heartbeat":[102010]}', 0),
        (b'{"heartbeat":[50000]}', 2),
        (b'{"heartbeat":[103000]}', 1),
    ]


def test_a_pacemaker_knows_its_own_once() -> None:
    now = [100.0]
    pacemaker = Pacemaker("t", range(1), lambda: now[0])
    now[0] = 101.0
    (sent,) = pacemaker.due()
    now[0] = 101.25

    returned = record(sent.value or b"", 101_010)
    assert pacemaker.received(returned) is None  # whoever guesses its time does not know its key
    assert pacemaker.received(returned._replace(key=b"0123456789abcdef")) is None
    back = pacemaker.received(returned._replace(key=sent.key))

    assert back
    assert back.heartbeat == [101_000, 250]
    assert pacemaker.received(returned._replace(key=sent.key)) is None
    assert pacemaker.received(record(b'{"heartbeat":[100999]}', 101_010)._replace(key=sent.key)) is None


@given(st.lists(st.integers(0, 5_000), max_size=5), st.integers(0, 5_000))
def test_the_hops_add_up_to_the_whole_way(hops: list[int], last: int) -> None:
    heartbeat = Heartbeat([1_790_000_000_000, *hops])

    after = heartbeat.after_hop((heartbeat.sent + sum(hops) + last) / 1000)

    assert after.heartbeat == [*heartbeat.heartbeat, last]
    assert after.seconds == pytest.approx((sum(hops) + last) / 1000)
