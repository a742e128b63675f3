"""A site's own topics, whatever their names, keys and shapes, give the examples of canonical events written by hand, exactly once."""

import json
import random
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from prometheus_client import CollectorRegistry

from model.encoding.keys import key_of
from model.settings import Field
from service.commands.init import init_from_topics
from service.onboarding.topic_sample import Address
from service.settings import load
from stream.dead_letters import dead_letters, retry
from stream.forget import delete_impressions
from stream.inputs.event_time import FUTURE
from stream.inputs.settings import InputSettings
from stream.join import rekey
from stream.join.joiner import Joiner
from stream.join.metrics import JoinerMetrics
from stream.log.contract import Log, Message, Progress, UnknownTopicError, Writer
from stream.log.sqlite.log import SqliteLog
from stream.log.topics import Topics, create
from stream.records.events import Click, Example, Feature, Forget, Impression, Watermark, decode_example, encode
from stream.records.heartbeat import Heartbeat, is_heartbeat, message
from stream.settings import JoinSettings
from tests.stream.join.test_joiner import KilledError, Mortal, MortalWriter, new_log, read

SETTINGS = JoinSettings(click_window=10, lateness=1, idle_after=3_600, rekey=True)
FIRST, STEP = 1_700_000_000_000, 100  # epoch ms of the first page, ms from each to the next
PAGES, ITEMS = 20, 10
APART: dict[str, dict[str, Any]] = {
    "impressions": {
        "topic": "site.views",
        "id": "/view/id",
        "time": "/ts",
        "time_unit": "s",
        "features": {"user": "/user", "position": "/nowhere"},
        "items": "/view/items",
        "item_id": "/sku",
        "item_features": {"item": "/sku", "price": "/offer/price"},
    },
    "clicks": {"topic": "site.clicks", "id": "/view", "item_id": "/target/sku", "time": "/when", "value": "/revenue"},
}
TOGETHER: dict[str, dict[str, Any]] = {
    "impressions": {**APART["impressions"], "topic": "site.events", "where": {"/type": "view"}},
    "clicks": {**APART["clicks"], "topic": "site.events", "where": {"/type": "click"}},
}
CLICKS = tuple((page, item) for page in range(PAGES) for item in range(ITEMS) if (page * ITEMS + item) % 7 == 0)


def iso(ms: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000)) + f".{ms % 1000:03}Z"


def price(page: int, item: int) -> float:
    return page + item / 4


def page_view(page: int) -> dict[str, Any]:
    items = [{"sku": item, "offer": {"price": price(page, item)}} for item in range(ITEMS)]
    user = {"id": f"u{page % 5}", "device": {"os": "linux"}}
    return {"type": "view", "ts": (FIRST + page * STEP) / 1000, "view": {"id": f"v/{page}", "items": items}, "user": user}


def click(page: int, item: int) -> dict[str, Any]:
    return {"type": "click", "view": f"v/{page}", "target": {"sku": f"{item}"}, "when": iso(FIRST + page * STEP + 500), "revenue": 2.5}


def by_hand(topics: Topics) -> list[Message]:
    """Return the canonical events, keyed by their impressions' ids."""
    messages = []
    for page in range(PAGES):
        for item in range(ITEMS):
            features: dict[str, Feature] = {"user.id": f"u{page % 5}", "user.device.os": "linux", "item": item, "price": price(page, item)}
            shown = Impression(f"v~1{page}/{item}", FIRST + page * STEP, features)
            messages.append(Message(topics.impressions, shown.impression_id.encode(), encode(shown)))
    for page, item in CLICKS:
        clicked = Click(f"v~1{page}/{item}", FIRST + page * STEP + 500, 2.5)
        messages.append(Message(topics.clicks, clicked.impression_id.encode(), encode(clicked)))
    return messages


def by_the_site(names: tuple[str, str]) -> list[Message]:
    """Return the same as the site writes it, keyed by user."""
    views = [Message(names[0], b"u%d" % (page % 5), json.dumps(page_view(page)).encode()) for page in range(PAGES)]
    return views + [Message(names[1], b"u%d" % (page % 5), json.dumps(click(page, item)).encode()) for page, item in CLICKS]


def names_of(inputs: InputSettings) -> tuple[str, str]:
    assert inputs.impressions
    assert inputs.clicks
    return inputs.impressions.topic, inputs.clicks.topic


