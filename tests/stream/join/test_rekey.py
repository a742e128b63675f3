"""Joined through copies keyed by the impression's id, any keys and any partitions give the examples of well-keyed topics, whatever dies."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress

import pytest
from hypothesis import given, settings, strategies as st
from prometheus_client import CollectorRegistry

from stream.inputs.event_time import TimeRule
from stream.inputs.settings import InputSettings
from stream.join.joiner import Joiner
from stream.join.merged import BATCH, Decoder, MergedTopics
from stream.join.metrics import JoinerMetrics
from stream.join.rekey import APPENDED, with_original_append_time
from stream.log.contract import FencedError, Log, Message, Record
from stream.log.sqlite.log import SqliteLog
from stream.log.topics import JoinerError, create
from stream.records.events import Example, Watermark, decode_impression, encode
from stream.settings import JoinSettings
from tests.stream.join.test_joiner import END, SETTINGS, TOPICS, KilledError, Mortal, clicked, end, examples, new_log, read, shown

REKEY = SETTINGS.model_copy(update={"rekey": True})
COPIES = TOPICS._replace(by_id=True)


def join(log: object, wanted: JoinSettings = REKEY, registry: CollectorRegistry | None = None) -> None:
    Joiner(log, TOPICS, wanted, JoinerMetrics(registry or CollectorRegistry())).run(lambda: False, until_caught_up=True)  # type: ignore[arg-type]


@contextmanager
def rekeyed_log(impressions: int = 3, clicks: int = 2, partitions: int = 3) -> Iterator[SqliteLog]:
    with new_log(0) as log:
        for topic, count in ((TOPICS.impressions, impressions), (TOPICS.clicks, clicks)):
            log.create(topic, count)
        create(log, TOPICS, partitions, rekey=True)
        yield log


def traffic(seed: int) -> list[Message]:
    """Make impressions, some of them twice, and clicks, some of them for nobody; out of order, but not late."""
    chance = random.Random(seed)
    once = [shown(f"{n}", max(0, n * 2 - chance.choice([0, 0, 1, 2]))) for n in range(60)]
    impressions = [each for each in once for _ in range(chance.choice([1, 1, 1, 2]))]
    clicks = sorted((n * 2 + chance.randrange(15), f"{n}") for n in range(70) if chance.random() < 0.4)
    return impressions + [clicked(name, max(0, time - chance.choice([0, 0, 1, 2]))) for time, name in clicks]


def scattered(messages: Sequence[Message], log: Log, seed: int) -> list[Message]:
    """Return them with keys and partitions that say nothing."""
    chance = random.Random(seed)
    partitions = {topic: len(log.bounds(topic)) for topic in (TOPICS.impressions, TOPICS.clicks)}
    keys = [None, b"", b"u17", b"\xff"]
    return [each._replace(key=chance.choice(keys), partition=chance.randrange(partitions[each.topic])) for each in messages]


def all_examples(log: Log) -> Counter[bytes]:
    return Counter(encode(example) for found in examples(log).values() for example in found)


def the(log: Log) -> list[Example]:
    return sorted((example for found in examples(log).values() for example in found), key=lambda each: each.impression_id)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1_000),
    deaths=st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=6),
    records=st.integers(1, 40),
    partitions=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3)),
)
def test_any_keys_give_the_examples_of_well_keyed_topics_wherever_it_is_killed(
    seed: int, deaths: list[tuple[int, bool]], records: int, partitions: tuple[int, int, int]
) -> None:
    with new_log(partitions[2]) as well_keyed, rekeyed_log(*partitions) as any_keys:
        well_keyed.append([*traffic(seed), *end(well_keyed)])
        any_keys.append([*scattered(traffic(seed), any_keys, seed), *end(any_keys)])
        join(well_keyed, SETTINGS)

        for commits, after in deaths:
            with suppress(KilledError):
                join(Mortal(any_keys, records=records, dies_at=commits, after=after))
        join(Mortal(any_keys, records=records, dies_at=1_000, after=False))

        assert all_examples(any_keys) == all_examples(well_keyed)
        assert all_examples(any_keys).total() == 60
        assert read(any_keys, TOPICS.dead_letters) == []


def test_a_copy_is_the_original_with_the_id_as_its_key_and_its_append_time() -> None:
    with rekeyed_log() as log:
        log.append([shown("i-1", 1)._replace(key=b"u17", headers=(("trace", b"\xff"), (APPENDED, b"1"))), *end(log)])
        (original,) = [each for each in read(log, TOPICS.impressions) if each.key]

        join(log)

        (copy,) = [each for each in read(log, COPIES.impressions) if each.key]
        assert (copy.key, copy.value) == (b"i-1", original.value)
        assert copy.headers[:2] == original.headers
        assert with_original_append_time(copy).timestamp == original.timestamp


def test_partitions_are_merged_by_event_time_so_that_none_makes_the_others_late() -> None:
    with rekeyed_log(impressions=2, clicks=1, partitions=1) as log:
        far = [shown(f"far {n}", 1_000 + n)._replace(partition=0) for n in range(20)]
        near = [shown(f"near {n}", n)._replace(partition=1) for n in range(20)]
        log.append([*far, *near, *[clicked(f"near {n}", n + 5) for n in range(20)], *[clicked(f"far {n}", 1_005 + n) for n in range(20)]])
        log.append(end(log))

        join(log)

        copies = [decode_impression(each.value) for each in read(log, COPIES.impressions) if each.key]
        assert [each.time for each in copies if not isinstance(each, Watermark)] == [*range(20), *range(1_000, 1_020)]
        assert [each.label for each in the(log)] == [1] * 40


def test_of_a_partition_far_ahead_no_more_than_a_batch_is_held_until_its_turn() -> None:
    with rekeyed_log(impressions=2, clicks=1, partitions=1) as log:
        log.append([shown(f"far {n}", 1_000_000)._replace(partition=0) for n in range(3 * BATCH)])
        log.append([shown(f"near {n}", n)._replace(partition=1) for n in range(BATCH)])
        decoder = Decoder(log, TOPICS, TOPICS.impressions, InputSettings(), TimeRule(60_000))
        with closing(MergedTopics(log, {TOPICS.impressions: decoder}, "t.rekey", TimeRule(60_000))) as source:
            held = []
            for _ in range(2):
                source.read()
                held.append(sum(map(len, source._pending.values())))
                for _ in source.take(BATCH):
                    pass

        assert max(held) <= BATCH


def test_a_partition_that_is_read_to_its_end_does_not_hold_up_the_others() -> None:
    with rekeyed_log(impressions=3, clicks=1, partitions=1) as log:
        log.append([shown("a", 1)._replace(partition=0), shown("b", 500)._replace(partition=1)])

        join(log)

        assert [each.key for each in read(log, COPIES.impressions)] == [b"a", b"b"]


def test_a_watermark_goes_on_as_far_as_every_partition_has_come_and_across_a_restart() -> None:
    def promised(log: Log) -> list[int]:
        found = [decode_impression(each.value) for each in read(log, COPIES.impressions) if not each.key]
        return [each.watermark for each in found if isinstance(each, Watermark)]

    def watermark(time: int, partition: int) -> Message:
        return Message(TOPICS.impressions, None, encode(Watermark(time)), partition=partition)

    with rekeyed_log(impressions=2, clicks=1, partitions=2) as log:
        log.append([watermark(100, 0), shown("a", 40)._replace(partition=0)])
        join(log)
        assert promised(log) == []

        log.append([watermark(70, 1), watermark(60, 1)])
        join(log)

        assert promised(log) == [70, 70]


def test_a_time_that_the_append_time_does_not_allow_is_passed_on_for_the_joiner_and_moves_no_watermark() -> None:
    future = 4_102_444_800_000
    with rekeyed_log(impressions=1, clicks=1, partitions=1) as log:
        log.append([shown("a", future), Message(TOPICS.impressions, None, encode(Watermark(future)), partition=0)])
        log.append([Message(TOPICS.impressions, None, encode(Watermark(50)), partition=0)])

        join(log)

        copies = [each.value for each in read(log, COPIES.impressions)]
        assert copies == [shown("a", future).value, encode(Watermark(future)), encode(Watermark(50))]


def test_what_cannot_be_read_is_set_aside_where_it_stood() -> None:
    registry = CollectorRegistry()
    with rekeyed_log(impressions=2, clicks=1) as log:
        log.append([Message(TOPICS.impressions, b"x", b"\xff", (("trace", b"1"),), 1), Message(TOPICS.impressions, None, None, (), 1)])
        log.append(
            [shown("a", 1)._replace(headers=(("large", bytes(998_000)),), partition=1), shown("b", 1)._replace(partition=1), *end(log)]
        )

        join(log, registry=registry)
        join(log)

        letters = read(log, TOPICS.dead_letters)
        told = [{name.removeprefix("__connect.errors."): text for name, text in letter.headers} for letter in letters]
        assert [(letter.key, letter.value) for letter in letters] == [(b"x", b"\xff"), (None, None), (None, None)]
        assert {(each["topic"], each["partition"], each["stage"]) for each in told} == {(b"t.impressions", b"1", b"rekey")}
        assert [each["offset"] for each in told] == [b"0", b"1", b"2"]
        assert [each.impression_id for each in the(log)] == ["b"]
        assert registry.get_sample_value("sml_joiner_dead_letters_total", {"reason": "record"}) == 2
        assert registry.get_sample_value("sml_joiner_records_total", {"topic": "t.impressions"}) == 6


def test_a_tombstone_goes_by_its_key_and_after_its_impression() -> None:
    with rekeyed_log(impressions=2, clicks=1) as log:
        log.append([shown(f"{n}", n)._replace(partition=0, key=None) for n in range(5)])
        log.append([shown("other", 4)._replace(partition=1), Message(TOPICS.impressions, b"3", None, partition=1), *end(log)])

        join(log)

        assert [each.impression_id for each in the(log)] == ["0", "1", "2", "4", "other"]


def test_a_second_joiner_fences_the_copying() -> None:
    with rekeyed_log() as log:
        log.append([shown("a", 1), *end(log)])

        def rival() -> bool:
            log.writer("t.rekey")
            return False

        with pytest.raises(FencedError):
            Joiner(log, TOPICS, REKEY, JoinerMetrics(CollectorRegistry())).run(rival)
        assert read(log, COPIES.impressions) == []


def test_copies_without_progress_are_a_refusal_to_start() -> None:
    with rekeyed_log() as log:
        log.append([shown("a", 1)._replace(topic=COPIES.impressions)])

        with pytest.raises(JoinerError, match=r"holds copies, but there is no progress of 't\.rekey'"):
            join(log)


def test_what_comes_while_it_runs_is_copied_joined_and_decided_though_a_partition_stands_still() -> None:
    with rekeyed_log() as log:
        waiting: list[list[Message]] = [[clicked("a", 2)._replace(key=None, partition=1)], [shown("a", 1)._replace(key=None, partition=2)]]

        def stops() -> bool:
            if waiting:
                log.append(waiting.pop())
            return bool(the(log))

        Joiner(log, TOPICS, REKEY, JoinerMetrics(CollectorRegistry())).run(stops)

        assert [(each.impression_id, each.label) for each in the(log)] == [("a", 1)]


def test_a_partition_that_stands_still_while_others_are_copied_is_not_idle() -> None:
    wanted = REKEY.model_copy(update={"idle_after": 0.001})
    with rekeyed_log(impressions=1, clicks=1) as log:
        log.append([shown(f"{n}", n) for n in range(30)])
        log.append([clicked("nobody's", 0)] * 200 + [clicked(f"{n}", n + 1) for n in range(30)])
        sipping = Mortal(log, records=3, dies_at=10_000, after=False)

        joiner = Joiner(sipping, TOPICS, wanted, JoinerMetrics(CollectorRegistry()))  # type: ignore[arg-type]
        joiner.run(lambda: len(the(log)) == 30)

        assert [each.label for each in the(log)] == [1] * 30


def test_a_site_that_never_rests_is_decided_though_a_partition_stands_still() -> None:
    with rekeyed_log() as log:
        times = iter(range(2_000))

        def stops() -> bool:
            time = next(times)
            log.append([shown(f"{time}", time)])
            return time == 1_999 or bool(the(log))

        joiner = Joiner(log, TOPICS, REKEY.model_copy(update={"idle_after": 0.001}), JoinerMetrics(CollectorRegistry()))
        joiner.run(stops)

        assert [each.label for each in the(log)][:1] == [0]
        assert next(times, None) is not None


def test_the_append_time_of_a_record_that_is_no_copy_is_its_own() -> None:
    idle = Record(COPIES.clicks, 0, 0, 7, None, encode(Watermark(END)))

    assert with_original_append_time(idle) == idle
    assert with_original_append_time(idle._replace(headers=((APPENDED, b"noon"),))).timestamp == 7
    assert with_original_append_time(idle._replace(headers=((APPENDED, b"9" * 5_000),))).timestamp == 7
