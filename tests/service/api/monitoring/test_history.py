"""The last hours stay with the server, bounded; what a person is shown of the log names no personal value."""

import asyncio
import json
import math
import threading
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import anyio
import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry

from model.encoding.keys import key_of
from model.settings import Field
from service.api.arms import Arms
from service.api.monitoring import history as history_module
from service.api.monitoring.frequent import FieldValues, Frequent
from service.api.monitoring.history import COLUMNS, FINE, SAMPLES, History
from service.api.monitoring.log_watch import MOST, MOST_BYTES, LogWatch
from service.api.monitoring.metrics import ServerMetrics
from stream.dead_letters import dead_letter
from stream.log.contract import Bounds, Log, LogUnavailableError, Message, Progress, Record, RefusedError
from stream.log.sqlite.log import SqliteLog
from stream.log.topics import Topics, create
from stream.records.events import BadRecordError, encode
from stream.records.version import LearnerState, Version
from tests.service.fakes import SPEC, FakeLog, Site, trained

TOPICS = Topics("sml")


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1_760_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    """Yield a log with the model's topics, the streams in two partitions."""
    with SqliteLog(f"sqlite:///{tmp_path}/log.db") as log:
        create(log, TOPICS, 2)
        yield log


def made(clock: Clock, watch: LogWatch | None = None) -> History:
    """Return a history without weights."""
    arms = Arms(clock=clock)
    return History(arms, ServerMetrics(CollectorRegistry(), arms), watch, clock)


def version(number: int, **what: Any) -> Version:
    """Return a version."""
    return Version(number, "d", 0, None, {}, [], [], "s", "f", 0, **what)


