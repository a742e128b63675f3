"""The joiner settles every impression once and in the same order, wherever it is killed; what it can't use it sets aside."""

import random
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings, strategies as st
from prometheus_client import CollectorRegistry

from stream.join.idleness import Idleness
from stream.join.joiner import Joiner
from stream.join.metrics import JoinerMetrics
from stream.log.contract import FencedError, Log, Message, Progress, Reader, Record, Writer
from stream.log.reading import read_all
from stream.log.sqlite.log import SqliteLog
from stream.log.topics import JoinerError, Topics, create
from stream.records.events import Click, Example, Impression, Watermark, decode_click, decode_example, encode
from stream.records.heartbeat import is_heartbeat
from stream.settings import JoinSettings
from tests.stream.join.joining import id_in

TOPICS = Topics("t")
SETTINGS = JoinSettings(click_window=0.010, lateness=0.003, idle_after=0.05)
END = 1_000_000


class KilledError(Exception):
    """Stands for kill -9."""


class Mortal:
    """A log whose readers return a few records at a time, and whose writer dies at the n-th commit: before it, or just after."""

    def __init__(self, log: Log, *, records: int, dies_at: int, after: bool) -> None:
        self.log, self.records, self.commits_left, self.after = log, records, dies_at, after
        self.append, self.bounds, self.progress, self.partitioner = log.append, log.bounds, log.progress, log.partitioner

    def reader(self, topic: str, start: Mapping[int, int]) -> Reader:
        return Sipping(self.log.reader(topic, start), self.records)

    def writer(self, owner: str, group: str | None = None) -> Writer:
        return MortalWriter(self, self.log.writer(owner, group))


class Sipping:
    def __init__(self, reader: Reader, records: int) -> None:
        self.reader, self.records = reader, records
        self.positions, self.close = reader.positions, reader.close

    def poll(self, max_records: int, timeout: float) -> list[Record]:
        return self.reader.poll(min(max_records, self.records), timeout)


class MortalWriter:
    def __init__(self, mortal: Mortal, writer: Writer) -> None:
        self.mortal, self.writer = mortal, writer
        self.close = writer.close

    def commit(self, messages: Sequence[Message], progress: Mapping[tuple[str, int], Progress]) -> list[int]:
        self.mortal.commits_left -= 1
        if self.mortal.commits_left < 0 and not self.mortal.after:
            raise KilledError
        offsets = self.writer.commit(messages, progress)
        if self.mortal.commits_left < 0:
            raise KilledError
        return offsets


@contextmanager
def new_log(partitions: int = 1) -> Iterator[SqliteLog]:
    with tempfile.TemporaryDirectory() as folder, SqliteLog(f"sqlite:///{Path(folder) / 'log.db'}") as log:
        create(log, TOPICS, partitions)
        yield log


def join(log: object, registry: CollectorRegistry | None = None) -> None:
    Joiner(log, TOPICS, SETTINGS, JoinerMetrics(registry or CollectorRegistry())).run(lambda: False, until_caught_up=True)  # type: ignore[arg-type]


def shown(name: str, time: int) -> Message:
    return Message(TOPICS.impressions, name.encode(), encode(Impression(name, time, {})))


def clicked(name: str, time: int) -> Message:
    return Message(TOPICS.clicks, name.encode(), encode(Click(name, time)))


def end(log: Log) -> list[Message]:
    return [
        Message(topic, None, encode(Watermark(END)), partition=p)
        for topic in (TOPICS.impressions, TOPICS.clicks)
        for p in log.bounds(topic)
    ]


def read(log: Log, topic: str) -> list[Record]:
    return list(read_all(log, topic))


def examples(log: Log) -> dict[int, list[Example]]:
    found: dict[int, list[Example]] = {p: [] for p in log.bounds(TOPICS.examples)}
    for record in read(log, TOPICS.examples):
        if not is_heartbeat(record):
            found[record.partition].append(decode_example(record.value))
    return found