def join(log: object, topics: Topics, inputs: InputSettings, registry: CollectorRegistry | None = None) -> None:
    joiner = Joiner(log, topics, SETTINGS, JoinerMetrics(registry or CollectorRegistry()), inputs=inputs)  # type: ignore[arg-type]
    joiner.run(lambda: False, until_caught_up=True)


def finish(log: Log, topics: Topics) -> None:
    """Let every label be decided: a site's topics hold no watermarks, so the joiner's own topics get them, as from an idle joiner."""
    end = encode(Watermark(FIRST + 3_600_000))
    log.append([Message(topic, None, end, partition=p) for topic in (topics.impressions, topics.clicks) for p in log.bounds(topic)])


def examples(log: Log, topics: Topics) -> list[Example]:
    return sorted((decode_example(record.value) for record in read(log, topics.examples)), key=lambda each: each.impression_id)


def expected() -> list[Example]:
    """Join by hand what was written by hand, in a log of its own."""
    with new_log(1) as log:
        topics = Topics("hand")
        create(log, topics, 1)
        log.append(by_hand(topics))
        finish(log, topics)
        Joiner(log, topics, SETTINGS.model_copy(update={"rekey": False}), JoinerMetrics(CollectorRegistry())).run(
            lambda: False, until_caught_up=True
        )
        joined = examples(log, topics)
    assert (len(joined), sum(each.label for each in joined)) == (PAGES * ITEMS, len(CLICKS))
    return joined


@contextmanager
def site(inputs: InputSettings, partitions: int = 2) -> Iterator[tuple[SqliteLog, Topics]]:
    with new_log(0) as log:
        topics = Topics("t")
        create(log, topics, partitions, rekey=True)
        for name in inputs.topics:
            log.create(name, partitions)
        yield log, topics


def of(settings: dict[str, Any], prefix: str = "") -> InputSettings:
    """Return the settings, the topics with a prefix."""
    return InputSettings.model_validate({kind: {**each, "topic": prefix + each["topic"]} for kind, each in settings.items()})


def test_page_views_keyed_by_user_become_the_examples_of_events_written_by_hand_on_kafka(kafka: str, tmp_path: Path) -> None:
    from confluent_kafka import Producer  # noqa: PLC0415 - the site's own client

    from stream.log.connect import connect  # noqa: PLC0415

    name = uuid.uuid4().hex[:8]
    inputs, topics = of(APART, f"{name}."), Topics(f"input-{name}")
    with connect(kafka) as log:
        create(log, topics, 2, rekey=True)
        for topic in inputs.topics:
            log.create(topic, 2)
        producer = Producer({"bootstrap.servers": kafka.removeprefix("kafka://")})
        for each in by_the_site(names_of(inputs)):
            producer.produce(each.topic, each.value, each.key)
        assert producer.flush(30) == 0

        init_from_topics([Address(kafka, topic) for topic in inputs.topics], tmp_path / "sml.toml", every=False)
        proposed = load(tmp_path / "sml.toml").input
        join(log, topics, inputs)
        finish(log, topics._replace(by_id=True))
        deadline = time.monotonic() + 60  # Kafka shows what was committed a moment after the commit returns
        while len(examples(log, topics)) < PAGES * ITEMS and time.monotonic() < deadline:
            join(log, topics, inputs)

        assert examples(log, topics) == expected()
        assert read(log, topics.dead_letters) == []
        assert without_features(proposed) == without_features(inputs)


def without_features(inputs: InputSettings) -> dict[str, Any]:
    return inputs.model_dump(exclude={"impressions": {"features", "item_features"}})


@settings(max_examples=6, deadline=None)
@given(
    together=st.booleans(),
    deaths=st.lists(st.tuples(st.integers(0, 6), st.booleans()), max_size=4),
    records=st.integers(5, 40),
    seed=st.integers(0, 100),
)
def test_wherever_it_is_killed_each_item_is_one_example(together: bool, deaths: list[tuple[int, bool]], records: int, seed: int) -> None:
    inputs, chance = of(TOGETHER if together else APART), random.Random(seed)
    with site(inputs) as (log, topics):
        log.append([each._replace(partition=chance.randrange(2)) for each in by_the_site(names_of(inputs))])

        for commits, after in deaths:
            with suppress(KilledError):
                join(Dying(log, records, commits, after=after), topics, inputs)
        join(log, topics, inputs)
        finish(log, topics._replace(by_id=True))
        join(log, topics, inputs)

        assert examples(log, topics) == expected_once()
        assert len(read(log, topics._replace(by_id=True).clicks)) == len(CLICKS) + len(log.bounds(topics.examples))
        assert read(log, topics.dead_letters) == []