def test_a_day_of_samples_takes_the_room_of_six_hours_and_the_oldest_are_thinned() -> None:
    clock = Clock()
    history = made(clock)
    for _ in range(12 * SAMPLES // 3):
        clock.now += history_module.EVERY
        history.sample()

    kept = history.since(0)

    times = kept["time"]
    assert history._ring.nbytes < 2_500_000
    assert set(kept) == set(COLUMNS)
    assert len(times) <= FINE + history_module.COARSE
    assert times == sorted(times)
    assert (clock.now - times[0], clock.now - times[-1]) == (pytest.approx((SAMPLES - 1) * 2.0), 0)
    assert [b - a for a, b in zip(times[-5:], times[-4:], strict=False)] == [2.0] * 4


def test_only_what_is_new_is_asked_for() -> None:
    clock = Clock()
    history = made(clock)
    for _ in range(5):
        clock.now += 2
        history.sample()

    assert history.since(clock.now - 4)["time"] == [clock.now - 2, clock.now]


def test_what_the_learner_said_half_a_minute_ago_is_not_shown_as_if_it_were_now() -> None:
    clock = Clock()
    history = made(clock)
    history._arms.control.learner = LearnerState(examples=10, log_loss=0.4, base_rate_log_loss=0.5, lag_records=7)
    history.note_best(0.3)
    for seconds in (0, 20, 20):
        clock.now += seconds
        history.sample()

    found = history.since(0)

    assert [found["log_loss"][:2], found["to_learn"][:2], found["best_log_loss"][:2]] == [[0.4, 0.4], [7, 7], [0.3, 0.3]]
    assert all(math.isnan(found[name][2]) for name in ("log_loss", "to_learn", "best_log_loss"))
    assert all(math.isnan(value) for value in found["wide_log_loss"])


def test_holds_are_remembered_with_their_reasons_and_their_times() -> None:
    clock = Clock()
    history, control = made(clock), None
    control = history._arms.control
    for held in (None, version(5, held={"calibration": "too few clicks"}), version(6, held={"golden": "moved"}), None, None):
        control.held = held
        clock.now += 2
        history.sample()

    (hold,) = history.holds

    assert (hold.version, hold.why) == (5, {"calibration": "too few clicks"})
    assert (hold.until or 0) - hold.since == 4


def test_answers_failures_and_their_latency_are_those_since_the_last_sample(site: Site) -> None:
    with site.client() as client:
        site.follower.publish(1, trained())
        history = site.app.state.service.history
        history.sample()
        first = history.since(0)["time"][-1]
        for candidates in [[{"id": 1}]] * 6 + [[]] * 3:
            client.post("/v1/predict", json={"candidates": candidates})
        for route, times in {"/v1/predict": 4, "/readyz": 5}.items():
            site.app.state.service.metrics.requests.labels(route, "503").inc(times)
        history.sample()
        found = client.get(f"/v1/history?since={first}").json()["samples"]

    seconds = found["time"][-1] - first
    assert found["answers"][-1] * seconds == pytest.approx(6, rel=0.1)
    assert found["failures"][-1] * seconds == pytest.approx(3, rel=0.1)
    assert found["unavailable"][-1] * seconds == pytest.approx(4, rel=0.1)  # not that it was not ready: that is an answer
    assert 0 < found["latency"][-1] <= 2
    assert found["staleness"][-1] >= 0


def test_a_time_that_is_none_is_named(client: TestClient) -> None:
    answer = client.get("/v1/history?since=noon")

    assert (answer.status_code, answer.json()["field"]) == (422, "since")


def test_what_a_simulated_site_knows_is_shown_and_nonsense_is_refused(client: TestClient) -> None:
    bad = [
        client.post("/v1/simulated", content=body).status_code
        for body in (b'{"best_log_loss": -1}', b'{"best_log_loss": 1e9}', b"[]", b"{")
    ]
    assert client.post("/v1/simulated", json={"best_log_loss": 0.41}).status_code == 200
    client.app.state.service.history.sample()  # type: ignore[attr-defined]

    assert bad == [422] * 4
    assert client.get("/v1/history").json()["samples"]["best_log_loss"][-1] == 0.41


def test_what_goes_through_the_log_and_waits_for_the_joiner_is_counted(log: SqliteLog) -> None:
    clock = Clock()
    watch = LogWatch(log, TOPICS, clock)
    watch.look()
    log.append([Message(TOPICS.impressions, f"i{n}".encode(), b"{}") for n in range(40)])
    log.append([Message(TOPICS.clicks, f"i{n}".encode(), b"{}") for n in range(4)])
    progress = {(topic, partition): Progress(0) for topic in (TOPICS.impressions, TOPICS.clicks) for partition in (0, 1)}
    log.writer("sml.joiner").commit([Message(TOPICS.examples, b"i1", b"{}")], progress)
    clock.now += 2

    watch.look()

    assert watch.flow == (20, 2, 0.5, 44, 0)
    clock.now += 60
    assert all(math.isnan(value) for value in watch.flow)


def letters(count: int, reason: str = "user") -> list[Message]:
    """Return dead letters."""
    record = Record("sml.impressions", 0, 7, 0, b"i7", b"{}")
    error = BadRecordError(f"features.{reason}", "alice@example.org", "a number")
    return [dead_letter(record, "join", error, TOPICS) for _ in range(count)]


def test_dead_letters_are_counted_by_reason_and_their_values_are_not_shown(log: SqliteLog) -> None:
    watch = LogWatch(log, TOPICS)
    log.append(letters(3))
    watch.look()
    log.append(letters(2))
    watch.look()

    (found,) = watch.set_aside()

    assert (found.stage, found.kind, found.count, watch.readable) == ("join", "BadRecordError", 5, True)
    assert found.reason == "field 'features.user': got …, expected a number"
    assert found.last > 1_700_000_000_000


def test_reasons_without_end_take_bounded_room(log: SqliteLog) -> None:
    watch = LogWatch(log, TOPICS)
    watch.look()
    for n in range(2 * MOST):
        log.append(letters(1, f"f{n}" + "x" * 1_000))
        watch.look()

    found = watch.set_aside()

    assert len(found) == MOST + 1
    assert sum(each.count for each in found) == 2 * MOST
    assert max(len(each.reason) for each in found) <= 200


def test_a_reason_that_is_new_is_told_after_any_number_of_others(log: SqliteLog) -> None:
    watch = LogWatch(log, TOPICS)
    log.append([letter for n in range(2 * MOST) for letter in letters(1, f"f{n}")])
    log.append(letters(3, "new"))

    watch.look()

    told = {each.reason: each.count for each in watch.set_aside()}
    assert told["field 'features.new': got …, expected a number"] == 3
    assert told["other reasons"] == MOST + 1


def test_the_bytes_of_dead_letters_that_a_look_reads_are_bounded(log: SqliteLog) -> None:
    record = Record("sml.impressions", 0, 7, 0, b"i7", b"x" * 800_000)
    log.append([dead_letter(record, "join", BadRecordError("time", "?", "int"), TOPICS) for _ in range(30)])
    watch = LogWatch(log, TOPICS)

    watch.look()

    (found,) = watch.set_aside()
    assert found.count == MOST_BYTES // 800_000


def test_how_long_the_log_takes_to_answer_is_measured(tmp_path: Path) -> None:
    clock = Clock()

    class Slow(SqliteLog):
        def bounds(self, topic: str) -> dict[int, Bounds]:
            clock.now += 0.6
            return super().bounds(topic)

    with Slow(f"sqlite:///{tmp_path}/log.db") as log:
        create(log, TOPICS, 2)
        watch = LogWatch(log, TOPICS, clock)
        watch.look()

    assert watch.flow.log_seconds == pytest.approx(0.6)


class Refusing(FakeLog):
    """A log that answers with an error, and counts how often it was asked."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.refusal, self.asked = error, 0

    def bounds(self, topic: str) -> dict[int, Bounds]:  # noqa: ARG002
        self.asked += 1
        raise self.refusal


def test_a_server_that_may_not_read_says_so_and_asks_once_a_minute() -> None:
    clock = Clock()
    refusing = Refusing(RefusedError("no right"))
    watch = LogWatch(cast("Log", refusing), TOPICS, clock)
    for _ in range(10):
        watch.look()
        clock.now += 2

    assert not watch.readable
    assert all(math.isnan(value) for value in watch.flow)
    assert refusing.asked == 4


def test_a_log_that_is_away_is_asked_again_at_once() -> None:
    away = Refusing(LogUnavailableError("away"))
    watch = LogWatch(cast("Log", away), TOPICS)
    watch.look()
    before = away.asked
    watch.look()

    assert away.asked == 2 * before


FIELDS = (Field(name="user"), Field(name="item"), Field(name="tags", kind="multi"), Field(name="price", kind="numeric"))


def example(n: int) -> Message:
    """Return an example; half of the items are the same, and the price is its number."""
    features = {"user": f"u{n % 3}", "item": "often" if n % 2 else f"i{n}", "tags": ["red", f"t{n}"], "price": n, "secret": "x"}
    record = {"impression_id": f"i{n}", "time": 1, "features": features, "label": 0}
    return Message(TOPICS.examples, f"i{n}".encode(), json.dumps(record).encode())


def test_the_values_seen_most_are_those_of_the_newest_examples_and_personal_ones_are_not_named(log: SqliteLog) -> None:
    log.append([example(n) for n in range(101)])
    log.append([Message(TOPICS.examples, b"x", b"rubbish"), Message(TOPICS.examples, b"y", None)])

    (user, item, tags, price), examples = Frequent(log, TOPICS.examples, ["user"]).of(FIELDS)

    assert examples == 101
    assert (user.personal, user.values) == (True, [])
    assert (item.values, tags.values) == (["often"], ["red"])  # a value that occurs once may be anything
    assert (price.range, price.typical) == ((10, 90), 50)


def test_the_log_is_read_for_values_once_a_minute(log: SqliteLog) -> None:
    clock = Clock()
    frequent = Frequent(log, TOPICS.examples, clock=clock)
    counts = []
    for seconds in (0, 6, 30, 40):
        clock.now += seconds
        log.append([example(n) for n in range(10)])
        counts.append(frequent.of(FIELDS)[1])

    assert counts == [10, 10, 10, 40]


def holding(features: dict[str, Any], n: int = 0) -> Message:
    """Return an example of these features."""
    record = {"impression_id": f"i{n}", "time": 1, "features": features, "label": 0}
    return Message(TOPICS.examples, f"i{n}".encode(), json.dumps(record).encode())


def test_what_a_single_example_holds_is_not_named_however_often_it_holds_it(log: SqliteLog) -> None:
    log.append([holding({"tags": ["secret", "secret"], "price": 81_234.5})])

    _, _, tags, price = Frequent(log, TOPICS.examples).of(FIELDS)[0]

    assert (tags.values, price.range, price.typical) == ([], None, None)


def test_a_whole_number_that_not_every_language_can_hold_is_told_as_text_with_the_same_key(log: SqliteLog) -> None:
    large, small = 2**60 + 1, 2**53
    log.append([holding({"user": large, "item": small, "tags": [-large]}, n) for n in range(2)])

    user, item, tags, _ = Frequent(log, TOPICS.examples).of(FIELDS)[0]

    assert (user.values, item.values, tags.values) == ([str(large)], [small], [str(-large)])
    assert key_of(FIELDS[0], user.values[0]) == key_of(FIELDS[0], large)
    assert key_of(FIELDS[2], tags.values[0]) == key_of(FIELDS[2], -large)


def test_of_numbers_only_a_rounded_range_is_told_and_none_of_fewer_than_twenty(log: SqliteLog) -> None:
    clock = Clock()
    frequent = Frequent(log, TOPICS.examples, clock=clock)
    log.append([holding({"price": 81_234.5 + n}, n) for n in range(19)])
    before = frequent.of(FIELDS)[0][3]
    log.append([holding({"price": 91_234.5})])
    clock.now += 61

    after = frequent.of(FIELDS)[0][3]

    assert (before.range, before.typical) == (None, None)
    assert (after.range, after.typical) == ((81_000, 81_000), 81_000)


def test_values_of_large_examples_take_bounded_memory_and_no_example_counts_for_much(log: SqliteLog) -> None:
    frequent = Frequent(log, TOPICS.examples)
    for batch in range(10):
        lists = [[f"{n}-{k}" for k in range(100)] + [f"{k}" for k in range(25_000)] for n in range(10 * batch, 10 * batch + 10)]
        log.append([holding({"tags": tags}, n) for n, tags in enumerate(lists)])

    tracemalloc.start()
    found, examples = frequent.of(FIELDS)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert 0 < examples * 200_000 < 8_000_000
    assert found[2].values == []  # what all of them hold comes after the first hundred
    assert kept < 200_000
    assert frequent.of(FIELDS)[0] is found


def test_however_many_ask_for_values_at_once_one_thread_reads_and_the_others_of_the_server_are_free(log: SqliteLog) -> None:
    frequent, go = Frequent(log, TOPICS.examples), threading.Event()

    def slow(fields: Sequence[Field]) -> tuple[list[FieldValues], int]:
        go.wait(10)
        return [], len(fields)

    frequent.of = slow  # type: ignore[method-assign]

    async def busy() -> float:
        asking = [asyncio.create_task(frequent.ask(FIELDS)) for _ in range(20)]
        await asyncio.sleep(0.05)
        borrowed = anyio.to_thread.current_default_thread_limiter().borrowed_tokens
        go.set()
        await asyncio.gather(*asking)
        return borrowed

    assert asyncio.run(busy()) == 1


def test_values_are_fields_without_values_where_the_log_does_not_say(client: TestClient) -> None:
    answer = client.get("/v1/values").json()

    assert [field["name"] for field in answer["fields"]] == [field.name for field in SPEC.fields]
    assert answer["examples"] == 0


def test_history_and_arms_carry_what_each_learner_said(site: Site) -> None:
    said = LearnerState(examples=10, log_loss=0.4, terms={"bias": 2.0})
    with site.client() as client:
        site.follower.publish(1, trained())
        assert site.follower.served
        site.follower.served.learner = said

        found = client.get("/v1/history").json()

    assert found["learner"] == json.loads(encode(said))
    assert found["arms"] == {"control": found["learner"]}
    assert (found["set_aside"], found["holds"]) == (None, [])