def traffic(seed: int) -> list[Message]:
    """Make impressions, some of them twice or late, and clicks, some of them early, late or for nobody."""
    chance = random.Random(seed)
    messages = []
    for number in range(60):
        time = max(0, number * 2 - chance.choice([0, 0, 0, 5, 30]))
        messages += [shown(f"{number}", time)] * chance.choice([1, 1, 1, 2])
        if chance.random() < 0.4:
            messages.append(clicked(f"{max(0, number - chance.randrange(5))}", max(0, time + chance.randrange(-3, 15))))
    return messages


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 1_000), st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=5), st.integers(1, 40), st.sampled_from([1, 3])
)
def test_wherever_it_is_killed_each_impression_is_one_example_in_the_same_order(
    seed: int, deaths: list[tuple[int, bool]], records: int, partitions: int
) -> None:
    with new_log(partitions) as calm, new_log(partitions) as stormy:
        for log in (calm, stormy):
            log.append([*traffic(seed), *end(log)])
        join(calm)

        for commits, after in deaths:
            with suppress(KilledError):
                join(Mortal(stormy, records=records, dies_at=commits, after=after))
        join(Mortal(stormy, records=records, dies_at=1_000, after=False))

        assert examples(stormy) == examples(calm)
        late = [letter.value for letter in read(stormy, TOPICS.dead_letters)]
        assert Counter(late) == Counter(letter.value for letter in read(calm, TOPICS.dead_letters))
        assert sum(map(len, examples(stormy).values())) + len(set(late)) == 60


@pytest.mark.parametrize("policy", ["window", "fnw"])
def test_events_whose_times_are_iso_8601_are_joined(policy: Literal["window", "fnw"]) -> None:
    shown_at, clicked_at = "1970-01-01T00:00:00.100Z", "1970-01-01T01:00:00.104+01:00"
    with new_log() as log:
        log.append(
            [
                Message(TOPICS.impressions, b"a", b'{"impression_id": "a", "time": "%b", "features": {"user": "u"}}' % shown_at.encode()),
                Message(TOPICS.clicks, b"a", b'{"impression_id": "a", "time": "%b"}' % clicked_at.encode()),
                *end(log),
            ]
        )
        Joiner(log, TOPICS, SETTINGS.model_copy(update={"label_policy": policy}), JoinerMetrics(CollectorRegistry())).run(
            lambda: False, until_caught_up=True
        )

        example = examples(log)[0][-1]
        assert (example.time, example.clicked_at, example.label, example.features) == (100, 104, 1, {"user": "u"})
        assert not read(log, TOPICS.dead_letters)


def test_bad_records_are_set_aside_with_the_reason_and_the_others_are_joined() -> None:
    bad = [b"\xff", b"[]", b'{"impression_id": "x", "time": "noon", "features": {}}']
    with new_log() as log:
        log.append([Message(TOPICS.impressions, b"x", value) for value in bad] + [Message(TOPICS.impressions, None, None)])
        log.append([shown("a", 1), Message(TOPICS.clicks, b"a", None), clicked("a", 2), *end(log)])

        join(log)
        join(log)

        assert [(example.impression_id, example.label) for example in examples(log)[0]] == [("a", 1)]
        letters = read(log, TOPICS.dead_letters)
        assert sorted(letter.value for letter in letters if letter.value is not None) == sorted(bad)
        assert len(letters) == 5
        assert all(dict(letter.headers)["__connect.errors.stage"] == b"join" for letter in letters)


def test_a_tombstone_forgets_an_impression_that_waits() -> None:
    with new_log() as log:
        log.append([shown("a", 1), shown("b", 1), Message(TOPICS.impressions, b"a", None), *end(log)])

        join(log)

        assert [example.impression_id for example in examples(log)[0]] == ["b"]


def test_a_partition_that_stands_still_gets_a_watermark_so_that_the_labels_are_decided() -> None:
    with new_log(partitions=2) as log:
        name = id_in(1, 2, "a")
        log.append([shown(name, 1), clicked(name, 2)])

        joiner = Joiner(log, TOPICS, SETTINGS, JoinerMetrics(CollectorRegistry()))
        joiner.run(lambda: len(examples(log)[1]) == 1)

        assert [example.label for example in examples(log)[1]] == [1]
        assert log.bounds(TOPICS.clicks)[0].end == 0  # nothing waits in partition 0
        watermark = decode_click(read(log, TOPICS.clicks)[-1].value)
        assert isinstance(watermark, Watermark)
        assert watermark.watermark >= 1 + 10 + 3