class Dying(Mortal):
    """A log whose writers die at the n-th commit."""

    def __init__(self, log: Log, records: int, dies_at: int, *, after: bool) -> None:
        super().__init__(log, records=records, dies_at=dies_at, after=after)
        self.append_times = log.append_times


_once: list[Example] = []


def expected_once() -> list[Example]:
    _once[:] = _once or expected()
    return _once


def test_clicks_that_come_over_http_count_for_impressions_of_the_site_s_own_topic() -> None:
    inputs = InputSettings.model_validate({"impressions": APART["impressions"]})
    with site(inputs) as (log, topics):
        log.append([each for each in by_the_site(("site.views", "")) if each.topic])
        log.append([each for each in by_hand(topics) if each.topic == topics.clicks])
        join(log, topics, inputs)
        finish(log, topics._replace(by_id=True))

        join(log, topics, inputs)

        assert examples(log, topics) == expected_once()


def test_an_event_that_comes_again_and_an_item_that_stands_twice_on_a_page_count_once() -> None:
    inputs = of(APART)
    twice = page_view(0)
    twice["view"]["items"] += twice["view"]["items"][:3]
    with site(inputs) as (log, topics):
        log.append(
            [*by_the_site(names_of(inputs)), Message("site.views", b"u0", json.dumps(twice).encode()), *by_the_site(names_of(inputs))]
        )
        join(log, topics, inputs)
        finish(log, topics._replace(by_id=True))

        join(log, topics, inputs)

        assert examples(log, topics) == expected_once()
        assert list(dead_letters(log, topics)) == []


def test_what_comes_while_it_runs_is_decided_though_nothing_comes_after_it() -> None:
    inputs, at_once = of(APART), SETTINGS.model_copy(update={"click_window": 0.01, "lateness": 0.003, "idle_after": 0.05})
    with site(inputs) as (log, topics):
        waiting = [Message("site.views", None, json.dumps(page_view(0)).encode())]

        def stops() -> bool:
            log.append([waiting.pop()] if waiting else [])
            return sum(not is_heartbeat(record) for record in read(log, topics.examples)) == ITEMS

        Joiner(log, topics, at_once, JoinerMetrics(CollectorRegistry()), inputs=inputs).run(stops)


def test_an_event_that_can_not_be_mapped_is_set_aside_whole_with_its_bytes_and_the_others_are_joined() -> None:
    registry, inputs = CollectorRegistry(), of(TOGETHER)
    bad = page_view(0) | {"view": {"id": "v", "items": [{"sku": "fine"}, {"sku": None}]}}
    values = [b"\xff", json.dumps(bad).encode(), json.dumps(page_view(0) | {"ts": 4_102_444_800}).encode()]
    with site(inputs) as (log, topics):
        log.append([Message("site.events", b"u1", value, (("trace", b"1"),), 0) for value in [*values, b'{"type": "cart"}']])
        log.append(by_the_site(names_of(inputs)))
        join(log, topics, inputs, registry)
        finish(log, topics._replace(by_id=True))

        join(log, topics, inputs)

        letters = list(dead_letters(log, topics))
        assert [(each.topic, each.offset, each.stage, each.record.key, each.record.value) for each in letters] == [
            ("site.events", offset, "rekey", b"u1", value) for offset, value in enumerate(values)
        ]
        assert (
            "field '/view/items/1/sku': got None, expected a text of 1 to 1,000 characters, or a whole number, as input.impressions.item_id"
            in letters[1].message
        )
        assert [each.kind for each in letters] == ["BadRecordError", "MappingError", "FutureTimeError"]
        assert all(each.original_headers == (("trace", b"1"),) for each in letters)
        assert examples(log, topics) == expected_once()
        assert registry.get_sample_value("sml_joiner_oddities_total", {"kind": "passed_over"}) == 1
        assert registry.get_sample_value("sml_joiner_dead_letters_total", {"reason": "item_id"}) == 1


