"""A wrong clock harms its own events only: what honest records become is what they become without it, on either log."""

import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping

import pytest
from prometheus_client import CollectorRegistry

from stream.inputs.event_time import FUTURE
from stream.join.joiner import Joiner
from stream.join.metrics import JoinerMetrics
from stream.log.contract import Log, Message, Reader, Record
from stream.log.kafka.log import KafkaLog
from stream.log.reading import read_all
from stream.log.topics import Topics, create
from stream.records.events import Click, Impression, Watermark, decode_example, encode
from stream.settings import JoinSettings

WINDOW = JoinSettings(click_window=3.0, lateness=1.0, idle_after=3600.0)
POLICIES = {
    "window": WINDOW,
    "fnw": WINDOW.model_copy(update={"label_policy": "fnw"}),
    "fnc": WINDOW.model_copy(update={"label_policy": "fnc"}),
}
HOUR, YEAR_2100 = 3_600_000, 4_102_444_800_000  # ms


class Site:
    """Topics of its own on a log, and what is written to them: times count from a minute ago."""

    def __init__(self, log: Log) -> None:
        self.log, self.topics, self.begin = log, Topics(f"clocks-{uuid.uuid4().hex[:12]}"), int(time.time() * 1000) - 60_000
        self.registry = CollectorRegistry()
        self.metrics = JoinerMetrics(self.registry)
        create(log, self.topics, 1)

    def shown(self, name: str, at: int, headers: tuple[tuple[str, bytes], ...] = (), **fields: str) -> Message:
        value = encode(Impression(name, at, {"user": "u"}, source=fields.get("source")))
        return Message(self.topics.impressions, name.encode(), value, headers)

    def clicked(self, name: str, at: int, headers: tuple[tuple[str, bytes], ...] = ()) -> Message:
        return Message(self.topics.clicks, name.encode(), encode(Click(name, at)), headers)

    def watermarks(self, at: int) -> list[Message]:
        return [Message(topic, None, encode(Watermark(at)), partition=0) for topic in (self.topics.impressions, self.topics.clicks)]

    def honest(self, first: int, last: int) -> None:
        """Write impressions, one each 100 ms, every third clicked at once."""
        for number in range(first, last):
            name, at = f"honest-{number}", self.begin + number * 100
            self.log.append([self.shown(name, at)])
            if number % 3 == 0:
                self.log.append([self.clicked(name, at + 20)])

    def end(self) -> None:
        """Decide everything."""
        self.log.append(self.watermarks(int(time.time() * 1000)))

    def join(self, settings: JoinSettings = WINDOW, log: Log | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        joiner = Joiner(log or self.log, self.topics, settings, self.metrics, clock)
        joiner.run(lambda: False, until_caught_up=True)

    def examples(self) -> list[tuple[str, int]]:
        found = [decode_example(record.value) for record in self.records(self.topics.examples)]
        return [(example.impression_id, example.label) for example in found]

    def records(self, topic: str) -> list[Record]:
        """Read a topic until nothing more comes: Kafka shows what was committed a moment after the commit returns."""
        records = list(read_all(self.log, topic))
        while isinstance(self.log, KafkaLog):
            time.sleep(0.1)
            before, records = records, list(read_all(self.log, topic))
            if len(records) == len(before):
                break
        return records

    def set_aside(self) -> Counter[str]:
        """Count the dead letters by the class of their error."""
        return Counter(
            dict(letter.headers)["__connect.errors.exception.class.name"].decode() for letter in self.records(self.topics.dead_letters)
        )

    def count(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"sml_joiner_{name}_total", labels) or 0


def undisturbed(log: Log, policy: str, count: int = 100) -> list[tuple[str, int]]:
    """Return what honest traffic becomes alone."""
    site = Site(log)
    site.honest(0, count)
    site.end()
    site.join(POLICIES[policy])
    return site.examples()


@pytest.mark.parametrize("policy", POLICIES)
def test_an_event_of_the_year_2100_is_set_aside_and_the_others_are_joined_as_if_it_were_not_there(log: Log, policy: str) -> None:
    site = Site(log)
    site.honest(0, 50)
    site.log.append([site.shown("ahead", YEAR_2100), site.clicked("ahead", YEAR_2100), *site.watermarks(YEAR_2100)])
    site.honest(50, 100)
    site.end()

    site.join(POLICIES[policy])

    assert site.examples() == undisturbed(log, policy)
    assert site.set_aside() == {"FutureTimeError": 4}
    assert site.count("dead_letters", reason="future_time") == 4


@pytest.mark.parametrize("policy", POLICIES)
def test_a_clock_that_is_ahead_by_less_than_the_skew_makes_nobody_late(log: Log, policy: str) -> None:
    site = Site(log)
    site.honest(0, 50)
    now = int(time.time() * 1000)
    site.log.append([site.shown("ahead", now + 50_000), site.clicked("ahead", now + 50_000)])
    site.begin = now - 6_000
    site.honest(50, 60)
    site.end()

    site.join(POLICIES[policy])

    alone = undisturbed(log, policy, 50)
    assert [each for each in site.examples() if each[0] in dict(alone)] == alone
    assert site.set_aside() == {}
    assert site.count("late_events", input="clicks", source="") == 0


@pytest.mark.parametrize("policy", POLICIES)
def test_a_source_an_hour_behind_is_set_aside_and_named_and_the_others_are_joined_as_if_it_were_not_there(log: Log, policy: str) -> None:
    site = Site(log)
    site.honest(0, 50)
    for number in range(10):
        at = site.begin + number - HOUR
        site.log.append([site.shown(f"slow-{number}", at, source="tokyo"), site.clicked(f"slow-{number}", at + 20)])
    site.honest(50, 100)
    site.end()

    site.join(POLICIES[policy])

    assert site.examples() == undisturbed(log, policy)
    assert site.set_aside() == {"LateImpressionError": 10}
    assert site.count("late_events", input="impressions", source="tokyo") == 10
    assert site.count("late_events", input="clicks", source="") == 10


@pytest.mark.parametrize("policy", POLICIES)
def test_an_impression_whose_window_was_closed_before_it_came_is_no_negative_though_no_other_came_before(log: Log, policy: str) -> None:
    site = Site(log)
    site.log.append([Message(site.topics.clicks, None, encode(Watermark(int(time.time() * 1000))), partition=0)])
    time.sleep(0.01)
    site.log.append([site.shown("slow", site.begin)])
    site.log.append([site.clicked("slow", site.begin + 20)])
    site.end()

    site.join(POLICIES[policy])

    assert site.examples() == []
    assert site.set_aside() == {"LateImpressionError": 1}


@pytest.mark.parametrize(
    ("at", "error"),
    [
        (lambda now: now // 1000, "TimeUnitError"),
        (lambda now: now * 1000, "BadRecordError"),
        (lambda now: now * 1_000_000, "BadRecordError"),
        (lambda _: 0, "LateImpressionError"),
        (lambda _: -1, "BadRecordError"),
        (lambda _: 2**63, "BadRecordError"),
        (lambda now: now + HOUR, "FutureTimeError"),
    ],
    ids=["seconds", "microseconds", "nanoseconds", "0", "negative", "2^63", "an hour ahead"],
)
def test_a_time_that_can_not_be_is_set_aside_with_its_reason(log: Log, at: Callable[[int], int], error: str) -> None:
    site = Site(log)
    site.honest(0, 50)
    odd = at(int(time.time() * 1000))
    record = b'{"impression_id": "odd", "time": %d, "features": {}}' % odd
    site.log.append([Message(site.topics.impressions, b"odd", record)])
    site.honest(50, 100)
    site.end()

    site.join()

    assert site.examples() == undisturbed(log, "window")
    (letter,) = site.records(site.topics.dead_letters)
    assert letter.value == record
    assert dict(letter.headers)["__connect.errors.exception.class.name"] == error.encode()


def test_a_log_made_up_in_the_future_is_joined_where_both_its_records_and_the_settings_say_so(log: Log) -> None:
    def joined(headers: tuple[tuple[str, bytes], ...], *, accepted: bool) -> tuple[list[tuple[str, int]], int]:
        site = Site(log)
        marked = [site.shown("a", YEAR_2100, headers), site.clicked("a", YEAR_2100 + 1, headers)]
        ends = [mark._replace(headers=headers) for mark in site.watermarks(YEAR_2100 + 10_000)]
        site.log.append([*marked, *ends])
        site.join(WINDOW.model_copy(update={"accept_future": accepted}))
        return site.examples(), sum(site.set_aside().values())

    mark = ((FUTURE, b"1"),)
    assert joined(mark, accepted=True) == ([("a", 1)], 0)
    assert joined(mark, accepted=False) == ([], 4)
    assert joined((), accepted=True) == ([], 4)


class Jumping:
    """A log whose clock is wrong from a record on: its append times are shifted from then on, or for some records."""

    def __init__(self, log: Log, shift: int, offsets: range) -> None:
        self.log, self.shift, self.offsets = log, shift, offsets
        self.bounds, self.progress, self.writer, self.partitioner = log.bounds, log.progress, log.writer, log.partitioner

    def reader(self, topic: str, start: Mapping[int, int]) -> Reader:
        return _Shifted(self, self.log.reader(topic, start))


class _Shifted:
    def __init__(self, log: Jumping, reader: Reader) -> None:
        self._log, self._reader = log, reader
        self.positions, self.close = reader.positions, reader.close

    def poll(self, max_records: int, timeout: float) -> list[Record]:
        records = self._reader.poll(max_records, timeout)
        wrong, shift = self._log.offsets, self._log.shift
        return [record._replace(timestamp=record.timestamp + shift * (record.offset in wrong)) for record in records]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("shift", [-HOUR, HOUR])
def test_while_the_clock_of_the_log_is_wrong_records_may_be_set_aside_and_afterwards_all_is_as_before(
    log: Log, shift: int, policy: str
) -> None:
    site = Site(log)
    site.honest(0, 100)
    site.end()

    site.join(POLICIES[policy], log=Jumping(log, shift, range(20, 25)))  # type: ignore[arg-type]

    written_meanwhile = {*range(20, 25), *range(3 * 20, 3 * 25, 3)}  # impressions, and those whose clicks were
    known, found = (
        [(name, label) for name, label in examples if int(name.removeprefix("honest-")) not in written_meanwhile]
        for examples in (undisturbed(log, policy), site.examples())
    )
    assert found == known
    assert set(site.set_aside()) == ({"FutureTimeError"} if shift < 0 else set())


def test_a_jump_of_the_joiners_own_clock_changes_nothing(log: Log) -> None:
    jumps = iter([*range(5), *range(-HOUR, -HOUR + 5)])
    now = [0.0]

    def clock() -> float:
        now[0] = next(jumps, now[0] + HOUR)
        return now[0]

    site = Site(log)
    site.honest(0, 100)
    site.end()

    site.join(clock=clock)

    assert site.examples() == undisturbed(log, "window")


def test_what_is_read_again_after_a_restart_is_judged_as_it_was(log: Log) -> None:
    site = Site(log)
    for first in range(0, 100, 10):
        site.honest(first, first + 10)
        site.log.append([site.shown(f"ahead-{first}", YEAR_2100), site.shown(f"slow-{first}", site.begin - HOUR)])
        site.join()
    site.end()

    site.join()

    assert site.examples() == undisturbed(log, "window")
    assert site.set_aside() == {"FutureTimeError": 10, "LateImpressionError": 10}