def test_what_waited_when_the_joiner_ended_is_decided_after_its_restart_though_nothing_comes() -> None:
    with new_log() as log:
        log.append([shown("a", 1)])
        join(log)
        assert examples(log) == {0: []}

        Joiner(log, TOPICS, SETTINGS, JoinerMetrics(CollectorRegistry())).run(lambda: len(examples(log)[0]) == 1)

        assert [example.label for example in examples(log)[0]] == [0]


def test_time_goes_on_from_the_latest_event_while_nothing_comes() -> None:
    now = [100.0]
    idleness = Idleness(5.0, lambda: now[0])
    idleness.mark_active(("a", 0), 7_000)
    now[0] += 4
    idleness.mark_active(("b", 0), 6_000)
    now[0] += 2

    assert idleness.take_idle() == [("a", 0)]
    assert idleness.take_idle() == []
    assert idleness.watermark() == 13_000


def test_what_was_just_seen_moves_no_idle_partition() -> None:
    now = [100.0]
    idleness = Idleness(5.0, lambda: now[0])
    idleness.mark_active(("clicks", 0), -1)
    found = []
    for at, event_time in ((106, 7_000), (108, 86_400_000), (111, 90_000_000), (113.5, None), (120, None)):
        now[0] = at
        if event_time:
            idleness.mark_active(("impressions", 0), event_time)
        found.append(idleness.watermark())

    assert found == [None, None, 7_000 + 5_000, 86_400_000 + 5_500, 90_000_000 + 9_000]
    assert idleness.latest == 90_000_000


def test_a_recorded_log_is_joined_right_by_a_joiner_that_has_waited_for_it() -> None:
    now, day = [100.0], 86_400_000
    with new_log() as log:
        wanted = SETTINGS.model_copy(update={"idle_after": 5.0})
        joiner = Joiner(log, TOPICS, wanted, JoinerMetrics(CollectorRegistry()), lambda: now[0])
        steps = iter(
            [
                [],
                [shown(f"{n}", n * day) for n in range(3)],
                [],
                [clicked(f"{n}", n * day + 1) for n in range(3)],
                end(log),
                [],
            ]
        )

        def stops() -> bool:
            now[0] += 4
            log.append(next(steps, []))
            return len(examples(log)[0]) == 3

        joiner.run(stops)

        assert [example.label for example in examples(log)[0]] == [1, 1, 1]


def test_a_second_joiner_fences_the_first() -> None:
    with new_log() as log:
        log.append([shown("a", 1), *end(log)])

        def rival() -> bool:
            log.writer("t.joiner")
            return False

        with pytest.raises(FencedError):
            Joiner(log, TOPICS, SETTINGS, JoinerMetrics(CollectorRegistry())).run(rival)
        assert examples(log) == {0: []}


def test_examples_without_progress_are_a_refusal_to_start() -> None:
    with new_log() as log:
        log.append([Message(TOPICS.examples, b"a", encode(Example("a", 1, {}, 0)))])

        with pytest.raises(JoinerError, match="no progress"):
            join(log)


def test_topics_of_unequal_partitions_are_a_refusal_to_start() -> None:
    with tempfile.TemporaryDirectory() as folder, SqliteLog(f"sqlite:///{folder}/log.db") as log:
        log.create(TOPICS.impressions, 2)
        create(log, TOPICS, 1)

        with pytest.raises(JoinerError, match=r"t\.impressions 2, t\.clicks 1"):
            join(log)


def test_counters_say_what_became_of_every_record() -> None:
    registry = CollectorRegistry()
    with new_log() as log:
        log.append([shown("a", 1), shown("a", 1), shown("b", 2), clicked("b", 3), clicked("b", 4), clicked("c", 1), *end(log)])
        log.append([Message(TOPICS.impressions, b"x", b"?")])

        join(log, registry)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"sml_joiner_{name}", labels)

    assert value("records_total", topic="t.impressions") == 5
    assert value("examples_total", label="0") == value("examples_total", label="1") == 1
    assert value("impressions_total", fate="duplicate") == 1
    assert value("clicks_total", fate="duplicate") == value("clicks_total", fate="orphan") == value("clicks_total", fate="counted") == 1
    assert value("dead_letters_total", reason="record") == 1