@pytest.mark.parametrize("most", [1, 32_000_000])
def test_a_retry_maps_what_was_set_aside_and_writes_nothing_to_the_site_s_topic(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.dead_letters.MOST_BYTES", most)
    wrong = of({**APART, "impressions": {**APART["impressions"], "time": "/when"}})
    with site(wrong) as (log, topics):
        log.append(by_the_site(names_of(wrong)))
        join(log, topics, wrong)
        before = log.bounds("site.views")

        still_wrong, without, right = (retry(log, topics, inputs) for inputs in (wrong, InputSettings(), of(APART)))
        join(log, topics, of(APART))
        finish(log, topics._replace(by_id=True))
        join(log, topics, of(APART))

        assert still_wrong == without == right == (PAGES, 0)
        assert examples(log, topics) == expected_once()
        assert log.bounds("site.views") == before
        assert len(read(log, topics.dead_letters)) == 3 * PAGES
        assert {each.message for each in dead_letters(log, topics, 2 * PAGES)} == {
            "field 'topic': got 'site.views', expected one that [input] names"
        }


def test_a_person_is_forgotten_in_what_waits_of_the_site_s_own_topic() -> None:
    inputs, user = of(APART), Field(name="user.id")
    with site(inputs) as (log, topics):
        copies = topics._replace(by_id=True)
        log.append(by_the_site(names_of(inputs)))
        join(log, topics, inputs)

        forgotten = delete_impressions(log, copies, [user], [Forget.of(key_of(user, "u3"), FIRST + PAGES * STEP)])
        finish(log, copies)
        join(log, topics, inputs)

        assert forgotten == PAGES // 5 * ITEMS
        assert examples(log, topics) == [each for each in expected_once() if each.features["user.id"] != "u3"]


def test_nothing_in_a_site_s_topic_passes_for_a_record_of_ours() -> None:
    inputs = of(APART)
    looks = [encode(Watermark(FIRST)), message(Heartbeat([1]), "site.views", 0).value, None, encode(Impression("i", FIRST, {}))]
    headers = ((rekey.APPENDED, b"1"), (FUTURE, b"1"))
    with site(inputs) as (log, topics):
        log.append([Message("site.views", b"v~10/0", value) for value in looks])
        log.append([Message("site.views", None, json.dumps(page_view(0)).encode(), headers)])
        join(log, topics, inputs)

        copies = read(log, topics._replace(by_id=True).impressions)
        assert {each.key for each in copies} == {b"v~10/%d" % item for item in range(ITEMS)}
        assert all([name for name, _ in each.headers] == [rekey.APPENDED] for each in copies)
        assert all(rekey.with_original_append_time(each).timestamp > FIRST for each in copies)
        assert {each.record.value for each in dead_letters(log, topics)} == set(looks)


class WritersTimes:
    """A log whose timestamps are its writers', as a site's topics in Kafka have them unless it says otherwise."""

    def __init__(self, log: Log) -> None:
        self.log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self.log, name)

    def append_times(self, topic: str) -> bool:
        return not topic.startswith("site.")

    def reader(self, topic: str, start: Any) -> Any:
        return Backdated(self.log.reader(topic, start)) if topic.startswith("site.") else self.log.reader(topic, start)


class Backdated:
    def __init__(self, reader: Any) -> None:
        self.reader = reader
        self.positions, self.close = reader.positions, reader.close

    def poll(self, *arguments: Any) -> list[Any]:
        return [record._replace(timestamp=json.loads(record.value)["stamp"]) for record in self.reader.poll(*arguments)]


def test_timestamps_that_the_site_s_writers_choose_let_no_event_be_of_the_future_nor_of_the_past() -> None:
    inputs, now = of(APART), int(time.time() * 1000)
    stamped = [(now - 3_600_000, now - 3_500_000), (now - 3_600_000, 4_102_444_800_000), (now, 0), (now, now)]
    events = [page_view(n) | {"ts": ms / 1000, "stamp": stamp} for n, (ms, stamp) in enumerate(stamped)]
    events.append(page_view(0) | {"ts": 4_102_444_800, "stamp": 4_102_444_800_000})
    with site(inputs) as (log, topics):
        log.append([Message("site.views", None, json.dumps(event).encode()) for event in events])

        join(WritersTimes(log), topics, inputs)

        copies = read(log, topics._replace(by_id=True).impressions)
        appended = {each.key: rekey.with_original_append_time(each).timestamp for each in copies}
        assert [appended[b"v~1%d/0" % n] for n in (0, 2, 3)] == [now - 3_500_000, now, now]
        assert now <= appended[b"v~11/0"] < now + 60_000
        assert [each.kind for each in dead_letters(log, topics)] == ["FutureTimeError"]


def test_what_a_site_wrote_in_time_is_not_late_because_the_joiner_was_away() -> None:
    inputs, now = InputSettings.model_validate({"impressions": APART["impressions"]}), int(time.time() * 1000)
    shown = page_view(0) | {"ts": (now - 3_600_000) / 1000, "stamp": now - 3_600_000}
    with site(inputs) as (log, topics):
        log.append([Message("site.views", None, json.dumps(shown).encode())])
        log.append([Message(topics.clicks, b"x", encode(Click("x", now))) for _ in range(2)])  # as it happens: their windows are closed
        join(WritersTimes(log), topics, inputs)
        copies = topics._replace(by_id=True)
        log.append([Message(copies.clicks, None, encode(Watermark(now)), partition=p) for p in log.bounds(copies.clicks)])
        log.append([Message(copies.impressions, None, encode(Watermark(now)), partition=p) for p in log.bounds(copies.impressions)])
        join(WritersTimes(log), topics, inputs)

        assert [each.label for each in examples(log, topics)] == [0] * ITEMS
        assert list(dead_letters(log, topics)) == []


def test_a_time_in_another_unit_than_the_settings_say_is_refused_by_its_pointer() -> None:
    inputs, now = of(APART), int(time.time() * 1000)
    in_ms = page_view(0) | {"ts": now}
    in_seconds = click(0, 0) | {"when": now // 1000}
    with site(inputs) as (log, topics):
        log.append([Message("site.views", None, json.dumps(in_ms).encode()), Message("site.clicks", None, json.dumps(in_seconds).encode())])

        join(log, topics, inputs)

        by_topic = {each.topic: each.message for each in dead_letters(log, topics)}
        assert by_topic["site.views"] == f"field '/ts': got {now}, expected epoch seconds, as input.impressions.time"
        assert by_topic["site.clicks"] == f"field '/when': got {now // 1000}, expected epoch milliseconds; this looks like seconds"


def test_what_many_items_make_of_a_few_pages_is_copied_in_transactions_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rekey, "MOST_BYTES", 3_000)
    inputs, sizes = of(APART), []

    class Watching(Dying):
        def writer(self, owner: str, group: str | None = None) -> Writer:
            return WatchingWriter(self, self.log.writer(owner, group))

    class WatchingWriter(MortalWriter):
        def commit(self, messages: Sequence[Message], progress: Mapping[tuple[str, int], Progress]) -> list[int]:
            sizes.append(sum(len(each.value or b"") for each in messages))
            return super().commit(messages, progress)

    with site(inputs) as (log, topics):
        log.append(by_the_site(names_of(inputs))[:PAGES])

        join(Watching(log, 1_000, 1_000, after=False), topics, inputs)

        assert len(read(log, topics._replace(by_id=True).impressions)) == PAGES * ITEMS
        assert max(sizes) < 3_000 + 2_000


def test_what_lies_in_a_site_s_topic_can_be_left_behind() -> None:
    inputs = of(TOGETHER)
    with site(inputs) as (log, topics):
        log.append(by_the_site(names_of(inputs)))

        skipped = Joiner(log, topics, SETTINGS, JoinerMetrics(CollectorRegistry()), inputs=inputs).leave_behind()
        join(log, topics, inputs)

        assert skipped == PAGES + len(CLICKS)
        assert read(log, topics._replace(by_id=True).impressions) == []


def test_a_topic_that_a_site_adds_later_is_read_from_its_begin() -> None:
    inputs = of(APART)
    with site(inputs) as (log, topics):
        log.append([each for each in by_hand(topics) if each.topic == topics.clicks])
        join(log, topics, InputSettings())
        log.append(by_the_site(names_of(inputs))[:PAGES])
        only_views = InputSettings(impressions=inputs.impressions)
        join(log, topics, only_views)
        finish(log, topics._replace(by_id=True))

        join(log, topics, only_views)

        assert examples(log, topics) == expected_once()


def test_a_topic_that_does_not_exist_ends_the_joiner_with_a_sentence() -> None:
    with new_log(0) as log:
        create(log, Topics("t"), 1, rekey=True)

        with pytest.raises(UnknownTopicError, match=r"topic 'site\.views', which \[input\] names, does not exist"):
            join(log, Topics("t"), of(APART))
